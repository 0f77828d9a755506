"""Influence: the resampled texts by hand, the divergence against `apply`, exactly 0 under hard blocks, and
what is refused.
"""

from dataclasses import replace
from types import SimpleNamespace

import flax.struct
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.config import MarginConfig
from aila_jax.config.options import InfluenceOptions
from aila_jax.data.packing import TokenStream, Windows
from aila_jax.data.pipeline import take
from aila_jax.evaluation import influence as module
from aila_jax.evaluation.influence import moved
from aila_jax.evaluation.resampling import choose_queries, resampled_sides, resampled_texts
from aila_jax.partition.rules import Blocks
from aila_jax.types import GLOBAL_ID, PADDING_ID

SMALL = {"positions": 20, "draws": 2}


@flax.struct.dataclass
class Parity:
    """Blocks that depend on the tokens: another token may be in another block."""

    def __call__(self, batch):
        return jnp.where(batch.doc_ids == PADDING_ID, PADDING_ID, batch.tokens % 2)


def influence(model, dataset, **settings):
    """The cells, measured without a progress bar."""
    return module.influence(model, dataset, InfluenceOptions(**settings), quiet=True)


@pytest.fixture(scope="module")
def cells(trained):
    return influence(trained.model, trained.dataset, **SMALL)


def in_parity(model):
    network = model.network
    model = replace(model)
    model.__dict__["network"] = network.replace(partition=Parity())
    return model


def softmax(logits):
    p = np.exp(np.asarray(logits, np.float64))
    return p / p.sum(-1, keepdims=True)


def test_both_sides_of_a_query_by_hand():
    ids = np.array([[0, 1, GLOBAL_ID, 0, 1, 0], [0, 0, 1, 1, PADDING_ID, PADDING_ID]], np.int32)
    docs = np.array([[0, 0, 0, 0, 0, 0], [0, 0, 0, 1, PADDING_ID, PADDING_ID]], np.int32)
    at = np.array([3, 3])
    outside, inside = resampled_sides(Blocks.same(ids), None, at, causal=True)
    assert outside.astype(int).tolist() == [[0, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]]
    assert inside.astype(int).tolist() == [[1, 0, 1, 0, 0, 0], [0, 0, 1, 0, 0, 0]]
    outside, inside = resampled_sides(Blocks.same(ids), docs, at, causal=False)
    assert outside.astype(int).tolist() == [[0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]]
    assert inside.astype(int).tolist() == [[1, 0, 1, 0, 0, 1], [0, 0, 0, 0, 0, 0]]


def test_queries_are_distinct_have_keys_outside_and_come_from_everywhere(trained):
    windows = trained.dataset.windows("validation", 16, False)
    total = int(
        (windows.batch.doc_ids[:, 5:] >= 0).sum()
    )  # with windows of 5, all but a text's first 5 positions
    found = choose_queries(trained.model, windows, total, seed=0)
    assert np.unique(found.at).tolist() == list(range(5, 16))
    places = {
        (row.tobytes(), at)
        for row, at in zip(found.windows.given_ids * 1000 + found.windows.tokens, found.at, strict=True)
    }
    assert len(places) == total
    other = choose_queries(trained.model, windows, 20, seed=1)
    assert other.at.tolist() != found.at[:20].tolist()
    assert choose_queries(trained.model, windows, 20, seed=0).at.tolist() == found.at[:20].tolist()
    with pytest.raises(ValueError, match=rf"positions is {total + 1}; it must be at most .* \({total}\)"):
        choose_queries(trained.model, windows, total + 1, seed=0)


def test_the_default_number_of_queries_is_what_a_small_split_has(trained, capsys):
    windows = trained.dataset.windows("validation", 16, False)
    few = Windows(take(windows.batch, np.arange(3)), 48, windows.document_mask)
    total = int((few.batch.doc_ids[:, 5:] >= 0).sum())
    assert 2 < total < InfluenceOptions().positions
    assert len(choose_queries(trained.model, few, 256, seed=0, or_fewer=True).at) == total
    small = replace(
        trained.dataset,
        splits={**trained.dataset.splits, "validation": cut(trained.dataset.splits["validation"], 49)},
    )
    module.influence(trained.model, small, InfluenceOptions(lams=(1.0,), draws=2))
    with pytest.raises(ValueError, match=rf"positions is 255; it must be at most .* \({total}\)"):
        module.influence(trained.model, small, InfluenceOptions(lams=(1.0,), draws=2, positions=255))
    assert f"positions {total}: all with a key outside their block" in capsys.readouterr().out


