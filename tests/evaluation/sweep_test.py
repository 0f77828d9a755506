"""Tests of the grid: one compilation, rows against NumPy computations from `apply`, and what is refused."""

import re
from dataclasses import replace

import numpy as np
import pytest

from aila_jax.config import MarginConfig
from aila_jax.data.dataset import load_dataset
from aila_jax.data.pipeline import chosen_windows, eval_batches
from aila_jax.evaluation.certify import certify
from aila_jax.evaluation.evaluator import eval_step, evaluate
from aila_jax.evaluation.sweep import sweep
from aila_jax.evaluation.sweep_rows import GuaranteeColumns, guaranteed_at
from aila_jax.guarantees.certificates import Certificate
from aila_jax.guarantees.gaps import Gap
from aila_jax.guarantees.key_counts import KeyCounts
from aila_jax.metrics.sums import summarize
from aila_jax.model.interface import Dial
from aila_jax.training.sharding import batch_sharding

GRID = {"lams": (0.0, 0.5, 1.0), "taus": (0.5, 1.0)}


@pytest.fixture(scope="module")
def result(trained):
    return sweep(trained.model, trained.dataset, quiet=True)


def stacked(trained, lam, tau, split="validation"):
    """Every window of a split by `apply`, 7 rows at a time: probabilities of targets, hits, and statistics of
    real queries, float64.
    """
    windows = trained.dataset.windows(split, 16, False).batch
    losses, hits, entropy, mass, keys, inside = [], [], [], [], [], []
    for start in range(0, len(windows.tokens), 7):
        rows = slice(start, min(start + 7, len(windows.tokens)))
        doc_ids = windows.doc_ids[rows]
        output = trained.model.apply(windows.tokens[rows], lam=lam, tau=tau, doc_ids=doc_ids)
        logits = np.asarray(output.logits, np.float64)
        top = logits.max(-1, keepdims=True)
        log_p = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
        scored, real = windows.weights[rows] > 0, doc_ids >= 0
        losses.append(-np.take_along_axis(log_p, windows.targets[rows][..., None], -1)[..., 0][scored])
        hits.append((logits.argmax(-1) == windows.targets[rows])[scored])
        at = np.broadcast_to(real[None, :, None, :], output.stats.entropy_bits.shape)
        layers, heads = at.shape[0], at.shape[2]
        for values, kept in ((output.stats.entropy_bits, entropy), (output.stats.block_mass, mass)):
            kept.append(
                np.asarray(values, np.float64).transpose(0, 2, 1, 3)[:, :, real].reshape(layers, heads, -1)
            )
        position = np.broadcast_to(np.arange(16), real.shape)[real]
        keys.append(position + 1)
        inside.append(position % 5 + 1)
    return (np.concatenate(part, axis=-1) for part in (losses, hits, entropy, mass, keys, inside))


@pytest.mark.parametrize(("index", "lam", "tau"), [(0, 0.0, 0.5), (3, 0.5, 1.0), (5, 1.0, 1.0)])
def test_a_cell_is_what_numpy_makes_of_the_logits(trained, result, index, lam, tau):
    losses, hits, entropy, mass, keys, inside = stacked(trained, lam, tau)
    cell, stream = result.cells[index], trained.dataset.splits["validation"]
    assert (cell.lam, cell.tau, cell.split, cell.hard) == (lam, tau, "validation", False)
    assert cell.targets == len(losses) == len(stream.tokens) - 1
    assert cell.loss == pytest.approx(losses.mean(), rel=1e-5)
    assert cell.perplexity_token == pytest.approx(np.exp(losses.mean()), rel=1e-4)
    assert cell.perplexity_word == pytest.approx(np.exp(losses.sum() / stream.words), rel=1e-4)
    assert cell.perplexity_byte == pytest.approx(np.exp(losses.sum() / stream.bytes), rel=1e-4)
    assert cell.accuracy == pytest.approx(hits.mean())
    multi_key = keys >= 2
    assert cell.entropy_bits == pytest.approx(entropy.mean(), rel=1e-4)
    assert cell.entropy_fraction == pytest.approx(
        (entropy[..., multi_key] / np.log2(keys[multi_key])).mean(), rel=1e-4
    )
    assert cell.block_mass == cell.block_mass_local == pytest.approx(mass.mean(), rel=1e-4)
    assert cell.block_mass_uniform == pytest.approx((inside / keys).mean(), rel=1e-5)
    assert cell.block_mass_lift == pytest.approx(mass.mean() / (inside / keys).mean(), rel=1e-4)
    assert cell.delta_imposed == pytest.approx(8.0 * lam)
    assert cell.delta_measured is None
    heads = [row for row in result.heads if (row.lam, row.tau) == (lam, tau)]
    assert [(row.layer, row.head) for row in heads] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    np.testing.assert_allclose([row.entropy_bits for row in heads], entropy.mean(-1).ravel(), rtol=1e-4)
    np.testing.assert_allclose([row.block_mass for row in heads], mass.mean(-1).ravel(), rtol=1e-4)


