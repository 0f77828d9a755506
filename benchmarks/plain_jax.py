"""The same language model without the dial, as one would write it in Flax: the measure of what the dial
costs.
"""

import time
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int

from aila_jax.config import FeedForwardKind, ModelConfig, NormKind
from aila_jax.loss.cross_entropy import linear_cross_entropy, linear_target_scores
from aila_jax.training.optimizer import build_optimizer
from aila_jax.types import Array
from benchmarks.forms import SWEEP, TRAIN, PlainForm
from benchmarks.ours import jax_peak_bytes
from benchmarks.shapes import Shape
from benchmarks.workload import draw_weights


def causal_attention(
    q: Float[Array, "B L H K"], k: Float[Array, "B L H K"], v: Float[Array, "B L H K"], form: str
) -> Array:
    """Ordinary causal attention."""
    if form == "fused":
        return jax.nn.dot_product_attention(q, k, v, is_causal=True)
    scores = jnp.einsum("blhk,bmhk->bhlm", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    visible = jnp.tril(jnp.ones((1, 1, q.shape[1], q.shape[1]), bool))
    weights = jax.nn.softmax(jnp.where(visible, scores, -jnp.inf), axis=-1)
    return jnp.einsum("bhlm,bmhk->blhk", weights.astype(v.dtype), v)


def rotated(x: Float[Array, "B L H K"], base: float) -> Float[Array, "B L H K"]:
    """Rotary positions: coordinates i and i + K / 2 are a pair."""
    half = x.shape[-1] // 2
    rates = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = jnp.arange(x.shape[1], dtype=jnp.float32)[:, None] * rates[None]
    cos, sin = (turn[None, :, None].astype(x.dtype) for turn in (jnp.cos(angles), jnp.sin(angles)))
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)


class PlainTransformer(nn.Module):
    """Decoder with tied embeddings, the norms before each part, with learned or rotary positions; parameters
    named as in ours.

    Attributes:
      config: the shape.
      vocab_size: V.
      form: how attention is written.
      dtype: compute type.
    """

    config: ModelConfig
    vocab_size: int
    form: PlainForm
    dtype: str = "float32"

    @nn.compact
    def __call__(self, tokens: Int[Array, "B L"]) -> tuple[Float[Array, "B L D"], Float[Array, "V D"]]:
        """Features before the output layer, and the embedding it shares."""
        cfg, dtype = self.config, jnp.dtype(self.dtype)
        init = nn.initializers.normal(0.02)
        embedding = self.param("embedding", init, (self.vocab_size, cfg.d_model))
        x = embedding[tokens]
        if cfg.learned_positions:
            x = x + self.param("position", init, (cfg.length, cfg.d_model))[None, : tokens.shape[1]]
        x = x.astype(dtype)
        for layer in range(cfg.n_layers):
            x = PlainBlock(cfg, self.form, dtype, name=f"layer_{layer}")(x)
        return PlainNorm(cfg, dtype, name="final_norm")(x), embedding.astype(dtype)


class PlainBlock(nn.Module):
    """One layer of it."""

    config: ModelConfig
    form: PlainForm
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
        cfg, dtype = self.config, self.dtype

        def dense(width: int, name: str) -> nn.Dense:
            return nn.Dense(width, use_bias=cfg.mlp_bias, dtype=dtype, name=name)

        affine = cfg.norm != NormKind.CENTRED
        y = PlainNorm(cfg, dtype, affine, name="attention_norm")(x)
        x = x + PlainAttention(cfg, self.form.attention, dtype, name="attention")(y)
        y = PlainNorm(cfg, dtype, name="mlp_norm")(x)
        inner = dense(cfg.d_ff, "mlp_in")(y)
        if cfg.feed_forward == FeedForwardKind.SWIGLU:
            inner = nn.silu(dense(cfg.d_ff, "mlp_gate")(y)) * inner
        else:
            inner = nn.gelu(inner)
        return x + dense(cfg.d_model, "mlp_out")(inner)