def cut(stream: TokenStream, count: int) -> TokenStream:
    """The first tokens of a stream."""
    return TokenStream(stream.tokens[:count], stream.doc_ids[:count], stream.given_ids[:count], count, count)


def test_resampled_texts_differ_on_their_side_only_and_follow_the_corpus(trained):
    queries = choose_queries(trained.model, trained.dataset.windows("validation", 16, False), 200, seed=0)
    corpus = np.array([1000, 1000, 1000, 1001], np.int32)
    texts = resampled_texts(queries, corpus, 3, seed=0)
    start = queries.at // 5 * 5
    index = np.arange(16)[None]
    outside = index < start[:, None]
    inside = (index >= start[:, None]) & (index < queries.at[:, None])
    np.testing.assert_array_equal(texts[:, 0] >= 1000, np.broadcast_to(outside, texts[:, 0].shape))
    np.testing.assert_array_equal(texts[:, 1] >= 1000, np.broadcast_to(inside, texts[:, 1].shape))
    assert ((texts[:, 0] == queries.windows.tokens) | outside).all()
    assert 0.72 < (texts[:, 0][:, outside] == 1000).mean() < 0.78
    assert (texts[0] != texts[1]).any()


def test_a_cell_is_what_numpy_makes_of_apply(trained, cells):
    model, dataset = trained.model, trained.dataset
    queries = choose_queries(model, dataset.windows("validation", 16, False), 20, seed=0)
    texts = resampled_texts(queries, dataset.splits["train"].tokens, 2, seed=0)
    row = np.arange(20)

    def predicted(tokens):
        return softmax(model.apply(tokens, lam=0.5, doc_ids=queries.windows.doc_ids).logits)[row, queries.at]

    before = predicted(queries.windows.tokens)
    kl = np.array(
        [
            [(before * np.log(before / predicted(texts[d, side]))).sum(-1) for d in range(2)]
            for side in range(2)
        ]
    )
    cell = cells[1]
    assert (cell.lam, cell.tau, cell.hard, cell.draws, cell.outside.positions) == (0.5, 1.0, False, 2, 20)
    assert cell.outside.kl == pytest.approx(kl[0].mean(), rel=1e-3)
    assert cell.outside.spread == pytest.approx(kl[0].mean(-1).std(ddof=1), rel=1e-2)
    assert cell.outside.error == pytest.approx(kl[0].mean(0).std(ddof=1) / np.sqrt(20), rel=1e-3)
    accompanied = queries.at % 5 > 0
    assert cell.inside.positions == cell.outside_paired.positions == accompanied.sum() < 20
    assert cell.inside.kl == pytest.approx(kl[1][:, accompanied].mean(), rel=1e-3)
    assert cell.outside_paired.kl == pytest.approx(kl[0][:, accompanied].mean(), rel=1e-3)
    assert cell.outside.tokens == (queries.at // 5 * 5).mean()
    assert cell.inside.tokens == (queries.at % 5)[accompanied].mean()
    stats = model.apply(queries.windows.tokens, lam=0.5, doc_ids=queries.windows.doc_ids).stats
    np.testing.assert_allclose(
        cell.block_mass, np.asarray(stats.block_mass)[:, row, :, queries.at].mean(0), rtol=1e-4
    )
    np.testing.assert_allclose(cell.out_mass, 1.0 - cell.block_mass, atol=1e-6)


def test_what_is_outside_is_added_up_by_itself(trained):
    """Under 40 nats 1 − block mass is 0, or the rounding of a sum near 1; that would bound nothing."""
    config = trained.model.config
    model = replace(
        trained.model, config=replace(config, model=replace(config.model, margin=MarginConfig(nats=40.0)))
    )
    (cell,) = influence(model, trained.dataset, lams=(1.0,), **SMALL)
    queries = choose_queries(model, trained.dataset.windows("validation", 16, False), 20, seed=0)
    weights = model.apply(
        queries.windows.tokens, lam=1.0, doc_ids=queries.windows.doc_ids, weights=True
    ).weights
    weights_PxNxHxL = np.asarray(weights, np.float64)[:, np.arange(20), :, queries.at]
    outside = (np.arange(16) // 5)[None, :] != (queries.at // 5)[:, None]
    want = np.einsum("pnhl,pl->pnh", weights_PxNxHxL, outside).mean(axis=0)
    assert (want > 0.0).all() and (want < 1e-12).all()
    np.testing.assert_allclose(cell.out_mass, want, rtol=1e-3)
    (hard,) = influence(model, trained.dataset, lams=(1.0,), hard=True, **SMALL)
    assert (hard.out_mass == 0.0).all()


def test_there_is_influence_without_a_margin_and_less_with_one(cells):
    assert [cell.lam for cell in cells] == [0.0, 0.5, 1.0]
    assert cells[0].outside.kl > 1e-3
    assert cells[0].outside.kl > cells[2].outside.kl > 0.0


@pytest.mark.parametrize("blocks", ["windows", "parity"])
def test_under_hard_blocks_it_is_zero_to_the_last_bit(trained, blocks):
    """In windows and in blocks that the new tokens would change, were the ids not those of the text as it
    is.
    """
    model = trained.model if blocks == "windows" else in_parity(trained.model)
    (cell,) = influence(model, trained.dataset, lams=(1.0,), hard=True, **SMALL)
    assert (cell.outside.kl, cell.outside.error, cell.outside.spread) == (0.0, 0.0, 0.0)
    assert cell.inside.kl > 1e-3
    assert cell.block_mass == pytest.approx(1.0)


def test_one_compilation_serves_every_lam_and_tau(trained, cells):
    before = module.prediction_at._cache_size()
    influence(trained.model, trained.dataset, lams=(0.2, np.float32(0.7), 1), tau=0.5, **SMALL)
    assert module.prediction_at._cache_size() == before


def test_the_batch_size_changes_nothing(trained, cells):
    (cell,) = influence(trained.model, trained.dataset, lams=(0.5,), batch_size=7, **SMALL)
    assert cell.outside.kl == pytest.approx(cells[1].outside.kl, rel=1e-4)
    assert cell.inside.kl == pytest.approx(cells[1].inside.kl, rel=1e-4)


def test_a_summary_by_hand():
    found = moved(np.array([[1.0, 3.0], [2.0, 6.0]]), np.array([4, 5]))
    assert (found.positions, found.tokens, found.kl) == (2, 4.5, 3.0)
    assert found.error == pytest.approx(1.5)  # means 1.5 and 4.5 of two queries: deviation 3/√2, ÷ √2
    assert found.spread == pytest.approx(2.0 / np.sqrt(2))  # means 2 and 4 of two draws


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"positions": 1}, "positions is 1; it must be a whole number, at least 2"),
        ({"draws": 1}, "draws is 1; it must be a whole number, at least 2"),
        ({"positions": 16.5}, "positions is 16.5; it must be a whole number"),
        ({"seed": -1}, "seed is -1"),
        ({"lams": ()}, "lams is"),
        ({"lams": (1.5,)}, r"lams is 1.5; it must be a number in \[0, 1\]"),
        ({"tau": 0.0}, "tau is 0.0"),
        ({"hard": True, "lams": (0.5, 1)}, "hard block attention; it must be 1"),
        ({"split": "dev"}, "split is 'dev'"),
        ({"positions": 10**6}, "positions is 1000000; it must be at most the number of queries"),
    ],
)
def test_what_is_refused(trained, settings, message):
    with pytest.raises(ValueError, match=message):
        influence(trained.model, trained.dataset, **settings)


def test_parameters_that_are_not_finite_are_refused(trained):
    broken = {**trained.model.params, "embedding": np.nan * trained.model.params["embedding"]}
    with pytest.raises(
        ValueError,
        match=r"parameters is 'not finite'; it must be finite numbers\. Fix: load a checkpoint from before",
    ):
        influence(replace(trained.model, params=broken), trained.dataset)


def test_blocks_that_hold_every_key_have_no_influence_to_measure(trained):
    with pytest.raises(
        ValueError,
        match=r"outside their block \(0\). Fix: lower it, or use a partition whose blocks leave keys outside",
    ):
        influence(trained.model.with_window(16), trained.dataset)


def test_text_of_another_tokenizer_is_refused(trained):
    other = replace(trained.dataset, tokenizer=SimpleNamespace(fingerprint="other"))
    with pytest.raises(ValueError, match=r"dataset\.tokenizer is 'other'; it must be the model's"):
        influence(trained.model, other)
