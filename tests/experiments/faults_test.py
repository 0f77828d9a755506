"""The injected faults, fewer of each than `sh launch/faults.sh` has, and that they find what they seek."""

import json
import os
from pathlib import Path

import pytest

from aila_jax import files, runs
from aila_jax.checkpoint import manifest
from aila_jax.files import Growing, write_atomically
from experiments.faults import commands, promises, report, without
from experiments.faults.commands import LINES, RUN, drawn_lines, flags_of, given_lines
from experiments.faults.cuts import cut_training, cut_writing
from experiments.faults.damage import damaged_files, damaged_values, json_places, with_another_value
from experiments.faults.inputs import FAMILIES, given
from experiments.faults.kills import drawn, killed
from experiments.faults.nonfinite import spoiled_runs
from experiments.faults.power import FORMS, lay, recorded
from experiments.faults.promises import PROMISES, Kept
from experiments.faults.soak import Sample, growth, more, slowing
from experiments.faults.subject import small_config
from experiments.faults.victims import WORKS
from experiments.faults.writes import every_write, failed_writes
from tests.support.tiny import Trained


def laid(tmp_path: Path, form: str) -> dict[str, bytes | None]:
    """A disk after a cut at the end of: one file flushed with its name, one without, one not at all."""
    (tmp_path / "disk").mkdir()
    with recorded(tmp_path / "disk") as recorder:
        for name in ("whole", "unnamed", "unflushed"):
            (tmp_path / "disk" / name).write_bytes(name.encode())
            if name != "unflushed":
                files.flush(tmp_path / "disk" / name)
            if name == "whole":
                files.flush(tmp_path / "disk")
    return recorder.moments[-1].laid(form)


@pytest.mark.parametrize(("form", "expected"), [
    ("flushed", {"whole": b"whole"}),
    ("written", {"whole": b"whole", "unnamed": b"unnamed", "unflushed": b"unflushed"}),
    ("names first", {"whole": b"whole", "unnamed": b"unnamed", "unflushed": b""}),
    ("content first", {"whole": b"whole"}),
    ("zeros", {"whole": b"whole", "unnamed": b"unnamed", "unflushed": bytes(9)}),
])  # fmt: skip
def test_a_cut_keeps_what_was_flushed_and_may_keep_the_rest(tmp_path, form, expected):
    found = laid(tmp_path, form)
    assert found == expected
    lay(found, tmp_path / "again")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == expected


def test_a_name_that_is_taken_over_is_old_or_new(tmp_path):
    disk = tmp_path / "disk"
    (disk / "folder").mkdir(parents=True)
    (disk / "folder" / "a").write_bytes(b"old")
    with recorded(disk) as recorder:
        (disk / "b").write_bytes(b"new")
        files.flush(disk / "b")
        os.replace(disk / "b", disk / "folder" / "a")
        files.flush(disk / "folder")
    before, after = recorder.moments[-2], recorder.moments[-1]
    assert before.call.startswith("fsync") and after.call == "the end"
    assert before.laid("flushed") == {"folder": None, "folder/a": b"old"}
    assert before.laid("written") == {"folder": None, "folder/a": b"new"}
    assert after.laid("flushed") == {"folder": None, "folder/a": b"new"}


@pytest.mark.parametrize("protected", [True, False])
def test_results_are_old_or_new_after_a_cut(tmp_path, monkeypatch, protected):
    if not protected:
        monkeypatch.setattr(files, "flush", lambda path: None)
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "sweep.json").write_bytes(b"old")
    cuts = cut_writing(
        tmp_path,
        lambda folder: write_atomically(folder / "sweep.json", b"new"),
        lambda folder: (folder / "sweep.json").read_bytes(),
        b"old",
    )
    assert cuts.disks > 4
    assert bool(cuts.broken) != protected


@pytest.mark.medium
@pytest.mark.parametrize("without", ["", "the step's files", "the log"])
def test_a_power_cut_while_training_loses_nothing_that_was_saved(tmp_path, monkeypatch, without):
    if without == "the step's files":
        monkeypatch.setattr(manifest, "flush", lambda path: None)
    if without == "the log":
        monkeypatch.setattr(Growing, "flush", lambda self: None)
    config = small_config(steps=16)
    cuts = cut_training(tmp_path / "run", config, resume=0 if without else 1, forms=FORMS[:1] if not without else FORMS[2:3])  # fmt: skip
    assert cuts.moments > 50
    assert bool(cuts.broken) == bool(without), cuts.broken


