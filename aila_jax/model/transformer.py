"""The decoder: a pre-LayerNorm transformer with locality attention, as pure Flax linen modules."""

from collections.abc import Mapping

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from aila_jax.config import (
    DIAL_WEIGHTS,
    AttentionRoute,
    Config,
    MarginConfig,
    MarginForm,
    ModelConfig,
    Remat,
    require,
)
from aila_jax.model.attention import Push, attention_of_rows, locality_attention, per_example, scale_of
from aila_jax.model.feature_groups import block_support
from aila_jax.model.interface import Dial, ModelOutput, Request
from aila_jax.model.kept import COLLECTION, NAME, KeysValues, latest
from aila_jax.model.layers import (
    Norm,
    adapted,
    dropout,
    feed_forward,
    fold_in_each,
    head_scale,
    unit_norm,
)
from aila_jax.model.margin import Margin, SelfScaling, default_layer_scale, imposed_share
from aila_jax.model.output import output_of
from aila_jax.model.rotary import Rotation
from aila_jax.model.shards import placed
from aila_jax.model.stats import AttentionStats, StatsRequest
from aila_jax.model.tap import Tap, untapped
from aila_jax.partition.pairs import Pairs
from aila_jax.partition.relations import Relation
from aila_jax.partition.rules import Blocks
from aila_jax.types import Array


def build_margin(config: MarginConfig) -> Margin:
    """The margin that `config` names: nats, or a SelfScaling."""
    if config.form == MarginForm.FIXED:
        return config.nats
    return SelfScaling(config.c, config.m0, exact=config.range == "exact", bend=config.range_bend)


@flax.struct.dataclass
class Setting:
    """What a layer reads beside its input.

    Attributes:
      relation: which keys a query may attend to in it, and which are inside.
      lam: the dial's λ, which `dial_weights` and FiLM turn with; what a layer imposes of it is its own.
      tau: the dial's τ.
      request: what the forward pass returns.
      rotation: of queries and keys; None where positions are learned alone.
      pointers: pairs whose attention the statistics measure.
      kept: keys and values of the tokens before, where the relation is that of chosen queries.
      tap: what the layer's intermediate results run past (static).
      by_rows: whether scores and weights run past it too, which exist at once then (static).
    """

    relation: Relation
    lam: Float[Array, "..."]
    tau: Float[Array, "..."]
    request: Request
    rotation: Rotation | None = None
    pointers: Pairs | None = None
    kept: KeysValues | None = None
    tap: Tap = flax.struct.field(pytree_node=False, default=untapped)
    by_rows: bool = flax.struct.field(pytree_node=False, default=False)


