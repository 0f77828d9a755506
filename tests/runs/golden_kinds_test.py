"""Old runs of the kinds that came later keep working: adapters of a pretrained model, and a run of eight
devices. They were made as golden_kinds/make.sh says.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.checkpoint import verify_run
from aila_jax.config import MeshConfig, saved_config
from aila_jax.loading.models import BASE
from aila_jax.reporting import read_sweep

HERE = Path(__file__).parent
KINDS = ("adapters", "sharded")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the runs, of the corpus, and of the base of the adapters, which lies elsewhere now."""
    for name in ("golden", "golden_kinds"):
        shutil.copytree(HERE / name, tmp_path / name)
    shutil.copytree(HERE.parent / "pretrained" / "files" / "neox", tmp_path / "moved")
    monkeypatch.setenv(BASE, str(tmp_path / "moved"))
    monkeypatch.chdir(tmp_path / "golden_kinds")  # the paths of the corpus are relative
    return tmp_path / "golden_kinds"


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_whole_and_loads(place, kind):
    assert not any(one.damaged for one in verify_run(place / kind))
    model = aila.load(place / kind)
    assert (model.step, model.config.partition.kind) == (8, "segments")
    assert model.generate("the cat", lam=1.0, max_tokens=4, sample_temperature=0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sweep_gives_the_numbers_that_it_gave(place, kind):
    before = read_sweep(place / kind)
    after = runs.sweep(str(place / kind), out=str(place / "again"), quiet=True)
    for old, new in zip(before.cells, after.cells, strict=True):
        assert (new.lam, new.tau, new.targets) == (old.lam, old.tau, old.targets)
        for name in ("loss", "accuracy", "entropy_bits", "block_mass"):
            assert getattr(new, name) == pytest.approx(getattr(old, name), rel=1e-4), name


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_to_the_weights_and_losses_that_it_had(place, kind):
    run = place / kind
    expected = aila.load(run).params
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    shutil.rmtree(run / "checkpoints" / "8")
    config = saved_config(json.loads((run / "config.json").read_text(encoding="utf-8")))
    done = aila.train(replace(config, mesh=MeshConfig()), run, quiet=True)  # there is one device
    assert (done.began, done.step) == (4, 8)
    resumed = jax.tree.leaves(aila.load(run).params)
    for (path, old), new in zip(jax.tree.leaves_with_path(expected), resumed, strict=True):
        np.testing.assert_allclose(new, old, rtol=2e-3, atol=2e-5, err_msg=jax.tree_util.keystr(path))
    again = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for old, new in zip(logged, again, strict=True):
        assert (new["kind"], new["step"]) == (old["kind"], old["step"])
        assert new["loss"] == pytest.approx(old["loss"], rel=1e-3)
