import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from calltune.runtime.stopping import SECONDS_TO_END, Stopped, postponed_stop, stoppable


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Stopped), (signal.SIGINT, KeyboardInterrupt)])
def test_a_stop_waits_once_and_the_second_does_not(number: int, error: type[BaseException]) -> None:
    def work(signals: int) -> list[str]:
        done = []
        with stoppable(), postponed_stop() as request:
            for _ in range(signals):
                os.kill(os.getpid(), number)
            done.append("to the end of the step")
        request.raise_if_asked()
        return done

    assert work(0) == ["to the end of the step"]
    with pytest.raises(error):
        work(1)
    with pytest.raises(error):
        work(2)


def test_what_was_there_before_is_there_again() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stoppable(), postponed_stop():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_stop_says_its_signal() -> None:
    with pytest.raises(Stopped) as caught, stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.signal == signal.SIGTERM


BEGIN = """if True:
    import hashlib, os, sys, threading, time
    from pathlib import Path
    from calltune.runtime.stopping import at_forced_end, end_within_seconds, postponed_stop, stoppable

    def compute():
        '''What no exception can interrupt, as a library's own loop.'''
        # Told by another thread, when this one is in the loop already.
        threading.Timer(0.5, lambda: print('begun', flush=True)).start()
        hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)

"""


def start(script: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_library_s_own_loop_is_ended_within_seconds(number: int, tmp_path: Path) -> None:
    process = start(f"""
    with stoppable(lambda: print('last words')), at_forced_end(Path('{tmp_path}/left').unlink):
        Path('{tmp_path}/left').touch()
        compute()
    """)
    asked = time.monotonic()
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert time.monotonic() - asked < SECONDS_TO_END + 5
    assert (process.returncode, out, error) == (128 + number, "last words\n", "")
    assert list(tmp_path.iterdir()) == []


def test_a_step_is_finished_and_a_second_signal_ends_it() -> None:
    process = start("""
    with stoppable(), postponed_stop('the step is finished first') as request:
        compute()
    """)
    assert process.stdout is not None
    process.terminate()
    # Told at once, though the step goes on.
    assert process.stdout.readline() == "the step is finished first\n"
    time.sleep(SECONDS_TO_END + 1)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


def test_what_comes_after_the_step_is_ended_too() -> None:
    process = start("""
    with stoppable():
        with postponed_stop() as request:
            print('begun', flush=True)
            while request.signal is None:
                time.sleep(0.01)
        compute()
    """)
    asked = time.monotonic()
    process.terminate()
    process.communicate(timeout=60)
    assert time.monotonic() - asked < SECONDS_TO_END + 5
    assert process.returncode == 128 + signal.SIGTERM


def test_what_ends_by_itself_is_left_alone() -> None:
    process = start("""
    try:
        with stoppable(lambda: print('forced')):
            print('begun', flush=True)
            time.sleep(60)
    except BaseException as error:
        print(type(error).__name__)
    time.sleep(8)
    """)
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "Stopped\n")


def test_threads_that_wait_do_not_keep_a_process_alive() -> None:
    process = start("""
    import threading
    threading.Thread(target=time.sleep, args=(600,)).start()
    end_within_seconds(143)
    print('begun', flush=True)
    """)
    process.communicate(timeout=60)
    assert process.returncode == 143
