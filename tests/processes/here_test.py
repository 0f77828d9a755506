"""What processes agree on, by a store of keys and values that is JAX's coordinator's stand-in."""

import threading
from types import SimpleNamespace

import pytest

from aila_jax.processes import here


class Store:
    """The keys of a coordinator, shared by threads that play processes."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def key_value_set(self, key: str, value: str) -> None:
        assert key not in self.kept
        self.kept[key] = value

    def key_value_dir_get(self, place: str) -> list[tuple[str, str]]:
        return [(key, value) for key, value in sorted(self.kept.items()) if key.startswith(place)]


def agreed(monkeypatch, said: list, limit: float = 20.0) -> list:
    """What `agree` raises in each process; None in `said` is one that does not come."""
    store, own = Store(), threading.local()
    monkeypatch.setattr(here.Waiting, "seconds", limit)
    monkeypatch.setattr(here, "count", lambda: len(said))
    monkeypatch.setattr(here, "index", lambda: own.number)
    monkeypatch.setattr(here, "_engine", lambda: SimpleNamespace(client=store))
    raised: list = [None] * len(said)

    class Zero:
        def __next__(self) -> int:
            return 0

    monkeypatch.setattr(here, "_COUNTED", Zero())

    def come(number: int) -> None:
        own.number = number
        try:
            here.agree(*said[number])
        except Exception as error:
            raised[number] = error

    threads = [
        threading.Thread(target=come, args=(number,)) for number, one in enumerate(said) if one is not None
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_the_same_value_in_all_passes(monkeypatch):
    assert agreed(monkeypatch, [("the corpus", "a")] * 12) == [None] * 12


def test_another_value_is_refused_in_all(monkeypatch):
    raised = agreed(monkeypatch, [("the corpus", "a"), ("the corpus", "a"), ("the corpus", "b")])
    for error in raised:
        assert isinstance(error, ValueError)
        assert str(error).startswith(
            "the corpus of process 2 is 'b'; it must be the same as in process 0. Fix: give"
        )


def test_processes_at_different_places_are_refused(monkeypatch):
    for error in agreed(monkeypatch, [("the corpus", "a"), ("the checkpoint of step 8", "")]):
        assert "'the checkpoint of step 8' for 'the corpus' of process 1" in str(error)


@pytest.mark.parametrize(("said", "who"), [([("x",), None, ("x",), None], "1, 3"), ([None, ("x",)], "0")])
def test_who_does_not_come_is_named(monkeypatch, said, who):
    raised = agreed(monkeypatch, said, limit=0.3)
    errors = [error for error, one in zip(raised, said, strict=True) if one is not None]
    assert all(isinstance(error, TimeoutError) for error in errors)
    assert f"process {who} did not come to: x, within 0.3 s. Fix: look" in str(errors[0])
