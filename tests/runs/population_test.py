"""Populations: members are their single runs, by one program, and go on where they were."""

import json
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.checkpoint import find_checkpoint
from aila_jax.cli.main import main
from aila_jax.config import (
    AnchorConfig,
    Config,
    LocalityConfig,
    MeshConfig,
    ModelConfig,
    PenaltyConfig,
    to_dict,
)
from aila_jax.config.options import PopulationOptions
from aila_jax.evaluation.population_rows import MemberRow, Population
from aila_jax.progress import Progress
from aila_jax.reporting.tables import read_csv
from aila_jax.reporting.training_log import read_training_log
from aila_jax.runs import _population
from aila_jax.runs._population import member_configs
from aila_jax.runs.setup import member_draws, step_draws
from aila_jax.training import population as training
from aila_jax.training.population import Seats
from aila_jax.training.sharding import batch_sharding
from aila_jax.training.stopping import TrainingStopped
from tests.support.tiny import make_config, write_corpus

LAMS, RATES = (0.0, 1.0), (5e-3, 2e-2)
NAMES = ["lam0.0-seed3-rate0.005", "lam1.0-seed3-rate0.005", "lam0.0-seed3-rate0.02", "lam1.0-seed3-rate0.02"]
LAST = NAMES[-1]


def fixed(data, **train) -> Config:
    """A small run at one λ, with what depends on a seed: order, dropout, weights."""
    config = make_config(data, **train)
    model = ModelConfig(length=16, d_model=16, n_heads=2, d_ff=32, n_layers=1, dropout=0.1)
    return replace(config, seed=3, model=model, locality=LocalityConfig(mode="fixed"))


def single(config: Config, lam: float, rate: float) -> Config:
    """The settings of a member."""
    return replace(
        config,
        locality=replace(config.locality, lam=lam),
        train=replace(config.train, learning_rate=rate),
    )


def records(folder: Path) -> list[dict]:
    """A training log without what a clock says."""
    return [
        {name: value for name, value in record.items() if name != "tokens_per_second"}
        for record in read_training_log(folder)
    ]


def arrays(folder: Path) -> list[tuple[str, str]]:
    """Name and checksum of every array of the newest checkpoint: weights, optimizer, key."""
    return sorted((name, entry.sha256) for name, entry in find_checkpoint(folder).arrays.items())


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time and content of everything in a run directory but its lock."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@dataclass(frozen=True)
class Grown:
    """A population that was stopped in its second member and then went on.

    Attributes:
      config: what the members share.
      stopped: why it stopped.
      before: the finished member's files then.
      found: the whole.
      traces: how often the step was traced in each of the two calls.
    """

    config: Config
    stopped: TrainingStopped
    before: dict
    found: Population
    traces: tuple[int, int]


@pytest.fixture(scope="module")
def grown(tmp_path_factory) -> Grown:
    folder = tmp_path_factory.mktemp("population")
    config, advance, count = fixed(write_corpus(folder / "text")), Progress.advance, 0
    made, traces = training.make_train_step, []

    def traced(*arguments, **options):
        step = made(*arguments, **options)

        def one(*given):
            traces.append(1)
            return step(*given)

        return one

    def signals(self, units=1):
        nonlocal count
        if self._total == len(NAMES) * 24:  # not that of a member's log
            count += units
            if count == 24 + 10:
                os.kill(os.getpid(), signal.SIGTERM)
        advance(self, units)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "make_train_step", traced)
        patch.setattr(Progress, "advance", signals)
        try:
            grow(config, folder)
        except TrainingStopped as error:
            stopped = error
        first = len(traces)
        before = files(folder / "pop" / NAMES[0])
        found = grow(config, folder)
    return Grown(config, stopped, before, found, (first, len(traces) - first))


def grow(config: Config, folder: Path) -> Population:
    return aila.population(config, folder / "pop", lams=LAMS, learning_rates=RATES, form="loop", quiet=True)


def test_one_program_serves_all_members(grown):
    assert grown.traces == (1, 1)
    assert grown.found.made.compilations == 1
    assert (grown.found.made.form, grown.found.made.together) == ("loop", 1)


def test_a_member_is_its_single_run(grown, tmp_path):
    """To rounding: the compiler of the default tests optimises little, which is not what users have."""
    alone = runs.train(single(grown.config, 1.0, 2e-2), tmp_path / LAST, quiet=True).workdir
    there = grown.found.workdir / LAST
    for one, other in zip(records(there), records(alone), strict=True):
        assert one.keys() == other.keys()
        np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-6)
    assert json.loads((there / "config.json").read_text()) == json.loads((alone / "config.json").read_text())
    # The same keys, step and position in the text, as a run needs that goes on.
    assert [name for name, _ in arrays(there)] == [name for name, _ in arrays(alone)]
    assert dict(arrays(there))["state/key"] == dict(arrays(alone))["state/key"]
    assert find_checkpoint(there).record.data == find_checkpoint(alone).record.data
    # And no member is another's run.
    assert len({str(arrays(path)) for path in grown.found.runs}) == len(NAMES)