@pytest.mark.medium
def test_what_is_killed_goes_on_to_the_same_bits(tmp_path):
    found = killed(tmp_path, drawn(15, seed=1))
    assert [one for one in found if one.wrong] == []
    assert {one.work for one in found} == set(WORKS)
    assert sum(one.killed for one in found) == 15  # those that were done before are tried again, sooner


def test_kills_are_drawn_in_turn_and_the_same_ones_again():
    places = {(work, place) for work in WORKS for place in (*WORKS[work].places, "time")}
    assert {(work, place) for work, place, _ in drawn(len(places), seed=3)} == places
    assert drawn(40, seed=3) == drawn(40, seed=3) != drawn(40, seed=4)


@pytest.mark.medium
def test_writes_that_fail_are_told_and_lose_nothing(tmp_path):
    found = failed_writes(tmp_path, [one for one in every_write(2) if one[0] in ("train", "answer")][::3])
    assert [one for one in found if one.wrong] == []
    assert sum(bool(one.said) for one in found) > len(found) / 2


@pytest.mark.medium
def test_numbers_that_are_not_finite_reach_no_checkpoint(tmp_path):
    found = spoiled_runs(tmp_path, values=(float("nan"),))
    assert len(found) == 13
    assert [one for one in found if one.wrong] == []


@pytest.mark.medium
def test_damage_to_every_file_is_found(trained: Trained, tmp_path, capsys):
    found = damaged_files(trained.run.workdir, tmp_path / "copy", how=("flipped", "deleted"))
    assert found.tried > 40
    assert (found.missed, found.lost) == ([], [])
    assert found.survived > 10
    capsys.readouterr()


def test_values_that_are_changed_are_found(trained: Trained, tmp_path):
    found = damaged_values(trained.run.workdir, tmp_path / "copy", most=1)
    assert found.tried >= 5
    assert found.missed == []


def test_another_value_is_of_the_same_kind_and_another():
    document = {"a": [1, 2.5, None, True, "x", ""], "b": {"c": 0}}
    places = list(json_places(document))
    assert places == [("a", 0), ("a", 1), ("a", 2), ("a", 3), ("a", 4), ("a", 5), ("b", "c")]
    for place in places:
        changed = with_another_value(document, place)
        assert changed != document
        assert json.loads(json.dumps(changed)) == changed


@pytest.mark.medium
def test_every_input_is_served_or_refused(trained: Trained, tmp_path):
    found = given(trained.run.workdir, tmp_path / "files", count=200, seed=2)
    assert found.wrong == []
    assert set(found.served) | set(found.refused) == set(FAMILIES)
    assert found.cases == 200
    assert found.computed > 0.25


def test_an_input_that_breaks_something_is_found(trained: Trained, tmp_path, monkeypatch):
    from aila_jax.inference import language_model

    def broken(self, *args, **kwargs):
        raise KeyError("no such thing")

    for name in ("score", "generate", "attention"):
        monkeypatch.setattr(language_model.LanguageModel, name, broken)
    found = given(trained.run.workdir, tmp_path / "files", count=3, seed=2, families=("prompts",))
    assert len(found.wrong) == 3
    assert "KeyError" in found.wrong[0]


@pytest.mark.medium
def test_each_command_line_does_its_work_as_it_is_and_says_why_where_it_cannot(tmp_path):
    run = runs.train(small_config(), tmp_path / "run", quiet=True).workdir
    runs.sweep(run, quiet=True)
    lines = [(name, *line) for name, line in LINES.items()]
    wrong = ("sweep", f"--checkpoint={RUN}", "--lams=0,nan")
    said = given_lines(run, tmp_path / "lines", [*lines, wrong])
    assert [one.wrong for one in said] == [""] * len(said)
    assert [one.code for one in said] == [*[0] * len(lines), 2]


def test_a_command_that_breaks_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "AILA", "raise KeyError('no such thing')")
    [said] = given_lines(tmp_path / "run", tmp_path / "lines", [("verify", "x")])
    assert (said.code, "KeyError" in said.wrong) == (1, True)


def test_command_lines_are_drawn_in_turn_and_the_same_ones_again():
    lines = drawn_lines(100, seed=3)
    assert lines == drawn_lines(100, seed=3) != drawn_lines(100, seed=4)
    assert {line[0] for line in lines} == set(LINES)
    assert "config.train.steps" in flags_of("train")


