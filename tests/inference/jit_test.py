"""`apply` inside a caller's jit, grad and vmap: the same numbers, types and shapes checked, values not."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.config import PartitionConfig
from aila_jax.inference.inputs import read_batch
from tests.support.untrained import untrained_model

TOKENS = np.random.default_rng(0).integers(0, 290, (2, 12)).astype(np.int32)
DOCUMENTS = np.int32([[0] * 5 + [1] * 7, [0] * 9 + [-1] * 3])


@pytest.fixture(scope="module")
def model():
    return untrained_model()


def close(found, expected):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_ids_dial_and_parameters_may_be_traced_together(model):
    @jax.jit
    def run(params, tokens, lam, tau, layer_scale):
        return replace(model, params=params).apply(tokens, lam=lam, tau=tau, layer_scale=layer_scale)

    scale = np.float32([0.5, 1.0])
    found = run(model.params, TOKENS, 0.7, np.float32([0.5, 2.0]), scale)
    close(found, model.apply(TOKENS, lam=0.7, tau=[0.5, 2.0], layer_scale=scale))


def test_each_may_be_traced_while_the_others_are_known(model):
    expected = model.apply(TOKENS, lam=0.3).logits
    close(jax.jit(lambda tokens: model.apply(tokens, lam=0.3).logits)(TOKENS), expected)
    close(jax.jit(lambda lam: model.apply(jnp.asarray(TOKENS), lam=[lam, lam]).logits)(0.3), expected)


@pytest.mark.parametrize("kind", ["windows", "given"])
@pytest.mark.parametrize("document_mask", [False, True])
def test_traced_ids_make_the_batch_of_known_ones(model, kind, document_mask):
    settings = replace(model.config.model, document_mask=document_mask)
    config = replace(model.config, model=settings, partition=PartitionConfig(kind=kind))
    ids = {"doc_ids": DOCUMENTS}
    if kind == "given":
        ids["block_ids"] = np.where(DOCUMENTS == -1, -1, np.arange(12) // 4).astype(np.int32)
    for given in (ids, {name: array for name, array in ids.items() if name != "doc_ids"}):
        known = read_batch(config, 300, TOKENS, **given)
        traced = jax.jit(partial(read_batch, config, 300))(TOKENS, **given)
        for one, other in zip(jax.tree.leaves(traced), jax.tree.leaves(known), strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype


def test_gradients_for_the_dial_and_for_parameters(model):
    def loss(lam, params):
        return jnp.mean(jnp.square(replace(model, params=params).apply(TOKENS, lam=lam).logits))

    step = 1e-2
    slope = (loss(0.5 + step, model.params) - loss(0.5 - step, model.params)) / (2 * step)
    by_lam, by_params = jax.jit(jax.grad(loss, argnums=(0, 1)))(0.5, model.params)
    np.testing.assert_allclose(by_lam, slope, rtol=0.02)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(by_params))


def test_vmap_over_the_dial_and_over_texts(model):
    lams = np.float32([0.0, 0.4, 1.0])
    found = jax.vmap(lambda lam: model.apply(TOKENS, lam=lam).logits)(lams)
    for row, lam in zip(found, lams, strict=True):
        close(row, model.apply(TOKENS, lam=lam).logits)
    texts = jax.vmap(lambda text: model.apply(text[None], lam=0.4).logits[0])(TOKENS)
    close(texts, model.apply(TOKENS, lam=0.4).logits)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tokens": np.zeros((2, 12), np.float32)}, "tokens is .* it must be whole numbers"),
        ({"tokens": np.zeros(12, np.int32)}, r"tokens has shape \(12,\)"),
        ({"tokens": np.zeros((1, 25), np.int32)}, "tokens has length 25"),
        ({"tokens": TOKENS, "lam": np.float32([0.1] * 3)}, r"lam has shape \(3,\)"),
        ({"tokens": TOKENS, "tau": np.array([[1.0]])}, r"tau has shape \(1, 1\)"),
        ({"tokens": TOKENS, "layer_scale": np.ones(3)}, "layer_scale is .* it must be 2 numbers"),
        ({"tokens": TOKENS, "doc_ids": DOCUMENTS[:1]}, r"doc_ids has shape \(1, 12\)"),
        ({"tokens": TOKENS, "block_ids": DOCUMENTS}, "block_ids is given, but"),
    ],
)
def test_types_and_shapes_of_what_is_traced_are_checked(model, arguments, words):
    with pytest.raises(ValueError, match=words):
        jax.jit(model.apply)(**arguments)


def test_an_array_without_axes_is_no_text(model):
    for text in (np.array(0.5), [np.array(0.5)]):
        with pytest.raises(ValueError, match=r"text is .*it must be a text, or whole numbers"):
            model.attention(text)


def test_what_needs_values_says_so_inside_jit(model):
    for call in (
        lambda lam: model.generate("the cat", lam=lam),
        lambda lam: model.attention("the cat", tau=lam).weights,
        lambda lam: model.attention_dial("the cat", lams=[lam])[0].weights,
    ):
        with pytest.raises(ValueError, match=r"(lams?|tau) is .*it must be .*Fix: "):
            jax.jit(call)(0.5)
    with pytest.raises(ValueError, match=r"text is .*it must be a text, or whole numbers"):
        jax.jit(lambda tokens: model.attention(tokens).weights)(TOKENS[0])
