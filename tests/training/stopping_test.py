"""Tests of the requests to stop: real signals to this process."""

import os
import signal
import threading

import pytest

from aila_jax.training.stopping import SIGNALS, stop_requests


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
    with stop_requests() as stop:
        assert stop() == 0
        os.kill(os.getpid(), number)
        assert (stop(), taken) == (number, [])
        os.kill(os.getpid(), number)
        assert (stop(), taken) == (number, [number])
    os.kill(os.getpid(), number)
    assert taken == [number, number]


def test_handlers_are_put_back_after_an_exception(taken):
    with pytest.raises(ZeroDivisionError), stop_requests():
        raise ZeroDivisionError
    os.kill(os.getpid(), signal.SIGTERM)
    assert taken == [signal.SIGTERM]


def test_in_another_thread_nothing_is_taken(taken):
    answers = []

    def work():
        with stop_requests() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            answers.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert (answers, taken) == ([0], [signal.SIGTERM])
