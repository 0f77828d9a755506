"""Training on a rule corpus: attention comes to point at what determines the target, and accuracy on such
targets rises with it.
"""

from dataclasses import replace
from pathlib import Path

import pytest

import aila_jax as aila
from aila_jax import presets, runs
from aila_jax.config import (
    Config,
    DataConfig,
    LocalityConfig,
    ModelConfig,
    RuleConfig,
    SweepConfig,
    TrainConfig,
)
from aila_jax.config.options import SweepOptions
from aila_jax.reporting import read_training_log
from aila_jax.training.optimizer import build_optimizer


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Brackets of four kinds, two deep; 250 steps of 64 sequences."""
    directory = tmp_path_factory.mktemp("rule")
    rule = RuleConfig(sequences=2048, kinds=4, depth=2, brackets=5)
    config = Config(
        data=DataConfig(
            corpus="brackets", tokenizer="word", vocab_size=16, cache_dir=str(directory / "cache"), rule=rule
        ),
        model=ModelConfig(length=16, d_model=32, n_heads=2, d_ff=64, n_layers=2, document_mask=True),
        locality=LocalityConfig(mode="fixed", lam=0.0),
        train=TrainConfig(
            steps=250,
            batch_size=64,
            learning_rate=1e-2,
            warmup_steps=25,
            weight_decay=0.0,
            eval_every=125,
            checkpoint_every=250,
        ),
        sweep=SweepConfig(lams=(0.0,), taus=(1.0,), split="test"),
    )
    return runs.train(config, directory / "run", quiet=True).workdir


@pytest.mark.medium
def test_fidelity_and_accuracy_rise_with_training(workdir: Path) -> None:
    """At random the bracket's kind is guessed once in four times, and nothing is known of where to look."""
    result = runs.sweep(str(workdir), quiet=True)
    cell = result.cells[0]
    assert cell.pointers == "answers"
    assert cell.accuracy_determined == pytest.approx(1.0, abs=0.02)
    assert cell.determined == 102 * 5  # every closing bracket of the test split
    assert cell.pointer_queries == cell.determined
    assert cell.pointer_lift > 1.5
    model = aila.load(workdir)
    fresh = runs.initial_state(model.config, model.module, build_optimizer(model.config.train)).params
    before = aila.sweep(replace(model, params=fresh), runs.dataset_of(model), quiet=True).cells[0]
    assert before.accuracy_determined < 0.4
    assert before.pointer_lift == pytest.approx(1.0, abs=0.1)
    assert cell.pointer_fidelity > before.pointer_fidelity + 0.1
    assert max(head.pointer_fidelity for head in result.heads) > 0.5
    evals = [record for record in read_training_log(workdir) if record["kind"] == "eval"]
    assert [record["step"] for record in evals] == [125, 250]
    assert (
        before.accuracy_determined < evals[0]["accuracy_determined"] <= evals[1]["accuracy_determined"] + 0.01
    )
    assert before.pointer_fidelity < evals[0]["pointer_fidelity"]


@pytest.mark.medium  # 3,000 steps
def test_recall_is_learned_where_one_layer_comes_to_point_at_the_value(tmp_path: Path) -> None:
    """Half of the answers come from knowing which values were listed; more needs to know whose.

    Three seeds of three did in 3,000 steps (.73 to .97), with learned positions alone one of four. Rounding
    differs between machines and can decide when a run finds it out, so a second and a third seed may be
    tried.
    """
    config = presets.recall()
    learned = []
    for seed in range(3):
        tried = replace(config, seed=seed, data=replace(config.data, cache_dir=str(tmp_path)))
        workdir = runs.train(tried, tmp_path / f"run{seed}", quiet=True).workdir
        result = runs.sweep(workdir, SweepOptions(lams=(0.0,)), quiet=True)
        learned.append(result.cells[0].accuracy_determined)
        if learned[-1] > 0.6:
            break
    assert learned[-1] > 0.6, learned
    assert max(head.pointer_fidelity for head in result.heads) > 2 * result.cells[0].pointer_uniform