def test_a_stopped_population_goes_on_and_leaves_finished_members_alone(grown):
    assert grown.stopped.step == 12  # step 10 is read before the evaluation after step 12
    assert files(grown.found.workdir / NAMES[0]) == grown.before
    for path in grown.found.runs:
        assert find_checkpoint(path).step == 24
        steps = [record["step"] for record in records(path) if record["kind"] == "train"]
        assert steps == [5, 10, 15, 20, 24]  # no record twice, none left out


def test_members_are_runs_like_any_other(grown, capsys):
    assert [path.name for path in grown.found.runs] == NAMES
    model = aila.load(grown.found.workdir / LAST)
    assert (model.config.seed, model.config.locality.lam, model.step) == (3, 1.0, 24)
    run = runs.train(single(grown.config, 1.0, 2e-2), grown.found.workdir / LAST)
    assert (run.began, run.step) == (24, 24)
    assert "already finished" in capsys.readouterr().out


def test_the_table_says_what_each_log_says(grown):
    rows = grown.found.rows
    assert [(row.learning_rate, row.lam) for row in rows] == [(rate, lam) for rate in RATES for lam in LAMS]
    for row, path in zip(rows, grown.found.runs, strict=True):
        last = [record for record in read_training_log(path) if record["kind"] == "eval"][-1]
        assert (row.loss, row.perplexity, row.step, row.note) == (last["loss"], last["perplexity"], 24, "")
        assert last["lam"] == row.lam
    folder = grown.found.workdir
    assert read_csv(MemberRow, (folder / "population.csv").read_text()) == rows
    document = json.loads((folder / "population.json").read_text())
    assert [row["loss"] for row in document["members"]] == [row.loss for row in rows]
    assert document["meta"]["made"]["compilations"] == 1
    assert "lam1.0-seed3-rate0.02" in repr(grown.found)


def test_a_finished_population_is_told_again_without_work(grown, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_population, "fit_members", lambda *_, **__: pytest.fail("it trained"))
    before = files(grown.found.workdir / LAST)
    assert main([
        "population", f"--config={_python_config(grown.config, tmp_path)}", f"--workdir={grown.found.workdir}",
        "--lams=0,1", "--learning_rates=5e-3,2e-2",
    ]) == 0  # fmt: skip
    said = capsys.readouterr().out
    assert "4 finished before, 0 go on, 0 begin" in said
    assert f"{grown.found.rows[-1].loss:.4f}" in said
    assert files(grown.found.workdir / LAST) == before


def _python_config(config: Config, folder: Path) -> Path:
    """A configuration file that gives it."""
    path = folder / "given.py"
    values = json.dumps(json.dumps(to_dict(config)))
    path.write_text(
        "import json\nfrom ml_collections import ConfigDict\n\ndef get_config():\n"
        f"    return ConfigDict(json.loads({values}))\n"
    )
    return path


def test_a_member_that_diverges_ends_alone_and_is_said(grown, tmp_path, capsys):
    config = replace(
        grown.config, train=replace(grown.config.train, steps=6, checkpoint_every=2, eval_every=6)
    )
    found = aila.population(
        config, tmp_path / "pop", lams=(1.0,), learning_rates=(3e38, 1e-2), form="loop", quiet=True
    )
    good, bad = found.rows
    assert (bad.learning_rate, bad.loss) == (3e38, None)
    assert "not finite" in bad.note
    assert (good.note, good.step) == ("", 6)
    assert good.loss is not None
    assert [row.run for row in found.failed] == [bad.run]


