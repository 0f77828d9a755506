"""Tests of the requests to stop: real signals to this process."""

import os
import signal
import threading

import pytest

from aila_jax.training.stopping import SIGNALS, StopRequests


@pytest.fixture
def taken():
    """Handlers of the test's own, so that a signal that gets through is seen and does not end the tests."""
    seen: list[int] = []
    before = {number: signal.signal(number, lambda signum, frame: seen.append(signum)) for number in SIGNALS}
    yield seen
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_a_request_and_the_second_acts_as_before(taken, number):
    with StopRequests() as requests:
        assert requests.asked(3) is None
        os.kill(os.getpid(), number)
        assert (requests.asked(3).signum, taken) == (number, [])
        os.kill(os.getpid(), number)
        assert (requests.asked(3).signum, taken) == (number, [number])
    os.kill(os.getpid(), number)
    assert taken == [number, number]


def test_handlers_are_put_back_after_an_exception(taken):
    with pytest.raises(ZeroDivisionError), StopRequests():
        raise ZeroDivisionError
    os.kill(os.getpid(), signal.SIGTERM)
    assert taken == [signal.SIGTERM]


def test_in_another_thread_nothing_is_taken(taken):
    answers = []

    def work():
        with StopRequests() as requests:
            os.kill(os.getpid(), signal.SIGTERM)
            answers.append(requests.asked(3))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert (answers, taken) == ([None], [signal.SIGTERM])


def test_while_a_checkpoint_is_written_further_signals_only_say_so(taken, capfd):
    with StopRequests() as requests:
        with requests.saving(7):
            for number in SIGNALS:
                os.kill(os.getpid(), number)
        assert requests.asked(7).signum == SIGNALS[0]
        assert capfd.readouterr().err.splitlines() == [
            "aila: the checkpoint of step 7 is being saved; the run ends when that is done"
        ] * (len(SIGNALS) - 1)
        assert taken == []
        os.kill(os.getpid(), signal.SIGTERM)
    assert taken == [signal.SIGTERM]


def test_an_ignored_hangup_stays_ignored(taken):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does; `taken` puts back what was before
    with StopRequests() as requests:
        os.kill(os.getpid(), signal.SIGHUP)
        assert requests.asked(1) is None
    assert (signal.getsignal(signal.SIGHUP), taken) == (signal.SIG_IGN, [])
