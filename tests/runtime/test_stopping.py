import os
import signal

import pytest

from calltune.runtime.stopping import Stopped, postponed_stop, stoppable


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
