"""Anchors in a run: made once at the end of warm-up, kept in the checkpoint, the same after a stop, used as
weights, listed.
"""

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.cli.main import main
from aila_jax.config import AnchorConfig, Config, PenaltyConfig
from aila_jax.config.options import SweepOptions
from aila_jax.data.pipeline import TrainBatches
from aila_jax.inference.language_model import LanguageModel
from aila_jax.runs import _train as training_run
from aila_jax.training import anchors as making
from aila_jax.training.locality import draw_locality
from aila_jax.training.sharding import batch_sharding
from tests.oracles import anchors as oracle
from tests.oracles.attention import in_block
from tests.support.tiny import make_config, write_corpus

WARMUP = 4


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Six steps, of which four are warm-up; a checkpoint after each. The penalty takes its weights from
    attention's anchors.
    """
    settings = {
        "steps": 6,
        "warmup_steps": WARMUP,
        "checkpoint_every": 1,
        "keep": 6,
        "eval_every": 6,
        "eval_batches": 1,
    }
    config = make_config(write_corpus(tmp_path_factory.mktemp("text")), **settings)
    return replace(
        config,
        model=replace(config.model, n_layers=1, film=False),
        anchors=AnchorConfig(estimator="attention", k=2, max_batches=3),
        penalty=PenaltyConfig(solver="subgradient", eta=1e-3, weights="anchors"),
        sweep=replace(config.sweep, max_batches=1),
    )


@pytest.fixture(scope="module")
def finished(base: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run without a stop."""
    return runs.train(base, tmp_path_factory.mktemp("run") / "whole", quiet=True).workdir


def leaves(model: LanguageModel) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves((model.params, model.anchors))]


def test_the_checkpoint_before_the_end_of_warm_up_has_none_and_says_so(finished: Path) -> None:
    early = aila.load(finished, step=3)
    assert early.anchors is None
    for ask in (early.need_anchors, lambda: early.anchor_mask(np.array([[1, 2, 3]]))):
        with pytest.raises(
            ValueError, match="checkpoint is of step 3; anchors are made at the end of warm-up, after step 4"
        ):
            ask()
    with pytest.raises(ValueError, match="after step 4"):
        runs.sweep(finished / "checkpoints" / "3", SweepOptions(pointers="anchors"), quiet=True)
    assert main(["anchors", f"--checkpoint={finished / 'checkpoints' / '3'}"]) == 2