DRAWN = {"locality": LocalityConfig(mode="conditional")}
REFUSED = {
    "a λ above 1": ({"lams": (0.0, 1.5)}, {}, r"lams is 1\.5; it must be a number in \[0, 1\]"),
    "no λ": ({"lams": ()}, {}, r"lams is \(\); it must be at least one λ"),
    "no seed": ({"seeds": ()}, {}, r"seeds is \(\); it must be at least one seed"),
    "equal seeds": ({"seeds": (1, 2, 1)}, {}, r"seeds is \(1, 2, 1\); it must be values that differ"),
    "equal λ": ({"lams": [0.5, 0.5]}, {}, r"lams is \(0\.5, 0\.5\); it must be values that differ"),
    "a rate of 0": ({"learning_rates": (0.0,)}, {}, "learning_rates is .* above 0"),
    "an infinite rate": ({"learning_rates": (float("inf"),)}, {}, "learning_rates is .* at most 3.40282e"),
    "half a seed": ({"seeds": (0.5,)}, {}, "seeds is .* whole numbers in"),
    "one together": ({"together": 1}, {}, "together is 1; it must be 0 or at least 2"),
    "an unknown form": ({"form": "map"}, {}, "form is 'map'; it must be one of auto, loop, vmap"),
    "drawn λ": ({"lams": (0.5,)}, DRAWN, "locality.mode is 'conditional'; .* Fix: set --config.locality.mode=fixed"),
    "a mesh": ({}, {"mesh": MeshConfig(fsdp=2)}, "mesh.fsdp · mesh.tensor is 2; it must be 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_before_any_work(case, tmp_path, no_work):
    options, settings, message = REFUSED[case]
    config = replace(fixed(aila.presets.tiny().data), **settings)
    with pytest.raises(ValueError, match=message):
        aila.population(config, tmp_path / "pop", quiet=True, **options)
    assert not (tmp_path / "pop").exists()


def test_old_schedules_and_pmap_are_refused(tmp_path, no_work):
    base = fixed(aila.presets.tiny().data)
    for train, message in (
        ({"schedule": "offset"}, "train.schedule"),
        ({"parallel": "pmap"}, "train.parallel"),
    ):
        with pytest.raises(ValueError, match=f"{message} is .* in a population"):
            aila.population(replace(base, train=replace(base.train, **train)), tmp_path / "pop", quiet=True)


def test_a_run_directory_is_no_folder_of_a_population(grown):
    folder = grown.found.workdir / LAST
    with pytest.raises(ValueError, match="must be the folder of a population"):
        aila.population(grown.config, folder, lams=LAMS, quiet=True)


def test_a_member_of_other_settings_is_a_conflict(grown):
    other = replace(grown.config, train=replace(grown.config.train, warmup_steps=5))
    with pytest.raises(ValueError, match=r"train\.warmup_steps"):
        aila.population(other, grown.found.workdir, lams=LAMS, learning_rates=RATES, quiet=True)


def test_members_are_every_combination():
    config = fixed(aila.presets.tiny().data)
    found = member_configs(config, PopulationOptions(lams=(0, 0.5), seeds=(1, 2), learning_rates=(1e-3,)))
    assert [(one.locality.lam, one.seed, one.train.learning_rate) for one in found.values()] == [
        (0.0, 1, 1e-3), (0.5, 1, 1e-3), (0.0, 2, 1e-3), (0.5, 2, 1e-3)
    ]  # fmt: skip
    drawn = replace(config, locality=LocalityConfig(mode="conditional"))
    assert list(member_configs(drawn, PopulationOptions(seeds=(4,)))) == ["seed4-rate0.02"]
    assert list(member_configs(config, PopulationOptions())) == ["lam0.0-seed3-rate0.02"]


@pytest.mark.parametrize("mode", ["fixed", "conditional", "curriculum"])
def test_each_member_draws_what_its_single_run_draws(mode):
    base = fixed(aila.presets.tiny().data)
    penalty = PenaltyConfig(solver="proximal", eta=1e-3, groups=4)
    configs = [
        replace(base, seed=seed, locality=LocalityConfig(mode=mode, lam=lam, draw_tau=True), penalty=penalty)
        for seed, lam in ((1, 0.0), (2, 0.0 if mode == "conditional" else 0.75))
    ]
    together = jax.device_get(member_draws(configs, Seats(2).split)(7))
    for seat, config in enumerate(configs):
        alone = jax.device_get(step_draws(config, batch_sharding(8))(7))
        for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_array_equal(one[seat], other)


def losses(found: Population) -> np.ndarray:
    """Of training and of evaluations, every member's."""
    return np.array([[record["loss"] for record in records(path)] for path in found.runs])


@pytest.mark.medium
def test_both_forms_are_tried_and_vmap_equals_the_loop(grown, tmp_path, capsys):
    found = aila.population(
        grown.config, tmp_path / "vmap", lams=LAMS, learning_rates=RATES, form="vmap", together=3, quiet=True
    )
    assert (found.made.form, found.made.together, found.made.compilations) == ("vmap", 2, 1)
    np.testing.assert_allclose(losses(found), losses(grown.found), rtol=1e-5)
    tried = aila.population(grown.config, tmp_path / "auto", lams=LAMS, learning_rates=RATES)
    said = capsys.readouterr().out
    seconds = {"loop": tried.made.seconds_loop, "vmap": tried.made.seconds_vmap}
    assert tried.made.form == min(seconds, key=lambda form: seconds[form])
    assert f"form     {tried.made.form}: a step of a member takes loop" in said
    np.testing.assert_allclose(losses(tried), losses(grown.found), rtol=1e-5)


def curious(config: Config) -> Config:
    """Much of what a run does beside its steps: anchors that change its state, patience, the best step."""
    return replace(
        config,
        anchors=AnchorConfig(estimator="attention", k=1),
        penalty=PenaltyConfig(solver="proximal", eta=1e-3, weights="anchors", groups=4),
        train=replace(config.train, keep_best=True, patience=2, eval_every=3, dial_rate=1.0),
    )


def assert_same_records(found: list[dict], expected: list[dict]) -> None:
    """The same words and counts, and numbers to rounding: two programs sum in several orders."""
    assert [record.keys() for record in found] == [record.keys() for record in expected]
    for one, other in zip(found, expected, strict=True):
        for name, value in other.items():
            same = pytest.approx(value, rel=1e-5, abs=1e-6) if isinstance(value, float) else value
            assert one[name] == same, (name, other)


@pytest.mark.medium
@pytest.mark.parametrize(("kind", "form"), [("fixed", "loop"), ("drawn", "loop"), ("curious", "vmap")])
def test_a_member_is_its_single_run_to_rounding(kind, form, trained, grown, tmp_path):
    base = trained.config if kind == "drawn" else grown.config
    base = curious(base) if kind == "curious" else base
    lams = None if kind == "drawn" else LAMS
    found = aila.population(base, tmp_path / "pop", lams=lams, seeds=(0, 1), form=form, quiet=True)
    for path in found.runs:
        alone = runs.train(find_checkpoint(path).config, tmp_path / path.name, quiet=True).workdir
        assert [name for name, _ in arrays(path)] == [name for name, _ in arrays(alone)]
        chex.assert_trees_all_close(aila.load(path).params, aila.load(alone).params, rtol=1e-4, atol=1e-4)
        assert_same_records(records(path), records(alone))
    assert len(found.rows) == 4  # a drawn dial is read at both ends


ON_DEVICES = """
    from pathlib import Path
    import aila_jax as aila
    from aila_jax.checkpoint import find_checkpoint
    from tests.runs.population_test import fixed, LAMS, RATES, shared_program

    folder = Path({folder!r})
    config = find_checkpoint({member!r}).config
    for form in ("loop", "vmap"):
        found = aila.population(config, folder / form, lams=LAMS, seeds=(3, 4, 5), learning_rates=RATES[1:], form=form, quiet=True)
        assert found.made.compilations == 1, found.made
        assert (found.made.devices, found.made.together) == (4, 1 if form == "loop" else 2), found.made
    print(shared_program(config))
"""


def shared_program(config: Config) -> str:
    """The optimised program of a group's step on all devices."""
    from aila_jax.model.network import Network
    from aila_jax.model.transformer import build_transformer
    from aila_jax.partition.kinds import Windows
    from aila_jax.training.population import Seats, group_step
    from tests.support.tiny import VOCAB_SIZE, random_batch

    seats = Seats(2)
    config = replace(config, model=replace(config.model, length=12))
    network = Network(build_transformer(config, VOCAB_SIZE), Windows())
    state = _population._initial(config, network)
    rows = config.train.batch_size
    inputs = (random_batch(rows), np.zeros(rows, np.float32), np.ones(rows, np.float32), np.float32(1e-3))
    lowered = group_step(config, network, seats).lower(seats.stacked([state]), *seats.stacked([inputs]))
    return str(lowered.compile().as_text())


@pytest.mark.medium
def test_devices_share_members_and_exchange_nothing(grown, tmp_path, run_in_subprocess_with_devices):
    code = ON_DEVICES.format(folder=str(tmp_path), member=str(grown.found.workdir / LAST))
    program = run_in_subprocess_with_devices(4, code, timeout=1800.0)
    assert "fusion" in program  # it is a program
    for word in ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter"):
        assert word not in program, word
    for form in ("loop", "vmap"):
        there = tmp_path / form / LAST
        expected = [record["loss"] for record in records(grown.found.workdir / LAST)]
        np.testing.assert_allclose([record["loss"] for record in records(there)], expected, rtol=1e-5)
        assert len(list((tmp_path / form).glob("lam*/checkpoints/24"))) == 6
    assert jax.local_device_count() == 1
