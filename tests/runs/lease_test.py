"""A run directory that several machines see: one trains into it, and whoever stands still loses it. Other
machines are imitated by other names in this process.
"""

import json
import threading
from pathlib import Path

import pytest

from aila_jax import runs
from aila_jax.checkpoint import find_checkpoint
from aila_jax.data.pipeline import TrainBatches
from aila_jax.runs import lease
from aila_jax.runs.lease import NAME, Lease, RunTaken

FOREVER = 3600.0


@pytest.fixture(autouse=True)
def nobody_is_known(monkeypatch):
    monkeypatch.setattr(lease, "_GONE", set())
    monkeypatch.setattr(lease, "AGAIN", 0.0)


def other(folder: Path, beat: float = FOREVER, still: float = 0.2) -> Lease:
    """That of another machine."""
    return Lease(folder, beat=beat, still=still, host="other", own="another machine")


def test_who_lives_is_not_disturbed(tmp_path):
    with Lease(tmp_path, beat=0.02) as mine:
        with pytest.raises(ValueError, match=r"no other process trains into: .* does\. Fix: wait") as caught:
            other(tmp_path, beat=0.05, still=60.0).__enter__()
        assert lease.socket.gethostname() in str(caught.value)
        mine.check()
    assert list(tmp_path.iterdir()) == []


def test_who_gave_no_sign_of_life_is_gone(tmp_path, capsys):
    with Lease(tmp_path, beat=FOREVER, host="first") as first, other(tmp_path):
        with pytest.raises(
            RunTaken, match=r"taken over by other while .* without saving\. Fix: let that process go on"
        ):
            first.check()
        assert (tmp_path / NAME).is_file()
    said = capsys.readouterr().err
    assert "was held by first; looking for 0.2 s whether it still is" in said
    assert "first gave no sign of life; its run goes on here" in said
    assert list(tmp_path.iterdir()) == []


def test_clocks_are_not_compared(tmp_path, monkeypatch):
    """The other machine's clock is a year ahead, and its file from before 1970."""
    import os

    monkeypatch.setattr(lease.time, "time", lambda: pytest.fail("a clock was read"))
    with Lease(tmp_path, beat=0.02):
        os.utime(tmp_path / NAME, (0, 0))
        with pytest.raises(ValueError, match="no other process"):
            other(tmp_path, beat=0.05, still=60.0).__enter__()


def test_the_same_owner_is_waited_for_once(tmp_path, monkeypatch):
    """A population that was killed has left many leases."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        said = {"owner": "gone/7", "host": "gone", "token": name, "beat": 4}
        (tmp_path / name / NAME).write_text(json.dumps(said))
    with other(tmp_path / "a"):
        monkeypatch.setattr(lease.time, "sleep", lambda seconds: pytest.fail("it waits") if seconds else None)
        with other(tmp_path / "b"):
            pass


def test_a_killed_process_of_this_machine_is_not_waited_for(tmp_path, monkeypatch):
    """Its lock is free, which says that it is gone; without locks it must be waited for."""
    said = {"owner": f"{lease.machine()}/1", "host": "here", "token": "1", "beat": 4}
    (tmp_path / NAME).write_text(json.dumps(said))
    (tmp_path / f"{NAME}.0123.tmp").write_text("half")
    waited = []
    monkeypatch.setattr(lease.time, "sleep", waited.append)
    with Lease(tmp_path, locked=True):
        assert waited == [0.0]
        assert [path.name for path in tmp_path.iterdir()] == [NAME]
    (tmp_path / NAME).write_text(json.dumps(said))
    monkeypatch.undo()
    monkeypatch.setattr(lease, "AGAIN", 0.0)
    with Lease(tmp_path, locked=False, beat=0.05, still=0.2):
        pass
    assert f"{lease.machine()}/1" in lease._GONE
    lease._GONE.clear()


def test_of_two_that_take_over_at_once_one_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "AGAIN", 0.5)
    (tmp_path / NAME).write_text(json.dumps({"owner": "gone/1", "host": "gone", "token": "1", "beat": 1}))
    takers = [Lease(tmp_path, beat=FOREVER, still=0.2, host=f"host{n}", own=f"machine {n}") for n in range(2)]
    refused: list[str] = []

    def take(taker: Lease) -> None:
        try:
            taker.__enter__()
        except ValueError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take, args=(taker,)) for taker in takers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lost = len(refused)
    for taker in takers:
        if taker._thread.is_alive():
            try:
                taker.check()
            except RunTaken:
                lost += 1
            taker.__exit__(None, None, None)
    assert lost == 1


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", '{"owner": 1}', '{"owner": "a", "host": "b", "token": "c", "beat": "x"}', "\0"],
)
def test_a_file_that_is_no_lease_holds_nothing(tmp_path, content):
    (tmp_path / NAME).write_text(content)
    with other(tmp_path):
        pass


def test_a_strangers_lease_prints_no_control_characters(tmp_path, capsys):
    said = {"owner": "a/1", "host": "evil\x1b[2J\nhost" + "x" * 500, "token": "t", "beat": 1}
    (tmp_path / NAME).write_text(json.dumps(said))
    with other(tmp_path):
        pass
    said_now = capsys.readouterr().err
    assert "\x1b" not in said_now and len(said_now.splitlines()) == 2


def test_a_training_whose_directory_is_taken_ends_without_saving(trained, tmp_path, monkeypatch):
    """Two machines that share no locks: the first stands still in its tenth step, the second goes on."""
    workdir, real, drawn = tmp_path / "run", TrainBatches.__next__, []
    takers: list[Lease] = []

    def next_batch(self):
        drawn.append(1)
        if len(drawn) == 10:
            taker = other(workdir)
            taker.__enter__()
            takers.append(taker)
        return real(self)

    monkeypatch.setattr(lease, "BEAT", FOREVER)
    monkeypatch.setattr(Lease.__init__, "__kwdefaults__", {**Lease.__init__.__kwdefaults__, "beat": FOREVER})
    monkeypatch.setattr(TrainBatches, "__next__", next_batch)
    with pytest.raises(RunTaken, match="was taken over by other"):
        runs.train(trained.config, workdir, quiet=True)
    assert find_checkpoint(workdir).step == 8
    takers[0].__exit__(None, None, None)
    monkeypatch.undo()
    assert runs.train(trained.config, workdir, quiet=True).step == 24
    assert not (workdir / NAME).exists()