@pytest.mark.medium
@pytest.mark.parametrize("last", [3, 5])
def test_a_run_stopped_before_or_after_the_end_of_warm_up_continues_identically(
    base: Config, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    """From 3 warm-up ends in the second part, and the anchors are made there; from 5 they come from the
    checkpoint.
    """
    copy = shutil.copytree(finished, tmp_path / "copy")
    for step in range(last + 1, 7):
        shutil.rmtree(copy / "checkpoints" / str(step))
    made: list[int] = []
    real = training_run.make_anchors
    monkeypatch.setattr(
        training_run, "make_anchors", lambda *args, **kwargs: made.append(1) or real(*args, **kwargs)
    )
    runs.train(base, copy, quiet=True)
    assert len(made) == (last == 3)
    found, whole = leaves(aila.load(copy)), leaves(aila.load(finished))
    assert len(found) == len(whole) > 3
    for left, right in zip(found, whole, strict=True):
        np.testing.assert_array_equal(left, right)


def test_the_table_is_attention_inside_blocks_over_what_warm_up_read(base: Config, finished: Path) -> None:
    """From the weights of the parameters at the end of warm-up, in float64 loops; each sequence is read
    twice, and each batch in two parts.
    """
    config = replace(
        base, anchors=replace(base.anchors, max_batches=2), train=replace(base.train, accumulate=2)
    )
    config = replace(config, locality=replace(config.locality, views=2))
    model = aila.load(finished)
    dataset = runs.dataset_of(model)
    windows = dataset.windows("train", config.model.length, False)
    sharding = batch_sharding(config.train.batch_size)
    found = making.make_anchors(
        config,
        model.network,
        model.params,
        windows=windows,
        draw=runs.step_draws(config, sharding),
        sharding=sharding,
    )
    sums, counts = np.zeros(len(found.table)), np.zeros(len(found.table), int)
    batches = TrainBatches(windows, config.train.batch_size, config.seed)
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    chosen = []
    for step in range(2):
        batch = next(batches)
        lam, tau = draw_locality(
            config.locality, config.train.steps, config.train.batch_size, key, np.int32(step)
        )
        chosen.append((batch.tokens, np.asarray(batch.positions) // config.partition.size))
        batch = jax.tree.map(lambda x: np.repeat(x, 2, axis=0), batch)
        output = model.apply(batch.tokens, lam=lam, tau=tau, weights=True)
        weights = np.asarray(output.weights, np.float64)
        ids = np.asarray(batch.positions) // config.partition.size
        for b, t in np.ndindex(ids.shape):
            inside = [j for j in range(t + 1) if in_block(ids[b, t], ids[b, j])]
            if len(inside) < 2:
                continue
            alpha = weights[:, b, :, t, inside[0] : inside[-1] + 1]
            alpha = alpha / alpha.sum(axis=-1, keepdims=True)
            sums[batch.tokens[b, t]] += -np.sum(alpha * np.log2(alpha), axis=-1).mean() / math.log2(
                len(inside)
            )
            counts[batch.tokens[b, t]] += 1
    np.testing.assert_array_equal(found.counts, counts)
    seen = counts > 0
    np.testing.assert_allclose(np.asarray(found.table)[seen], (sums[seen] / counts[seen]), atol=2e-5)
    np.testing.assert_array_equal(np.asarray(found.table)[~seen], np.asarray(found.table)[seen].max())
    tokens, ids = (np.concatenate(arrays) for arrays in zip(*chosen, strict=True))
    is_anchor = oracle.anchors(tokens, ids, found.table, 2)
    np.testing.assert_allclose(
        found.importance,
        oracle.importance(tokens, ids, is_anchor, found.table, config.feature_groups),
        rtol=1e-5,
    )


def test_importance_becomes_the_penaltys_weights_at_the_end_of_warm_up(base: Config, finished: Path) -> None:
    from aila_jax.checkpoint import find_checkpoint
    from aila_jax.model.transformer import build_transformer
    from aila_jax.training.optimizer import build_optimizer

    model = aila.load(finished)
    module = build_transformer(base, model.tokenizer.vocab_size)
    template = runs.initial_state(
        base, module, build_optimizer(base.train, base.penalty, base.feature_groups)
    )
    before, after = (find_checkpoint(finished, step).state(template) for step in (3, 6))
    np.testing.assert_array_equal(before.importance, template.importance)
    assert model.anchors is not None
    assert model.anchors.importance.shape == (4,)  # 16 tokens in windows of 5
    want = np.broadcast_to(model.anchors.importance, after.importance.shape)
    np.testing.assert_allclose(after.importance, want / want.mean(), rtol=1e-6)
    assert np.ptp(after.importance) > 1e-3
    hook = making.AnchorsAtWarmup(
        replace(base, penalty=replace(base.penalty, weights="inverse_anchors")), lambda params: model.anchors
    )
    state = jax.device_put(template)
    assert hook(WARMUP - 1, state) is None
    changed = hook(WARMUP, state)
    assert changed is not None
    product = np.asarray(changed.importance) * want
    np.testing.assert_allclose(product, product[0, 0], rtol=1e-5)


def test_anchors_never_touch_the_output_and_a_sweep_measures_them(finished: Path) -> None:
    model = aila.load(finished)
    plain = replace(model, anchors=None)
    tokens = np.asarray(runs.dataset_of(model).splits["test"].tokens[:16])[None]
    np.testing.assert_array_equal(model.apply(tokens, lam=0.5).logits, plain.apply(tokens, lam=0.5).logits)
    mask = model.anchor_mask(tokens)
    np.testing.assert_array_equal(
        mask, oracle.anchors(tokens, np.arange(16)[None] // 5, model.anchors.table, 2)
    )
    dataset = runs.dataset_of(model)
    grid = {"lams": (0.0, 1.0), "taus": (1.0,), "quiet": True, "split": "test"}
    rows, without = aila.sweep(model, dataset, **grid), aila.sweep(plain, dataset, **grid)
    for row, other in zip(rows.cells, without.cells, strict=True):
        assert (row.loss, row.entropy_bits, row.block_mass) == (
            other.loss,
            other.entropy_bits,
            other.block_mass,
        )
        assert row.pointers == "anchors"
        assert 0 < row.pointer_fidelity < row.block_mass
        assert row.pointer_lift == pytest.approx(row.pointer_fidelity / row.pointer_uniform)
        assert other.pointer_fidelity is None
    assert rows.cells[1].pointer_lift > rows.cells[0].pointer_lift
    assert rows.cells[0].pointer_fidelity == pytest.approx(
        np.mean([head.pointer_fidelity for head in rows.heads[:2]])
    )
    with pytest.raises(ValueError, match="pointers is 'answers', but this corpus has no known answers"):
        aila.sweep(model, dataset, pointers="answers", **grid)
    with pytest.raises(ValueError, match=r"anchors\.estimator is 'none'"):
        replace(
            plain, config=replace(plain.config, anchors=AnchorConfig(), penalty=PenaltyConfig())
        ).need_anchors()


def test_the_listing_shows_both_estimators_and_its_files_hold_it(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert (
        main(
            [
                "anchors",
                f"--checkpoint={finished}",
                "--top=5",
                "--examples=3",
                "--batches=1",
                f"--out={tmp_path}",
            ]
        )
        == 0
    )
    text = capsys.readouterr().out
    assert "anchors by attention (the checkpoint's own table), 2 a block" in text
    assert "anchors by corpus (made now for comparison" in text
    document = json.loads((tmp_path / "anchors.json").read_text())
    model = aila.load(finished)
    own, other = document["listings"]
    assert (own["estimator"], own["used"], other["estimator"], other["used"]) == (
        "attention",
        True,
        "corpus",
        False,
    )
    table, counts = np.asarray(model.anchors.table), np.asarray(model.anchors.counts)
    lowest = sorted(np.flatnonzero(counts), key=lambda token: table[token])[:5]
    assert [entry["token"] for entry in own["types"]] == lowest
    assert [entry["count"] for entry in own["types"]] == counts[lowest].tolist()
    for block in own["blocks"]:
        assert sum(block["anchors"]) == min(2, len(block["tokens"]) - 1)
    line = "|".join(
        f"[{word}]" if anchor else word
        for word, anchor in zip(block["tokens"], block["anchors"], strict=True)
    )
    assert line.replace("\n", "⏎") in text
    with open(tmp_path / "anchors_corpus.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["token"]) for row in rows] == [entry["token"] for entry in other["types"]]
    assert float(rows[0]["entropy"]) == other["types"][0]["entropy"]


@pytest.mark.medium  # trains and compiles a run of its own
def test_anchors_of_the_corpus_without_a_warm_up_are_listed_beside_those_of_one_batch(
    base: Config, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    train = replace(base.train, steps=1, warmup_steps=0, eval_every=1)
    config = replace(
        base, train=train, anchors=replace(base.anchors, estimator="corpus"), penalty=PenaltyConfig()
    )
    workdir = runs.train(config, tmp_path / "run", quiet=True).workdir
    assert main(["anchors", f"--checkpoint={workdir}", "--top=2", "--examples=1", "--batches=1"]) == 0
    assert "anchors by corpus (the checkpoint's own table)" in capsys.readouterr().out
    listings = json.loads((workdir / "anchors.json").read_text())["listings"]
    assert [(one["estimator"], one["used"]) for one in listings] == [("corpus", True), ("attention", False)]