class PlainAttention(nn.Module):
    """Multi-head attention."""

    config: ModelConfig
    form: str
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
        cfg, names = self.config, ("query", "key", "value")
        heads = (cfg.n_heads, cfg.d_model // cfg.n_heads)
        q, k, v = (nn.DenseGeneral(heads, use_bias=False, dtype=self.dtype, name=name)(x) for name in names)
        if cfg.rotary_base:
            q, k = rotated(q, cfg.rotary_base), rotated(k, cfg.rotary_base)
        out = causal_attention(q, k, v, self.form)
        dense = nn.DenseGeneral(
            x.shape[-1], axis=(-2, -1), use_bias=cfg.out_bias, dtype=self.dtype, name="out"
        )
        return dense(out)


class PlainNorm(nn.Module):
    """LayerNorm or RMSNorm, nested once so that its parameters stand where ours do."""

    config: ModelConfig
    dtype: Any
    affine: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
        epsilon = self.config.norm_epsilon
        if self.config.norm == NormKind.RMS:
            return nn.RMSNorm(epsilon=epsilon, dtype=self.dtype)(x)
        affine = self.affine
        return nn.LayerNorm(epsilon=epsilon, use_scale=affine, use_bias=affine, dtype=self.dtype)(x)


def mean_loss(
    form: PlainForm, features: Array, embedding: Array, targets: Int[Array, "B L"]
) -> Float[Array, ""]:
    """Mean cross-entropy over all targets, nats."""
    if form.chunk:
        ones = jnp.ones(targets.shape, jnp.float32)
        return linear_cross_entropy(features, embedding, targets, ones, form.chunk)[0] / targets.size
    logits = jnp.einsum("bld,vd->blv", features, embedding, preferred_element_type=jnp.float32)
    if not form.one_hot:
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, targets))
    chosen = jnp.arange(logits.shape[-1])[None, None] == targets[..., None]
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - jnp.sum(logits, axis=-1, where=chosen))


def make_plain_step(model: PlainTransformer, optimizer: optax.GradientTransformation) -> Any:
    """(params, opt_state, tokens [B, L+1]) → (params, opt_state, loss, gradient norm); to be jitted."""

    def loss_fn(params: Any, tokens: Int[Array, "B L+1"]) -> Float[Array, ""]:
        features, embedding = model.apply({"params": params}, tokens[:, :-1])
        return mean_loss(model.form, features, embedding, tokens[:, 1:])

    def step(params: Any, opt_state: Any, tokens: Int[Array, "B L+1"]) -> tuple[Any, Any, Array, Array]:
        loss, grads = jax.value_and_grad(loss_fn)(params, tokens)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, optax.tree.norm(grads)

    return step


def make_plain_eval(model: PlainTransformer) -> Any:
    """(params, tokens [B, L+1]) → (summed loss, correct targets); to be jitted."""

    def evaluate(params: Any, tokens: Int[Array, "B L+1"]) -> tuple[Array, Array]:
        features, embedding = model.apply({"params": params}, tokens[:, :-1])
        targets = tokens[:, 1:]
        if model.form.chunk:
            scores = linear_target_scores(features, embedding, targets, model.form.chunk)
            return jnp.sum(scores.losses), jnp.sum(scores.first)
        logits = jnp.einsum("bld,vd->blv", features, embedding, preferred_element_type=jnp.float32)
        picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        loss = jnp.sum(jax.nn.logsumexp(logits, axis=-1) - picked)
        return loss, jnp.sum(picked >= jnp.max(logits, axis=-1))

    return evaluate


class PlainRunner:
    """See `benchmarks.runner.Runner`."""

    def __init__(
        self,
        form: PlainForm,
        shape: Shape,
        tokens: Int[np.ndarray, "batches B L+1"],
        exact: bool,
        tasks: tuple[str, ...],
    ):
        config = shape.config
        form = replace(form, chunk=shape.chunk if form.chunk < 0 else form.chunk)
        model = PlainTransformer(config.model, shape.vocab_size, form, "float32" if exact else shape.dtype)
        optimizer = build_optimizer(config.train)
        weights = draw_weights(config.model, shape.vocab_size)
        self.params, self.eval_params = jax.device_put(weights), jax.device_put(weights)
        self.opt_state = optimizer.init(self.params)
        self.batches = [jax.device_put(one) for one in tokens]
        self.compile_seconds: dict[str, float] = {}
        self.versions: dict[str, str] = {}
        with jax.default_matmul_precision("highest" if exact else "default"):
            if TRAIN in tasks:
                jitted = jax.jit(make_plain_step(model, optimizer), donate_argnums=(0, 1))
                began = time.perf_counter()
                self.step = jitted.lower(self.params, self.opt_state, self.batches[0]).compile()
                self.compile_seconds[TRAIN] = time.perf_counter() - began
            if SWEEP in tasks:
                jitted = jax.jit(make_plain_eval(model))
                began = time.perf_counter()
                self.cell = jitted.lower(self.eval_params, self.batches[0]).compile()
                self.compile_seconds[SWEEP] = time.perf_counter() - began

    def train(self, index: int, ordinary: bool = False) -> tuple[Any, Any]:
        batch = self.batches[index % len(self.batches)]
        self.params, self.opt_state, loss, norm = self.step(self.params, self.opt_state, batch)
        return loss, norm

    def evaluate(self, index: int, ordinary: bool = False) -> tuple[Any, Any]:
        return self.cell(self.eval_params, self.batches[index % len(self.batches)])

    def wait(self, value: Any) -> None:
        jax.block_until_ready(value)

    def device_peak_bytes(self) -> int | None:
        return jax_peak_bytes()
