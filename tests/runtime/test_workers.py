"""Worker processes end with their parent, whichever way it ends."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

SCRIPT = """if True:
    import os, sys, time
    from calltune.runtime.stopping import stoppable
    from calltune.runtime.workers import worker_processes

    if __name__ == '__main__':
        with stoppable(), worker_processes(2, print, ('begun',)) as pool:
            tasks = [pool.submit(time.sleep, 2) for _ in range(100)]
            tasks[0].result()
            print('working', flush=True)
            tasks[-1].result()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nobody_is_left_and_what_waits_is_given_up(number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    while process.stdout.readline() != "working\n":
        assert process.poll() is None
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    asked = time.monotonic()
    # To the whole group, as a terminal and a batch system do.
    os.killpg(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert psutil.wait_procs(workers, timeout=30)[1] == []
    assert time.monotonic() - asked < 30


def test_a_parent_that_is_killed_alone_leaves_no_orphans() -> None:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while process.stdout.readline() != "working\n":
        assert process.poll() is None
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=60)
    assert psutil.wait_procs(workers, timeout=30)[1] == []