class Attention(nn.Module):
    """Multi-head locality attention with its four projections; those of `dial_weights` are W + λW′ (ours)."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, x_BxLxD: Float[Array, "B L D"], share: float | Float[Array, "..."], setting: Setting
    ) -> tuple[Float[Array, "B L D"], AttentionStats | None]:
        """The attention branch, and statistics where they are asked for; `share` is that of the margin which
        this layer, or each of its heads, imposes.
        """
        cfg = self.config
        dtype = jnp.dtype(cfg.dtype)
        init = nn.initializers.normal(cfg.init_std)

        def projected(name: str, count: int = cfg.kv_heads) -> Float[Array, "B L H K"]:
            heads = (count, cfg.head_size)
            y = nn.DenseGeneral(heads, use_bias=cfg.qkv_bias, kernel_init=init, dtype=dtype, name=name)(
                x_BxLxD
            )
            y = adapted(cfg, name, x_BxLxD, y, setting.lam)
            if name not in DIAL_WEIGHTS[cfg.dial_weights]:
                return y
            turned = nn.DenseGeneral(
                heads, use_bias=False, kernel_init=nn.initializers.zeros, dtype=dtype, name=f"{name}_dial"
            )(x_BxLxD)
            return (y.astype(jnp.float32) + per_example(setting.lam) * turned.astype(jnp.float32)).astype(
                dtype
            )

        q = placed("attention.queries", projected("query", cfg.n_heads))
        k, v = placed("attention.keys", projected("key")), placed("attention.values", projected("value"))
        if setting.rotation is not None:
            q, k = setting.rotation(q), setting.rotation(k)
        scale = None
        if cfg.qk_norm:
            q, k = unit_norm(q), unit_norm(k)
            scale = head_scale(
                self.param("qk_scale", nn.initializers.zeros, (cfg.n_heads,), jnp.float32), cfg.g_max
            )
        q, k = setting.tap("attention.queries", q), setting.tap("attention.keys", k)
        read = KeysValues(k, setting.tap("attention.values", v))
        if setting.kept is not None:
            assert setting.relation.at is not None, "what is kept is read by chosen queries"
            read = setting.kept.put(read, setting.relation.at)
        if not self.is_initializing():
            self.sow(COLLECTION, NAME, read, init_fn=lambda: None, reduce_fn=latest)
        if setting.kept is not None or setting.by_rows:
            out_BxLxHxK, stats = self._of_rows(q, read, share, scale, setting), None
        else:
            out_BxLxHxK, stats = self._of_all(q, read, share, scale, setting)
        out_BxLxHxK = setting.tap("attention.heads", placed("attention.heads", out_BxLxHxK))
        out_init = nn.initializers.normal(cfg.residual_std)
        out = nn.DenseGeneral(
            cfg.d_model,
            axis=(-2, -1),
            use_bias=cfg.out_bias,
            kernel_init=out_init,
            dtype=dtype,
            name="out",
        )
        return adapted(cfg, "out", out_BxLxHxK, out(out_BxLxHxK), setting.lam), stats

    def _of_all(
        self,
        q: Float[Array, "B L H K"],
        read: KeysValues,
        share: float | Float[Array, "..."],
        scale: Float[Array, "H"] | None,
        setting: Setting,
    ) -> tuple[Float[Array, "B L H K"], AttentionStats | None]:
        """Of every position."""
        cfg, request, k, v = self.config, setting.request, read.keys, read.values
        if cfg.kv_heads != cfg.n_heads:  # each head of keys and values serves so many of the queries
            k, v = (jnp.repeat(x, cfg.n_heads // cfg.kv_heads, axis=2) for x in (k, v))
        return locality_attention(
            q,
            k,
            v,
            setting.relation,
            lam=share,
            tau=setting.tau,
            margin=build_margin(cfg.margin),
            gate=cfg.margin.gate,
            request=StatsRequest() if request.stats is None and request.weights else request.stats,
            scale=scale,
            score_cap=cfg.score_cap,
            hard=request.hard,
            weights=request.weights,
            pointers=setting.pointers,
            route=AttentionRoute.AUTO if request.weights else cfg.attention,
        )

    def _of_rows(
        self,
        q: Float[Array, "B T H K"],
        read: KeysValues,
        share: float | Float[Array, "..."],
        scale: Float[Array, "H"] | None,
        setting: Setting,
    ) -> Float[Array, "B T H K"]:
        """Of the positions that the relation asks for, over all that was read; step by step, for taps."""
        cfg, hard = self.config, setting.request.hard
        push = Push(
            share,
            setting.tau,
            build_margin(cfg.margin),
            0.0 if hard else cfg.margin.gate,
            scale_of(scale, q),
            cfg.score_cap,
        )
        masks = setting.relation.masks(hard)
        return attention_of_rows(q, read.keys, read.values, masks, push, setting.tap)


class Block(nn.Module):
    """One layer: attention, then a feed-forward network, each on a residual branch; or both side by side."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        x_BxLxD: Float[Array, "B L D"],
        share: float | Float[Array, "..."],
        setting: Setting,
        dropout_keys_B: Key[Array, "B"] | None,
    ) -> tuple[Float[Array, "B L D"], AttentionStats | None]:
        """The residual stream after this layer, and its attention's statistics; see `Attention`."""
        cfg = self.config
        dtype = jnp.dtype(cfg.dtype)
        attention_keys_B, mlp_keys_B = fold_in_each(dropout_keys_B, 0), fold_in_each(dropout_keys_B, 1)
        tap = setting.tap
        x_BxLxD = tap("residual_before", x_BxLxD)
        stats, before_BxLxD = None, x_BxLxD
        if not setting.request.no_attention:
            y = Norm.before_attention(cfg, "attention_norm")(x_BxLxD, setting.lam).astype(dtype)
            y, stats = Attention(cfg, name="attention")(tap("attention.input", y), share, setting)
            y = tap("attention.output", y)
            x_BxLxD = x_BxLxD + dropout(y, attention_keys_B, cfg.dropout)
        if not cfg.parallel:
            x_BxLxD = tap("residual_middle", x_BxLxD)
        read_BxLxD = before_BxLxD if cfg.parallel else x_BxLxD
        y = Norm.elsewhere(cfg, "mlp_norm")(read_BxLxD, setting.lam).astype(dtype)
        # As one matrix [B · L, D]: with three axes XLA's CPU compiler copies the gradients transposed for
        # those of the kernels.
        y = feed_forward(cfg, tap("feed_forward.input", y).reshape(-1, cfg.d_model), tap)
        y = tap("feed_forward.output", y.reshape(x_BxLxD.shape))
        x_BxLxD = placed("residual", x_BxLxD + dropout(y, mlp_keys_B, cfg.dropout))
        return tap("residual", x_BxLxD), stats


