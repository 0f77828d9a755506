"""An old run keeps working: the one in `golden/`, made as golden/make.sh says, is loaded, read, resumed and
reported.
"""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.checkpoint import find_checkpoint
from aila_jax.config import saved_config
from aila_jax.model.transformer import build_transformer
from aila_jax.reporting import read_sweep
from aila_jax.training.optimizer import build_optimizer

GOLDEN = Path(__file__).parent / "golden"
LOGGED_TIMES = ("tokens_per_second",)


@pytest.fixture
def golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run with the corpus beside it, in the working directory, as its configuration has the
    paths.
    """
    shutil.copytree(GOLDEN, tmp_path / "golden")
    monkeypatch.chdir(tmp_path / "golden")
    return tmp_path / "golden" / "run"


def training_state(run: Path, step: int):
    """The whole state of a checkpoint, optimizer included."""
    found = find_checkpoint(run, step)
    module = build_transformer(found.config, found.tokenizer.vocab_size)
    optimizer = build_optimizer(found.config.train, found.config.penalty, found.config.feature_groups)
    return found.state(runs.initial_state(found.config, module, optimizer))


def test_it_loads_with_its_partition_and_anchors(golden):
    model = aila.load(golden)
    assert (model.step, model.config.partition.kind, model.need_anchors().k) == (24, "induced_classes", 2)
    assert aila.load(golden / "checkpoints" / "12").step == 12
    output = model.apply(
        np.array([model.tokenizer.encode("the cat saw the old owl")[:12]], np.int32), lam=0.5
    )
    assert np.all(np.isfinite(output.logits))
    assert model.generate("the cat", lam=1.0, max_tokens=4, sample_temperature=0.0)


def test_a_sweep_gives_the_numbers_that_it_gave(golden):
    before = read_sweep(golden)
    after = runs.sweep(str(golden), out=str(golden / "again"), quiet=True)
    for old, new in zip(before.cells, after.cells, strict=True):
        for name in (
            "lam",
            "tau",
            "targets",
            "loss",
            "accuracy",
            "entropy_bits",
            "block_mass",
            "pointer_fidelity",
        ):
            assert getattr(new, name) == pytest.approx(getattr(old, name), rel=1e-4), name
    for old, new in zip(before.heads, after.heads, strict=True):
        assert new.block_mass == pytest.approx(old.block_mass, rel=1e-4)


def test_it_resumes_to_the_state_and_log_that_it_had(golden):
    expected = training_state(golden, 24)
    logged = (golden / "metrics.jsonl").read_text(encoding="utf-8")
    shutil.rmtree(golden / "checkpoints" / "24")
    config = saved_config(json.loads((golden / "config.json").read_text(encoding="utf-8")))
    aila.train(config, golden, quiet=True)
    resumed = training_state(golden, 24)
    for (path, old), new in zip(jax.tree.leaves_with_path(expected), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_allclose(new, old, rtol=2e-3, atol=2e-5, err_msg=jax.tree_util.keystr(path))
    again = [json.loads(line) for line in (golden / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for old, new in zip(map(json.loads, logged.splitlines()), again, strict=True):
        if (old["kind"], old["step"]) == (
            "train",
            15,
        ):  # its interval began before step 12, and format 1 holds no sums
            continue
        assert old.keys() == new.keys()
        for name in old.keys() - set(LOGGED_TIMES):
            assert new[name] == (
                pytest.approx(old[name], rel=1e-3) if isinstance(old[name], float) else old[name]
            ), name


def test_it_is_reported(golden):
    page = runs.report(golden).read_text(encoding="utf-8")
    assert "Attention weights of run, step 24 over one text" in page
    assert (golden / "training.png").stat().st_size > 1000
