"""A run on questions: trained, stopped and gone on with, evaluated, swept and read; what is measured of its
answers against NumPy.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.config import (
    Config,
    DataConfig,
    LocalityConfig,
    MarginConfig,
    ModelConfig,
    PartitionConfig,
    QuestionConfig,
    SweepConfig,
    TrainConfig,
)
from aila_jax.evaluation.answers import by_answer, score_answers
from aila_jax.inference.corpus import windows_of
from aila_jax.model.interface import Dial, Request
from experiments.questions.report import collect
from experiments.questions.runs import measure, read_rows, write_rows


def settings(folder: Path, steps: int = 6) -> Config:
    asked = QuestionConfig(sequences=200, kinds=("one_hop", "absent"), most=3, asked=2, capacity=32)
    return Config(
        data=DataConfig(
            corpus="questions", vocab_size=1280, questions=asked, cache_dir=str(folder / "cache")
        ),
        partition=PartitionConfig(kind="given"),
        model=ModelConfig(
            length=112,
            d_model=16,
            n_heads=2,
            d_ff=32,
            n_layers=2,
            rotary_base=1000.0,
            margin=MarginConfig(nats=8.0, gate=1.0),
        ),
        locality=LocalityConfig(mode="conditional", at_zero=0.5, at_one=0.5),
        train=TrainConfig(
            steps=steps, batch_size=8, warmup_steps=2, eval_every=3, checkpoint_every=3, learning_rate=1e-2
        ),
        sweep=SweepConfig(lams=(0.0, 1.0), taus=(1.0,), batch_size=8, split="test"),
    )


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("questions")
    return runs.train(settings(folder), folder / "run", quiet=True).workdir


@pytest.fixture(scope="module")
def trained(workdir: Path) -> Any:
    return aila.load(workdir)


@pytest.mark.medium
def test_a_run_that_was_stopped_ends_as_one_that_was_not(trained: Any, tmp_path: Path) -> None:
    config = replace(trained.config, data=replace(trained.config.data, cache_dir=str(tmp_path)))
    runs.train(replace(config, train=replace(config.train, steps=6)), tmp_path / "run", quiet=True)
    first = tmp_path / "run" / "checkpoints"
    newest = max(first.iterdir(), key=lambda path: int("".join(filter(str.isdigit, path.name)) or -1))
    for path in sorted(newest.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    newest.rmdir()
    assert runs.train(config, tmp_path / "run", quiet=True).step == 6
    again = aila.load(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, trained.params, again.params)


def test_sweeps_score_answers_alone(trained: Any) -> None:
    dataset = runs.dataset_of(trained)
    windows = windows_of(trained, dataset, "test")
    assert windows.n_targets == int(windows.batch.weights.sum()) < (windows.batch.doc_ids >= 0).sum() / 5
    result = aila.sweep(trained, dataset, lams=(0.0, 1.0), quiet=True)
    for cell, lam in zip(result.cells, (0.0, 1.0), strict=True):
        assert cell.targets == windows.n_targets
        found = score_answers(trained, windows, lam, batch_size=4)
        assert cell.loss == pytest.approx(-found.log_prob.sum() / windows.n_targets, rel=1e-5)


def test_at_one_isolated_is_hard_and_passages_do_not_see_each_other(trained: Any) -> None:
    dataset = runs.dataset_of(trained)
    batch = jax.tree.map(lambda ids: ids[:4], windows_of(trained, dataset, "test").batch)
    at_one = Dial(1.0, 1.0)
    soft = trained.network(trained.params, batch, at_one, Request()).logits
    hard = trained.network(trained.params, batch, at_one, Request(hard=True)).logits
    np.testing.assert_allclose(soft, hard, atol=1e-5)  # the gate leaves nothing outside
    other = batch.replace(tokens=np.where(batch.given_ids == 0, 300, batch.tokens))
    changed = trained.network(trained.params, other, at_one, Request(hard=True)).logits
    others = batch.given_ids > 0
    assert others.any()
    np.testing.assert_array_equal(np.asarray(changed)[others], np.asarray(hard)[others])
    asked = batch.weights > 0
    assert np.abs(np.asarray(changed)[asked] - np.asarray(hard)[asked]).max() > 1e-4


def test_answers_are_scored_as_numpy_does(trained: Any) -> None:
    windows = windows_of(trained, runs.dataset_of(trained), "test")
    found = score_answers(trained, windows, 1.0, hard=True, batch_size=4)
    request, at_one = Request(hard=True), Dial(1.0, 1.0)
    logits = np.asarray(trained.network(trained.params, windows.batch, at_one, request).logits, np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    right, log_prob, window = [], [], []
    for row in range(len(windows)):
        answer: list[int] = []
        for t in range(112):
            if windows.batch.weights[row, t] > 0:
                answer.append(t)
            elif answer:
                targets = windows.batch.targets[row, answer]
                right.append((logits[row, answer].argmax(-1) == targets).all())
                log_prob.append(log_p[row, answer, targets].sum())
                window.append(row)
                answer = []
    assert (
        len(windows) < len(found.right) < 2 * len(windows)
    )  # one of two questions where there is one passage
    np.testing.assert_array_equal(found.right, right)
    np.testing.assert_array_equal(found.window, window)
    np.testing.assert_allclose(found.log_prob, log_prob, atol=1e-4)


@pytest.mark.medium
def test_a_dial_is_learned_on_questions(trained: Any, workdir: Path, tmp_path: Path) -> None:
    """Localising takes the corpus as any other, its passages as blocks."""
    data, blocks = replace(trained.config.data, tokenizer="bpe"), PartitionConfig(kind="given")
    run = aila.localise(workdir, tmp_path / "dial", data, partition=blocks, tokens=2 * 8 * 112, quiet=True)
    found = aila.load(tmp_path / "dial")
    assert run.step == 2 and found.config.data.asks and found.config.model.adapters.rank == 8
    windows = windows_of(found, runs.dataset_of(found), "test")
    mine, base = (score_answers(model, windows, 0.0, batch_size=4) for model in (found, trained))
    np.testing.assert_array_equal(mine.log_prob, base.log_prob)


def test_an_answer_is_right_where_all_of_it_is() -> None:
    weights = np.array([[0, 1, 1, 0, 1], [1, 1, 0, 0, 0]], np.float32)
    right = np.array([[0, 1, 0, 1, 1], [1, 1, 0, 0, 0]], bool)
    found = by_answer(weights, right, -np.ones((2, 5)))
    assert found.right.tolist() == [False, True, True]
    assert found.log_prob.tolist() == [-2.0, -1.0, -2.0] and found.window.tolist() == [0, 0, 1]


def test_the_experiment_measures_each_kind_in_each_mode(trained: Any, tmp_path: Path) -> None:
    rows = measure(trained, passages=(2,), questions=12, quiet=True)
    asked = [(kind, mode) for kind in ("one_hop", "absent") for mode in ("together", "isolated")]
    assert [(row.kind, row.mode) for row in rows] == asked
    assert all(row.questions == 12 and row.low <= row.accuracy <= row.high for row in rows)
    write_rows(rows, trained, runs.dataset_of(trained), tmp_path / "questions-seed0")
    assert read_rows(tmp_path / "questions-seed0.json") == rows
    text = collect(tmp_path)
    assert text.count("\n") == 2 + 2 and "| 2 | one hop | 0 | 12 |" in text
    assert (tmp_path / "table.md").read_text() == text
