"""Tests of a loaded model's `apply`: one compilation for the whole dial, what it equals, and what it
refuses.
"""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.config import PartitionConfig
from aila_jax.inference import language_model
from aila_jax.model.interface import Dial, Request
from aila_jax.model.stats import StatsRequest
from aila_jax.types import Batch

TOKENS = np.random.default_rng(0).integers(0, 290, (3, 16)).astype(np.int32)


def remade(model, **changes):
    """The model under another configuration, `partition=` or model settings."""
    partition = changes.pop("partition", model.config.partition)
    return replace(
        model, config=replace(model.config, partition=partition, model=replace(model.config.model, **changes))
    )


def test_apply_is_the_forward_pass_of_the_whole_rows(trained):
    model = trained.model
    found = model.apply(TOKENS, lam=0.7, tau=0.5, delta=True)
    batch = Batch.from_tokens(TOKENS)
    request = Request(stats=StatsRequest(delta=True))
    expected = jax.jit(lambda dial: model.network(model.params, batch, dial, request))(
        Dial(jnp.float32(0.7), jnp.float32(0.5))
    )
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert found.logits.shape == (3, 16, model.tokenizer.vocab_size)
    assert found.stats.entropy_bits.shape == (2, 3, 2, 16)


def test_one_compilation_serves_every_form_and_value_of_the_dial(trained):
    apply = trained.model.apply
    first = apply(TOKENS, lam=0.5, tau=2.0)
    before = language_model._apply._cache_size()
    forms = [
        (0.5, 2.0),
        (np.float32(0.5), 2),
        (np.float64(0.5), jnp.float32(2)),
        (jnp.asarray(0.5), np.int64(2)),
        (np.full(3, 0.5), [2.0] * 3),
    ]
    for lam, tau in forms:
        np.testing.assert_array_equal(apply(TOKENS, lam=lam, tau=tau).logits, first.logits)
    for lam, tau in ((0, 1), (1, 1), (0.3, 0.5), (jnp.array([0.0, 0.5, 1.0]), 1.0)):
        apply(jnp.asarray(TOKENS), lam=lam, tau=tau)
    assert language_model._apply._cache_size() == before