def test_lam_varies_slowest_and_every_row_says_where_it_is_from(trained, result):
    assert [(cell.lam, cell.tau) for cell in result.cells] == [
        (lam, tau) for lam in GRID["lams"] for tau in GRID["taus"]
    ]
    assert [(row.lam, row.tau) for row in result.heads] == [
        (cell.lam, cell.tau) for cell in result.cells for _ in range(4)
    ]
    for row in result.cells + result.heads:
        assert (row.run, row.seed, row.split, row.commit) == (
            "run",
            0,
            "validation",
            trained.model.meta["commit"],
        )
    assert result.meta.checkpoint_step == 24
    assert (
        result.meta.data.fingerprint
        == result.meta.training["data"]["fingerprint"]
        == trained.dataset.fingerprint
    )
    assert result.config.train.steps == 24


def test_one_compilation_serves_a_whole_grid(trained, result):
    before = eval_step._cache_size()
    other = sweep(
        trained.model, trained.dataset, lams=np.linspace(0, 1, 5), taus=(np.float32(0.3), 1, 3.0), quiet=True
    )
    assert len(other.cells) == 15
    assert eval_step._cache_size() == before
    eval_step.clear_cache()
    sweep(trained.model, trained.dataset, quiet=True)
    assert eval_step._cache_size() == 1


def test_one_cell_alone_is_the_cell_of_the_grid(trained, result):
    alone = sweep(trained.model, trained.dataset, lams=[0.5], taus=[1], quiet=True)
    assert alone.cells == result.cells[3:4]
    model = trained.model
    sums = evaluate(
        model.network,
        model.params,
        eval_batches(trained.dataset.windows("validation", 16, False), 8),
        Dial(np.full(8, 0.5), np.ones(8)),
        batch_sharding(8),
    )
    assert summarize(sums).loss == result.cells[3].loss