class Transformer(nn.Module):
    """The whole language model. Its parts are those that the configuration chooses; by default embeddings are
    tied and positions learned, and rotary ones are added where `rotary_base` is set.

    Attributes:
      config: its shape.
      vocab_size: V, the tokenizer's.
      groups: G, feature groups of localist positions; unused without them.
      remat: what of a layer is computed again for its gradient.
    """

    config: ModelConfig
    vocab_size: int
    groups: int = 0
    remat: Remat = Remat.AUTO

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "B L"],
        positions: Int[Array, "B L"],
        blocks: Blocks | Int[Array, "B L"],
        doc_ids: Int[Array, "B L"],
        dial: Dial,
        request: Request,
        dropout_keys_B: Key[Array, "B"] | None = None,
        pointers: Pairs | None = None,
    ) -> ModelOutput:
        """Next-token logits at every position, and attention statistics where `request` asks for them.

        Args:
          tokens: as in `Batch`.
          positions: as in `Batch`.
          blocks: from a network's rules, or a partition's ids: equal blocks in all layers.
          doc_ids: as in `Batch`.
          dial: λ, τ and layer_scale, all traced.
          request: what to return beside the logits (static).
          dropout_keys_B: one key per example, where dropout is on.
          pointers: with statistics, pairs whose attention is measured.
        """
        cfg = self.config
        init = nn.initializers.normal(cfg.init_std)
        tables = {"embedding": self.param("embedding", init, (self.vocab_size, cfg.d_model), jnp.float32)}
        if cfg.learned_positions:
            tables["position"] = self.param("position", init, (cfg.length, cfg.d_model), jnp.float32)
        if not cfg.tied:
            tables["output"] = self.param("output", init, (self.vocab_size, cfg.d_model), jnp.float32)
        blocks = blocks if isinstance(blocks, Blocks) else Blocks.same(blocks)
        x_BxLxD = self.embedded(tables, tokens, positions, blocks, dropout_keys_B)
        layers = []
        for layer, (share, setting) in enumerate(
            self.settings(positions, blocks, doc_ids, dial, request, pointers)
        ):
            block = Block(cfg, name=f"layer_{layer}")
            x_BxLxD, layer_stats = block(x_BxLxD, share, setting, fold_in_each(dropout_keys_B, layer))
            layers.append(layer_stats)
        lam = jnp.asarray(dial.lam, jnp.float32)
        x_BxLxD = Norm.elsewhere(cfg, "final_norm")(x_BxLxD, lam).astype(jnp.dtype(cfg.dtype))
        stats = jax.tree.map(lambda *x: jnp.stack(x), *layers) if request.reads_attention else None
        return output_of(x_BxLxD, tables, request, stats)

    def embedded(
        self,
        tables: Mapping[str, Float[Array, "..."]],
        tokens: Int[Array, "B L"],
        positions: Int[Array, "B L"],
        blocks: Blocks,
        dropout_keys_B: Key[Array, "B"] | None,
    ) -> Float[Array, "B L D"]:
        """What the first layer reads: embeddings of tokens and, where they are learned, of positions."""
        cfg = self.config
        x_BxLxD = tables["embedding"][tokens]
        if cfg.learned_positions:
            position_BxLxD = tables["position"][positions]
            if cfg.localist:
                position_BxLxD = position_BxLxD * self._support(blocks.ids)
            x_BxLxD = x_BxLxD + position_BxLxD
        x_BxLxD = x_BxLxD.astype(jnp.dtype(cfg.dtype))
        return dropout(x_BxLxD, fold_in_each(dropout_keys_B, cfg.n_layers), cfg.dropout)

    def settings(
        self,
        positions: Int[Array, "B T"],
        blocks: Blocks,
        doc_ids: Int[Array, "B L"],
        dial: Dial,
        request: Request,
        pointers: Pairs | None,
    ) -> list[tuple[Float[Array, "..."], Setting]]:
        """Of each layer the share of the margin that it imposes, and what it reads beside its input; the
        positions are those of the queries, T = L of them but where `blocks` are rows.
        """
        cfg = self.config
        lam, tau = jnp.asarray(dial.lam, jnp.float32), jnp.asarray(dial.tau, jnp.float32)
        scale_N = default_layer_scale(cfg) if dial.layer_scale is None else dial.layer_scale
        rotation = (
            Rotation.of(positions, cfg.head_size, cfg.rotary_base, cfg.rotary) if cfg.rotary_base else None
        )
        documents = doc_ids if cfg.document_mask else None
        found = []
        for layer in range(cfg.n_layers):
            relation = blocks.of_layer(layer, documents, causal=not cfg.bidirectional)
            # Hard attention is not a matter of degree: every layer is hard, at the λ = 1 that it needs.
            share = lam if request.hard else imposed_share(cfg, layer, lam, scale_N[layer])
            found.append((share, Setting(relation, lam, tau, request, rotation, pointers)))
        return found

    def _support(self, block_ids: Int[Array, "B L"]) -> Bool[Array, "B L D"]:
        """The coordinates that a position's embedding may use: its block's group and the shared ones; all,
        for padding and global ids.
        """
        require(
            self.groups > 0,
            "groups",
            self.groups,
            "above 0 for localist positions",
            "make the model with build_transformer(config, …)",
        )
        return block_support(block_ids, self.config.d_model, self.groups, self.config.localist_shared)


def build_transformer(config: Config, vocab_size: int) -> Transformer:
    """The model that `config` describes."""
    groups = config.feature_groups if config.model.localist else 0
    return Transformer(config.model, vocab_size, groups, config.train.remat)