def test_one_value_per_example_is_each_example_alone(trained):
    lams, taus = (0.0, 0.4, 1.0), (0.5, 1.0, 2.0)
    together = trained.model.apply(TOKENS, lam=lams, tau=taus)
    for row in range(3):
        alone = trained.model.apply(TOKENS, lam=lams[row], tau=taus[row])
        np.testing.assert_allclose(together.logits[row], alone.logits[row], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(
            together.stats.block_mass[:, row], alone.stats.block_mass[:, row], rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize(("dial", "words"), [
    ({"lam": -0.1}, "lam is -0.1; it must be in [0, 1]"),
    ({"lam": 1.5}, "lam is 1.5; it must be in [0, 1]"),
    ({"lam": np.nan}, "lam is nan; it must be in [0, 1]"),
    ({"tau": 0.0}, "tau is 0.0; it must be from 1e-06 to 1e"),
    ({"tau": np.inf}, "tau is inf; it must be from 1e-06 to 1e"),
    ({"lam": [0.1, 0.2]}, "lam has shape (2,); it must be one number, or one per example, (3,)"),
    ({"hard": True, "lam": 0.5}, "lam is [0.5] with hard block attention; it must be 1"),
    ({"layer_scale": [1.0]}, "layer_scale is [1.0]; it must be 2 numbers in [0, 1], one a layer"),
    ({"layer_scale": [1.0, 1.5]}, "layer_scale is [1.0, 1.5]; it must be 2 numbers in [0, 1]"),
    ({"layer_scale": [1.0, np.nan]}, "it must be 2 numbers in [0, 1]"),
    ({"block_ids": np.zeros((3, 16), np.int32)}, "block_ids is given, but this model's partition is 'windows'"),
    ({"doc_ids": np.zeros((3, 15), np.int32)}, "doc_ids has shape (3, 15); it must be that of tokens, (3, 16)"),
    ({"doc_ids": np.full((3, 16), 0.5)}, "it must be whole numbers, [batch, length], rows of one length. Fix: number the documents"),
    ({"doc_ids": np.tile(np.int32([0] * 5 + [-1] * 4 + [0] * 7), (3, 1))}, "padding (-1) before a token; padding must be at the end of a row"),
    ({"doc_ids": np.tile(np.int32([-1] + [0] * 15), (3, 1))}, "padding (-1) before a token"),
])  # fmt: skip
def test_what_is_outside_its_limits_is_refused(trained, unchecked_shapes, dial, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        trained.model.apply(TOKENS, **dial)


@pytest.mark.parametrize("tau", [1e-6, 1e6])
@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_attention_is_finite_at_both_ends_of_tau(trained, lam, tau):
    found = trained.model.apply(TOKENS, lam=lam, tau=tau)
    for values in (found.logits, found.stats.entropy_bits, found.stats.block_mass):
        assert np.isfinite(values).all()


@pytest.mark.parametrize(("tokens", "words"), [
    (np.zeros((1, 17), np.int32), "tokens has length 17; the model reads at most 16. Fix: split"),
    (np.full((1, 4), 300, np.int32), "tokens holds the id 300; ids run from 0 to 299"),
    (np.full((1, 4), -1, np.int32), "tokens holds the id -1; ids run from 0 to 299"),
    (np.full((1, 4), 2**32 + 5, np.int64), "tokens holds the id 4294967301; ids run from 0 to 299"),
    (np.zeros(16, np.int32), "tokens has shape (16,); it must be [batch, length]. Fix: pass [tokens] for one text"),
    ("Return a", "tokens is 'Return a'; it must be whole numbers, [batch, length], rows of one length. Fix: encode with model.tokenizer"),
    (["Return a"], "tokens is ['Return a']; it must be whole numbers"),
    ([[1, 2], [3]], "tokens is [[1, 2], [3]]; it must be whole numbers"),
    ([[1.0, 2.0]], "tokens is [[1.0, 2.0]]; it must be whole numbers"),
])  # fmt: skip
def test_tokens_that_the_model_cannot_read_are_refused(trained, unchecked_shapes, tokens, words):
    assert trained.model.tokenizer.vocab_size == 300
    with pytest.raises(ValueError, match=re.escape(words)):
        trained.model.apply(tokens)


def test_layer_scale_multiplies_lam_in_each_layer(trained):
    model = trained.model
    full = model.apply(TOKENS, lam=0.6, layer_scale=np.array([0.0, 1.0]))
    np.testing.assert_allclose(
        full.stats.block_mass[0],
        model.apply(TOKENS, lam=0.6, layer_scale=np.zeros(2)).stats.block_mass[0],
        rtol=1e-6,
    )
    assert np.all(
        np.mean(full.stats.block_mass[1], axis=(0, 2)) > np.mean(full.stats.block_mass[0], axis=(0, 2))
    )
    before = language_model._apply._cache_size()
    model.apply(TOKENS, lam=0.6, layer_scale=jnp.array([0.3, 0.7]))
    assert language_model._apply._cache_size() == before


def test_hard_blocks_put_all_mass_inside(trained):
    found = trained.model.apply(TOKENS, lam=1, hard=True)
    np.testing.assert_allclose(found.stats.block_mass, 1.0, rtol=1e-6)
    np.testing.assert_array_equal(found.stats.n_keys, np.broadcast_to(np.arange(16) % 5 + 1, (2, 3, 16)))


def test_a_model_of_given_blocks_needs_them_and_uses_them(trained):
    model = remade(trained.model, partition=PartitionConfig(kind="given"))
    with pytest.raises(
        ValueError, match=r"block_ids is None; this model's partition is `given`. Fix: pass block_ids"
    ):
        model.apply(TOKENS)
    windows = np.tile(np.arange(16, dtype=np.int32) // 5, (3, 1))
    np.testing.assert_allclose(
        model.apply(TOKENS, lam=0.8, block_ids=windows).logits,
        trained.model.apply(TOKENS, lam=0.8).logits,
        rtol=1e-5,
        atol=1e-5,
    )
    one_block = model.apply(TOKENS, lam=1.0, block_ids=np.zeros((3, 16), np.int32))
    np.testing.assert_allclose(one_block.stats.block_mass, 1.0, rtol=1e-6)
    # Ids beyond int32 would wrap: into another block, into padding, or into every block.
    for wrong, seen in ((2**32 + 1, 4294967297), (2**32 - 1, 4294967295), (2**31, 2147483648), (-3, -3)):
        with pytest.raises(
            ValueError,
            match=(
                rf"block_ids holds the id {seen}; ids run from -2 to 2147483647\. Fix: number the blocks"
                r" from 0"
            ),
        ):
            model.apply(TOKENS, block_ids=np.where(windows == 1, wrong, windows.astype(np.int64)))
    # −1 marks padding: what stands there changes nothing before it, and it attends to itself only.
    padded = windows.copy()
    padded[:, 12:] = -1
    found = model.apply(TOKENS, lam=0.8, block_ids=padded)
    np.testing.assert_allclose(
        found.logits[:, :12], trained.model.apply(TOKENS, lam=0.8).logits[:, :12], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(found.stats.n_keys[:, :, 12:], 1)


def test_documents_are_kept_apart_where_the_model_was_trained_so(trained):
    doc_ids = np.repeat(np.array([[0, 1]], np.int32), 8, axis=1).repeat(3, axis=0)
    masked = remade(trained.model, document_mask=True).apply(TOKENS, lam=0.5, doc_ids=doc_ids)
    alone = trained.model.apply(TOKENS[:, 8:], lam=0.5)
    np.testing.assert_allclose(masked.logits[:, 8:], alone.logits, rtol=1e-4, atol=1e-5)
    with pytest.raises(
        ValueError,
        match=(
            r"the document 0 in two places of row 1; a document must be in one piece\. Fix: give each piece"
        ),
    ):
        remade(trained.model, document_mask=True).apply(
            TOKENS, doc_ids=np.int32([[0] * 16, [0] * 4 + [1] * 4 + [0] * 8, [0] * 16])
        )
    # Without the mask they are one window.
    np.testing.assert_allclose(
        trained.model.apply(TOKENS, doc_ids=doc_ids).logits,
        trained.model.apply(TOKENS).logits,
        rtol=1e-5,
        atol=1e-6,
    )


def test_apply_runs_inside_a_callers_jit_and_under_grad(trained):
    def loss(lam):
        return jnp.mean(trained.model.apply(TOKENS, lam=lam).stats.block_mass)

    value, slope = jax.jit(jax.value_and_grad(loss))(0.3)
    np.testing.assert_allclose(
        value, np.mean(trained.model.apply(TOKENS, lam=0.3).stats.block_mass), rtol=1e-5
    )
    assert slope > 0