def test_lam_and_tau_may_differ_between_the_rows_of_a_batch(trained):
    model, windows = trained.model, trained.dataset.windows("validation", 16, False)
    lam = np.array([0.0] * 4 + [1.0] * 4)

    def losses(lam):
        return float(
            evaluate(
                model.network,
                model.params,
                first,
                Dial(lam, np.ones(8)),
                batch_sharding(8),
            ).loss
        )

    first = list(eval_batches(windows, 8, 1))
    assert losses(np.zeros(8)) != losses(np.ones(8))
    assert (
        min(losses(np.zeros(8)), losses(np.ones(8))) - 5
        < losses(lam)
        < max(losses(np.zeros(8)), losses(np.ones(8))) + 5
    )
    top = first[0].replace(
        weights=np.where(np.arange(8)[:, None] < 4, first[0].weights, 0).astype(np.float32)
    )
    parts = [
        float(
            evaluate(
                model.network,
                model.params,
                [batch],
                Dial(each, np.ones(8)),
                batch_sharding(8),
            ).loss
        )
        for batch, each in (
            (top, np.zeros(8)),
            (first[0].replace(weights=first[0].weights - top.weights), np.ones(8)),
        )
    ]
    assert losses(lam) == pytest.approx(sum(parts), rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_the_batch_size_changes_nothing(trained, result, batch_size):
    other = sweep(
        trained.model, trained.dataset, lams=[0.5], taus=[1], batch_size=batch_size, quiet=True
    ).cells[0]
    assert other.targets == result.cells[3].targets
    for name in (
        "loss",
        "perplexity_word",
        "accuracy",
        "entropy_bits",
        "entropy_fraction",
        "block_mass",
        "block_mass_uniform",
    ):
        assert getattr(other, name) == pytest.approx(getattr(result.cells[3], name), rel=1e-5), name


@pytest.mark.parametrize("chunk", [50, 128])
def test_scoring_chunk_by_chunk_changes_nothing(trained, result, chunk):
    config = replace(trained.config, train=replace(trained.config.train, loss_chunk=chunk))
    other = sweep(
        replace(trained.model, config=config), trained.dataset, lams=[0.5], taus=[1], quiet=True
    ).cells[0]
    assert (other.targets, other.accuracy) == (result.cells[3].targets, result.cells[3].accuracy)
    assert other.loss == pytest.approx(result.cells[3].loss, rel=1e-5)
    assert other.entropy_bits == pytest.approx(result.cells[3].entropy_bits, rel=1e-5)


def test_a_part_of_a_split_has_no_perplexity_per_word(trained, result):
    part = sweep(trained.model, trained.dataset, lams=[0.5], taus=[1], max_batches=1, quiet=True).cells[0]
    windows = trained.dataset.windows("validation", 16, False)
    read = chosen_windows(len(windows), 8, 1)
    assert part.targets == int(np.sum(windows.batch.weights[read] > 0)) <= 8 * 16
    assert part.perplexity_word is None
    assert part.perplexity_byte is None
    whole = sweep(trained.model, trained.dataset, lams=[0.5], taus=[1], max_batches=1000, quiet=True).cells[0]
    assert whole == result.cells[3]


def test_measured_gaps_come_on_request(trained):
    cell = sweep(trained.model, trained.dataset, lams=[0.0, 1.0], taus=[1.0], delta=True, quiet=True).cells
    assert None not in (cell[0].delta_measured, cell[0].delta_share)
    # δ grows by the margin of 8 nats as far as the scores stay what they are; they differ through FiLM and
    # the layer before.
    assert cell[1].delta_measured > cell[0].delta_measured + 4
    assert cell[0].delta_share <= cell[1].delta_share <= 1


def test_rows_have_the_guarantee_beside_the_measurement(trained):
    """A self-scaling margin guarantees from the dial's full position on; the last window is shorter, so
    positions weigh as they occur.
    """
    config = trained.model.config
    model = replace(
        trained.model,
        config=replace(config, model=replace(config.model, margin=MarginConfig(form="self_scaling", m0=6.0))),
    )
    result = sweep(model, trained.dataset, lams=(0.0, 1.0), taus=(1.0,), quiet=True)
    nothing, cell = result.cells
    assert nothing.guaranteed_block_mass is nothing.guaranteed_entropy_bits is None
    found = certify(model, 1.0)
    lengths = (trained.dataset.windows("validation", 16, False).batch.doc_ids >= 0).sum(axis=1)
    weights = (lengths[:, None] > np.arange(16)).sum(axis=0)
    assert cell.guaranteed_block_mass == pytest.approx(
        np.average(found.block_mass, axis=-1, weights=weights).mean(), rel=1e-9
    )
    assert cell.guaranteed_entropy_bits == pytest.approx(
        np.average(found.entropy_bits, axis=-1, weights=weights).mean(), rel=1e-9
    )
    assert 0.8 < cell.guaranteed_block_mass < cell.block_mass
    assert cell.entropy_bits < cell.guaranteed_entropy_bits
    for head in result.heads:
        if head.lam == 1.0:
            assert 0.8 < head.guaranteed_block_mass < head.block_mass
        else:
            assert head.guaranteed_block_mass is None


def test_a_head_of_which_nothing_is_guaranteed_has_empty_columns():
    counts = KeyCounts(np.array([[1]]), np.array([[3]]), np.array([1]))
    gap = Gap(1.0, "parameters", np.ones((1, 2)), 8.0, np.array([[2.0, 5.0]]), np.array([[4.0, -2.0]]))
    found = Certificate(gap, 1.0, counts)
    assert (
        guaranteed_at(found, (0, 1))
        == guaranteed_at(None)
        == GuaranteeColumns(guaranteed_block_mass=None, guaranteed_entropy_bits=None)
    )
    assert guaranteed_at(found, (0, 0)).guaranteed_block_mass == pytest.approx(1 / (1 + 3 * np.exp(-4.0)))
    both = [1 / (1 + 3 * np.exp(-4.0)), 1 / (1 + 3 * np.exp(2.0))]
    assert guaranteed_at(found).guaranteed_block_mass == pytest.approx(np.mean(both))


def test_where_there_is_no_terminal_each_cell_is_a_line(trained, capsys):
    sweep(trained.model, trained.dataset, taus=[1.0])
    lines = capsys.readouterr().err.splitlines()
    targets = len(trained.dataset.splits["validation"].tokens) - 1
    assert [line.split(":")[0] for line in lines] == [
        f"token {count * targets:,} of {3 * targets:,}" for count in (1, 2, 3)
    ]
    assert all(
        re.search(r"λ \S+, τ 1, loss \d\.\d{3}, [\d,]+ tokens/s, (ETA|done in) \d+ s$", line)
        for line in lines
    )


def test_hard_blocks_have_all_mass_inside(trained):
    cell = sweep(trained.model, trained.dataset, lams=[1.0], taus=[1.0], hard=True, quiet=True).cells[0]
    assert cell.hard
    assert cell.block_mass == pytest.approx(1.0)
    assert cell.delta_imposed is None


def test_other_splits_are_scored_whole(trained):
    for split in ("train", "test"):
        cell = sweep(trained.model, trained.dataset, lams=[0], taus=[1], split=split, quiet=True).cells[0]
        assert (cell.split, cell.targets) == (split, len(trained.dataset.splits[split].tokens) - 1)


@pytest.mark.parametrize(("arguments", "words"), [
    ({"lams": [1.1]}, "lams is 1.1; it must be a number in [0, 1]"),
    ({"lams": [np.nan]}, "lams is nan; it must be a number in [0, 1]"),
    ({"taus": [0.0]}, "taus is 0.0; it must be a number from 1e-06 to 1e"),
    ({"lams": []}, "lams is []; it must be at least one λ"),
    ({"taus": []}, "taus is []; it must be at least one τ"),
    ({"lams": 0.5}, "lams is 0.5; it must be at least one λ, in a sequence. Fix: lams=(1,), say"),
    ({"taus": ["warm"]}, "taus is ['warm']; it must be at least one τ"),
    ({"split": "valid"}, "split is 'valid'; it must be one of train, validation, test"),
    ({"lams": [0.5, 1.0], "hard": True}, "lam is [0.5, 1.0] with hard block attention; it must be 1"),
    ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
    ({"max_batches": -1}, "max_batches is -1; it must be at least 0"),
])  # fmt: skip
def test_what_is_outside_its_limits_is_refused(trained, arguments, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        sweep(trained.model, trained.dataset, quiet=True, **arguments)


def test_another_tokenizer_than_the_models_is_refused(trained):
    other = load_dataset(replace(trained.config.data, vocab_size=280))
    with pytest.raises(
        ValueError,
        match=(
            r"dataset\.tokenizer is .*; it must be the model's .*\. Fix: load_dataset\(config\.data,"
            r" tokenizer="
        ),
    ):
        sweep(trained.model, other, quiet=True)


def test_hard_attention_is_swept_at_one_alone_unless_told_otherwise(trained):
    assert {
        cell.lam
        for cell in sweep(
            trained.model, trained.dataset, taus=[1], hard=True, max_batches=1, quiet=True
        ).cells
    } == {1.0}


def test_perplexity_per_word_is_left_out_where_words_are_too_long_for_it(trained):
    """A text that is one word, as a line without spaces is."""
    stream = trained.dataset.splits["validation"]
    dataset = replace(
        trained.dataset, splits={**trained.dataset.splits, "validation": replace(stream, words=1)}
    )
    (cell,) = sweep(trained.model, dataset, lams=(0.0,), taus=(1.0,), quiet=True).cells
    assert cell.loss * cell.targets > 710
    assert cell.perplexity_word is None
    assert cell.perplexity_byte > 1.0


def test_perplexity_per_word_is_left_out_under_a_document_mask(trained):
    """There the first token of each document is not scored, but its word is in the text."""
    config = replace(trained.config, model=replace(trained.config.model, document_mask=True))
    (cell,) = sweep(
        replace(trained.model, config=config), trained.dataset, lams=(0.0,), taus=(1.0,), quiet=True
    ).cells
    assert (cell.perplexity_word, cell.perplexity_byte) == (None, None)
    assert cell.perplexity_token == pytest.approx(np.exp(cell.loss))
