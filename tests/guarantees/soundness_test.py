"""Inputs and weights made to break a guarantee, each of which once did: found by reasoning, not by search."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from aila_jax.config import Config, MarginConfig, ModelConfig, PartitionConfig
from aila_jax.guarantees.certificates import certificate
from aila_jax.guarantees.gaps import guaranteed_gap
from aila_jax.guarantees.influence import value_bounds
from aila_jax.guarantees.norms import Projection
from aila_jax.model.attention import _score_range
from aila_jax.model.interface import Dial, ModelOutput, Request
from aila_jax.model.margin import SelfScaling
from aila_jax.model.network import Network
from aila_jax.model.stats import StatsRequest
from aila_jax.model.transformer import Attention, Setting, build_transformer
from aila_jax.partition.build import build_partition
from aila_jax.partition.relations import Relation
from aila_jax.types import Batch

LENGTH = 8


def network_of(config: Config) -> Network:
    return Network(build_transformer(config, 64), build_partition(config.partition))


def zeros(config: Config) -> dict[str, Any]:
    """Parameters of one layer with one head, all 0, to be filled in."""
    batch = Batch.from_tokens(np.zeros((1, config.model.length), np.int32))
    params = network_of(config).init(batch, jax.random.key(0))
    return jax.tree.map(lambda x: np.zeros(x.shape, np.float32), jax.device_get(params))


def run(config: Config, params: dict[str, Any], batch: Batch) -> ModelOutput:
    """At λ = τ = 1, with statistics."""
    ones = jnp.ones(len(batch.tokens))
    request = Request(stats=StatsRequest(delta=True, largest=True))
    return jax.jit(lambda p, b: network_of(config)(p, b, Dial(ones, ones), request))(params, batch)


def one_head(width: int, **options: Any) -> Config:
    model = ModelConfig(length=LENGTH, d_model=width, n_heads=1, d_ff=8, n_layers=1, **options)
    return Config(model=model, partition=PartitionConfig(size=1))


def bfloat16(x: Any) -> np.ndarray:
    return np.asarray(np.asarray(x, ml_dtypes.bfloat16), np.float32)


@pytest.mark.parametrize("bias", [False, True])
def test_a_bfloat16_number_is_off_by_up_to_two_to_the_minus_eight(bias: bool) -> None:
    """Two tokens ±x whose LayerNorm output, query and key all round away from 0: with 2⁻⁹ |s| was above S,
    and δ below the gap.
    """
    width, scale = 64, 0.18652163040760192
    pattern = np.ones(width)
    pattern[62:] = 131 / 256
    pattern[1::2] *= -1
    config = one_head(width, dtype="bfloat16", qkv_bias=bias, margin=MarginConfig(nats=0.0))
    params = zeros(config)
    params["embedding"][:2] = [pattern, -pattern]
    attention = params["layer_0"]["attention"]
    attention["query"]["kernel"][:, 0, 0] = bfloat16(scale * pattern)
    attention["key"]["kernel"][:, 0, 0] = -bfloat16(scale * pattern)
    if bias:
        attention["query"]["bias"][0, 0] = bfloat16(2**-5 * (1 + 2**-7))
    largest = certificate(params, config, 1.0, 1.0).gap.score_bound[0, 0]
    held = replace(config, model=replace(config.model, margin=MarginConfig(nats=float(2 * largest + 2))))
    tokens = np.ones((1, LENGTH), np.int32)
    tokens[0, -1] = 0
    stats, found = run(held, params, Batch.from_tokens(tokens)).stats, certificate(params, held, 1.0, 1.0)
    assert float(stats.largest_score.max()) <= largest
    assert float(stats.largest_score.max()) > 0.98 * largest  # the bound is not loose here
    assert float(stats.delta[0, 0, 0, -1]) >= found.gap.nats[0, 0]
    assert float(stats.block_mass[0, 0, 0, -1]) >= found.block_mass[0, 0, -1]


def test_the_output_projection_is_rounded_before_its_norm_is_taken() -> None:
    """Entries of a Hadamard matrix with equal row sums, each just where bfloat16 moves it by 2⁻⁸ towards
    more: the norm grows by 3 %.
    """
    width = 64
    four = np.ones((4, 4)) - 2 * np.eye(4)
    signs = np.kron(np.kron(four, four), four)
    signs *= np.sign(signs[0].sum())
    out = np.where(signs > 0, 1 + 2**-8 + 2e-5, -(1 + 2**-8 - 2e-5)).astype(np.float32)
    x_D = np.tile([1.0, -1.0], width // 2)
    value = np.zeros((width, 1, width), np.float32)
    value[:, 0, :] = x_D[:, None] / 64
    nothing = {"kernel": np.zeros((width, 1, width), np.float32)}
    attention = {"query": nothing, "key": nothing, "value": {"kernel": value}}
    attention["out"] = {"kernel": out.reshape(1, width, width), "bias": np.zeros(width, np.float32)}
    config = replace(one_head(width, dtype="bfloat16").model, length=4)
    ids = np.zeros((1, 1), np.int32)
    x = jnp.asarray(x_D, jnp.bfloat16).reshape(1, 1, width)
    added, _ = Attention(config).apply(
        {"params": attention}, x, 1.0, Setting(Relation(ids), 1.0, 1.0, Request())
    )
    length = float(jnp.linalg.norm(added.astype(jnp.float32)))
    bound = value_bounds({"layer_0": {"attention": attention}}, config, 1.0)[0, 0]
    assert 0.95 * bound < length <= bound


def test_a_residual_stream_with_a_large_mean_is_centred_all_the_same() -> None:
    """Embeddings of 1000 ± 1, and weights that read nothing but the mean: scores would reach 22 where S says
    .2.
    """
    width = 128
    config = one_head(width, margin=MarginConfig(nats=4.0))
    params = zeros(config)
    params["embedding"][:] = 1000 + np.random.default_rng(0).standard_normal(params["embedding"].shape)
    for name in ("query", "key"):
        params["layer_0"]["attention"][name]["kernel"][:, 0, 0] = 2000.0
    stats, found = (
        run(config, params, Batch.from_tokens(np.arange(64).reshape(8, 8))).stats,
        certificate(params, config, 1.0, 1.0),
    )
    assert float(stats.largest_score.max()) <= found.gap.score_bound[0, 0] < 1.0
    assert float(stats.delta.min()) >= min(0.0, found.gap.nats[0, 0])  # 0 where there is no key outside
    assert (np.asarray(stats.block_mass)[0, :, 0] >= found.block_mass[0, 0] - 1e-6).all()


def test_a_document_inside_a_window_may_begin_with_a_query_of_every_block() -> None:
    """`global_first` without a document mask: its entropy is that of all keys, wherever the document
    begins.
    """
    config = one_head(16, margin=MarginConfig(nats=60.0))
    config = replace(config, partition=PartitionConfig(size=5, global_first=True))
    documents = np.zeros((1, LENGTH), np.int32)
    documents[0, -1] = 1
    batch = Batch.from_tokens(np.zeros((1, LENGTH), np.int32)).replace(doc_ids=documents)
    params = zeros(config)
    stats, found = run(config, params, batch).stats, certificate(params, config, 1.0, 1.0)
    assert float(stats.entropy_bits[0, 0, 0, -1]) == pytest.approx(np.log2(LENGTH), abs=1e-5)
    assert found.entropy_bits[0, 0, -1] >= np.log2(LENGTH) - 1e-9


def test_a_high_power_of_lambda_multiplies_its_rounding() -> None:
    """λ^p in float32 against float64, at the worst of many λ: the gap allows for the difference."""
    for power in (6.0, 100.0, 1e4):
        model = one_head(16, score_cap=4.0, margin=MarginConfig(nats=1e4, power=power)).model
        lams = 1.0 - np.linspace(0.0, 3.0, 400) / power
        exact = model.margin.share(lams) * 1e4 - 8.0
        imposed = np.asarray(jax.jit(model.margin.share)(lams.astype(np.float32)), np.float64) * 1e4 - 8.0
        allowed = np.array(
            [exact[i] - guaranteed_gap({}, model, float(lam)).nats[0, 0] for i, lam in enumerate(lams)]
        )
        assert (exact - imposed <= allowed).all(), power


def test_film_weights_that_are_not_finite_are_refused() -> None:
    config = one_head(16, film=True).model
    layer = zeros(Config(model=config, partition=PartitionConfig(size=1)))["layer_0"]
    layer["attention_norm"]["film_scale"][3] = np.nan
    with pytest.raises(ValueError, match="FiLM weights is 'not finite'"):
        Projection.of(layer, "query", config, 1.0)


def test_the_range_from_norms_covers_products_that_read_bfloat16() -> None:
    """Operands just above halfway between two bfloat16 numbers: all round up, and the scores with them, by
    2^-7 together.
    """
    q = np.full((1, 2, 1, 8), 1.0 + 2.0**-8 + 2.0**-20, np.float32)
    k = q * np.array([1.0, -1.0], np.float32)[None, :, None, None]
    read_q, read_k = (jnp.asarray(x).astype(jnp.bfloat16).astype(jnp.float32) for x in (q, k))
    scores = jnp.einsum("blhk,bmhk->bhlm", read_q, read_k)
    margin, mask, scale = SelfScaling(exact=False), jnp.ones((1, 1, 2, 2), bool), jnp.ones(1)
    found = _score_range(margin, scores, mask, jnp.asarray(q), jnp.asarray(k), scale)
    assert (np.asarray(found)[..., 0] >= np.ptp(np.asarray(scores), axis=-1)).all()