def test_the_table_has_a_line_a_promise_and_names_what_is_broken(tmp_path):
    names = list(PROMISES)
    report.write(Kept(names[0], "300 kills", 300, 299, ("train: other bits",), 0, 90.0), "whole", tmp_path)
    report.write(Kept(names[1], "cuts", 10, 10, (), 2, 60.0), "small", tmp_path)
    text, broken = report.collect(tmp_path)
    assert broken == [names[0]]
    lines = text.splitlines()
    assert len(lines) == len(names) + 2
    assert "299 of 300" in lines[2] and "10 of 10, 2 skipped" in lines[3] and "not tried" in lines[4]
    (tmp_path / "table.md").unlink()
    report.file_of(tmp_path, names[0]).write_text("{}")
    with pytest.raises(ValueError, match="no result of this experiment"):
        report.collect(tmp_path)


def test_the_table_says_what_broke_without_a_protection(tmp_path):
    names = list(PROMISES)
    for name, broken in ((names[0], 9), (names[1], 0)):
        document = {"format": without.FORM, "said": "no lock", "cases": 15, "broken": broken}
        report.without_file_of(tmp_path, name).write_text(json.dumps(document))
    text, wrong = report.collect(tmp_path)
    assert "no lock: 9 of 15 broken" in text.splitlines()[2]
    assert wrong == [f"{names[1]} (its test shows nothing)"]


def test_each_promise_has_a_protection():
    assert list(without.PROTECTIONS) == list(PROMISES)


@pytest.mark.slow
@pytest.mark.parametrize("promise", list(PROMISES))
def test_a_promise_breaks_without_its_protection(tmp_path, promise):
    without.tried_without(promise, tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text())["broken"] > 0


def test_what_is_taken_out_is_taken_out_everywhere(monkeypatch):
    from aila_jax.checkpoint import found

    whole = manifest.check_files
    monkeypatch.setattr(manifest, "check_files", whole)  # both are put back at the end
    monkeypatch.setattr(found, "check_files", whole)
    monkeypatch.setenv(without.WITHOUT, "damage is found, named, survived")
    without.take_out()
    assert manifest.check_files is found.check_files is not whole


def samples(resident=lambda n: 100.0, rate=lambda n: 10.0) -> list[Sample]:
    return [Sample(float(n), n, int(1e6 * resident(n)), 10, 20, rate(n)) for n in range(50)]


def test_what_grows_or_slows_down_in_a_long_run_is_seen():
    warm = samples(lambda n: 50.0 if n < 8 else 100.0)  # what is made once is no leak
    assert growth(warm) == 0.0
    assert growth(samples(lambda n: 100.0 + 0.1 * n)) == pytest.approx(0.035, abs=0.002)
    assert slowing(samples(rate=lambda n: 10.0 if n < 25 else 9.0)) == pytest.approx(0.9)
    assert slowing(warm) == 1.0


def test_one_thread_more_for_a_moment_is_no_leak_and_more_and_more_are_one():
    counts = [20, 21] * 25
    assert not more(counts)
    assert not more([*counts[:49], 21])
    assert more([*counts[:45], 22, 22, 22, 22, 22])
    assert more([20 + n // 10 for n in range(50)])


def test_tests_that_keep_a_promise_are_counted(tmp_path):
    case = tmp_path / "some_test.py"
    case.write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert 0\ndef test_c(): pytest.skip('not here')\n"
    )
    settings = tmp_path / "pytest.ini"
    settings.write_text("[pytest]\nmarkers = slow\n")
    _, cases, broken, skipped = promises._tests(str(case), "-c", str(settings))(
        tmp_path / "here", promises.SCALES["small"]
    )
    assert (cases, len(broken), skipped) == (2, 1, 1)
    assert broken[0].endswith("test_b")
    case.write_text("import pytest\n@pytest.mark.slow\ndef test_a(): pass\ndef test_b(): pass\n")
    counts = [
        promises._tests(str(case), "-c", str(settings))(tmp_path / name, scale)[1]
        for name, scale in promises.SCALES.items()
    ]
    assert counts == [1, 2]


def test_the_tests_that_are_named_are_there():
    root = Path(promises.__file__).parents[2]
    for name in promises.NAMED:
        assert (root / name).exists(), name


@pytest.mark.parametrize("name", ["small", "whole"])
def test_scales_are_whole(name):
    assert set(promises.SCALES[name].cuts) <= set(FORMS) == set(promises.FORMS)


def test_a_run_with_a_penalty_is_localised_without_it(tmp_path):
    """Its penalty was of its own training, and was in the way of adapters."""
    from aila_jax import presets
    from aila_jax.config import PenaltyConfig

    base = small_config()
    assert base.penalty != PenaltyConfig() == presets.localised(base, length=10).penalty
