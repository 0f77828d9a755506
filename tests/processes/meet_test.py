"""Processes that come to process 0: all of them, too few, twice, and of another job."""

import socket
import threading
import time

import pytest

from aila_jax.processes.meet import Place, meet
from tests.support.several import free_port


def close(*met) -> None:
    for lines, _ in met:
        for line in lines:
            line.close()


def together(*comers: tuple[Place, str], wait: float = 20.0) -> list:
    """What each of them gets, or the error that it raises."""
    got: list = [None] * len(comers)

    def come(number: int, place: Place, command: str) -> None:
        try:
            got[number] = meet(place, command, wait)
        except Exception as error:
            got[number] = error

    threads = [
        threading.Thread(target=come, args=(number, *comer), daemon=True)
        for number, comer in enumerate(comers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    return got


def places(count: int) -> list[Place]:
    port = free_port()
    return [Place(f"127.0.0.1:{port}", count, number) for number in range(count)]


def test_all_come_in_any_order_and_get_the_same_address():
    zero, one, two = together(*((place, "train") for place in reversed(places(3))))[::-1]
    assert [line.process for line in zero[0]] == [1, 2]
    assert [[line.process for line in lines] for lines, _ in (one, two)] == [[0], [0]]
    assert zero[1] == one[1] == two[1] and zero[1].startswith("127.0.0.1:")
    zero[0][1].say("beat", 7)
    assert two[0][0].hear() == ("beat", 7)
    close(zero, one, two)


def test_who_does_not_come_is_named_everywhere():
    first, second, _, fourth = places(4)
    began = time.monotonic()
    got = together((first, "train"), (second, "train"), (fourth, "train"), wait=1.5)
    assert time.monotonic() - began < 40.0
    for error in got:
        assert isinstance(error, (TimeoutError, ValueError))
        assert "process 2 of 4 did not come to 127.0.0.1:" in str(error) and "within 1.5 s. Fix: " in str(
            error
        )


def test_without_process_0_it_is_process_0_that_is_named():
    [error] = together((places(2)[1], "train"), wait=0.5)
    assert isinstance(error, TimeoutError) and "process 0 of 2 did not come" in str(error)


@pytest.mark.parametrize(("change", "command", "words"), [
    (lambda place: Place(place.coordinator, 3, 1), "train",
     r"--processes of process 1 \(.*pid \d+\) is 3; it must be 2, as in process 0 .* Fix: give every process the same"),
    (lambda place: Place(place.coordinator, 2, 5), "train",
     r"--process \(.*\) is 5; it must be one that is free: 1\. Fix: give every process its own number"),
    (lambda place: place, "sweep",
     r"the command of process 1 \(.*\) is 'sweep'; it must be 'train', as in process 0\. Fix: start the same"),
])  # fmt: skip
def test_who_is_of_another_job_is_refused_on_both_sides(change, command, words):
    import re

    first, second = places(2)
    for error in together((first, "train"), (change(second), command)):
        assert isinstance(error, ValueError) and re.search(words, str(error)), error


def test_two_with_one_number_are_refused():
    first, second, _ = places(3)
    errors = together((first, "train"), (second, "train"), (second, "train"), wait=5.0)
    assert any("is 1; it must be one that is free: 2" in str(error) for error in errors), errors
    assert "is 1; it must be one that is free: 2" in str(errors[0])


def test_what_looks_for_open_ports_is_left_alone():
    first, second = places(2)
    got: list = []
    server = threading.Thread(target=lambda: got.append(meet(first, "train", 20.0)), daemon=True)
    server.start()
    for _ in range(100):
        try:
            stranger = socket.create_connection(first.address)
            break
        except OSError:
            time.sleep(0.05)
    stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
    met = meet(second, "train", 20.0)
    assert [line.process for line in met[0]] == [0]
    server.join(20.0)
    stranger.close()
    close(met, *got)


def test_a_port_that_is_taken_is_refused():
    with socket.create_server(("", 0)) as server:
        place = Place(f"127.0.0.1:{server.getsockname()[1]}", 2, 0)
        with pytest.raises(
            ValueError, match=r"coordinator is '127.*Address already in use.*Fix: choose a free port"
        ):
            meet(place, "train", 1.0)
