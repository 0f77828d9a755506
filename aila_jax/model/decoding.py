"""A forward pass in two parts: a text's keys and values once, and then the positions that are asked for.

A loop over layers inside a program copies every weight of the model, each time that it is called. So a deep
model runs some layers at a time, by one small program that is called again and again. Inside a larger
program, as for a gradient, layers of several positions run as a loop where the model's do.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from aila_jax.config import ModelConfig
from aila_jax.model.interface import Dial, Request
from aila_jax.model.kept import COLLECTION, Kept, KeysValues, kept_of
from aila_jax.model.network import Network
from aila_jax.model.output import final_norm, output_of
from aila_jax.model.scanned import scan_layers, scans, stacked
from aila_jax.model.transformer import Block, Setting, Transformer
from aila_jax.partition.relations import Relation
from aila_jax.types import Array, Batch

TOGETHER = 5  # layers of one program: fewer cost more calls, 50 µs each, and more take longer to compile


def in_parts(module: Transformer) -> bool:
    """Whether `next_logits` and `query_in_parts` are to be called outside jit: a single program of all layers
    compiles long.
    """
    return module.config.n_layers > 2 * TOGETHER


def keys_and_values(network: Network, params: Any, batch: Batch, dial: Dial, request: Request) -> Kept:
    """Those of every position and layer of `batch`. Pure, and meant to run inside jit; nothing after the last
    layer's keys and values is computed there.
    """
    module, blocks = network.module, network.blocks(batch)
    cfg = module.config
    x_BxLxD = module.embedded(params, batch.tokens, batch.positions, blocks, None)
    settings = module.settings(batch.positions, blocks, batch.doc_ids, dial, request, None)
    if scans(module):
        _, (_, kept) = scan_layers(cfg, params, x_BxLxD, settings, len(blocks.layers) == 1, keeps=True)
        return tuple(_layer(kept, layer) for layer in range(cfg.n_layers))
    found = []
    for layer, (share, setting) in enumerate(settings):
        (x_BxLxD, _), variables = Block(cfg).apply(
            {"params": params[f"layer_{layer}"]}, x_BxLxD, share, setting, None, mutable=[COLLECTION]
        )
        found.append(kept_of(variables))
    return tuple(found)


def _layer(kept: Any, layer: int) -> KeysValues:
    return jax.tree.map(lambda every: every[layer], kept)


def next_logits(
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    request: Request,
    at_B: Int[Array, "B"],
    kept: Kept,
) -> tuple[Float[Array, "B V"], Kept]:
    """The logits after position `at_B` of each example, whose earlier keys and values are kept; and what is
    kept with those of that position. Pure. Inside jit it is one program. Outside it is a few small ones, the
    same for every `TOGETHER` layers, and what was kept is overwritten, so that it cannot be read again.

    Args:
      network: what runs.
      params: its parameters.
      batch: the whole windows up to that position, padding after it: what is inside for the query is made of
        them.
      dial: λ and τ.
      request: hard or not; nothing beside logits is returned.
      at_B: the position, whose token is read.
      kept: of every position before it.
    """
    config = network.module.config
    tables = {name: part for name, part in params.items() if not name.startswith("layer_")}
    x_Bx1xD, shares, setting, relations = _entered(network, tables, batch, dial, request, at_B[:, None])
    fresh: Kept = ()
    for some, weights, own in _parts(config, params, relations):
        x_Bx1xD, new = _through(config, weights, x_Bx1xD, shares[some], setting, own, kept[some])
        fresh += new
    return _left(config, tables, x_Bx1xD, dial, request)[:, 0], fresh


def _parts(
    config: ModelConfig, params: Any, relations: tuple[Relation, ...]
) -> Iterator[tuple[slice, tuple[Any, ...], tuple[Relation, ...]]]:
    """Every `TOGETHER` layers in turn: which they are, their weights, and their relations."""
    for first in range(0, config.n_layers, TOGETHER):
        some = slice(first, first + TOGETHER)
        weights = tuple(params[f"layer_{layer}"] for layer in range(config.n_layers)[some])
        yield some, weights, relations if len(relations) == 1 else relations[some]


@partial(jax.jit, static_argnames="request")
def _entered(
    network: Network, tables: Any, batch: Batch, dial: Dial, request: Request, at_BxT: Int[Array, "B T"]
) -> tuple[Float[Array, "B T D"], tuple[Float[Array, "..."], ...], Setting, tuple[Relation, ...]]:
    """What the first layer reads; and each layer's share of the margin, what they share of their setting, and
    their relations, a single one where it is that of all.
    """
    x_BxTxD, settings = _asked(network, tables, batch, dial, request, at_BxT)
    alike = len(network.blocks(batch).layers) == 1
    relations = tuple(setting.relation for _, setting in (settings[:1] if alike else settings))
    return x_BxTxD, tuple(share for share, _ in settings), settings[0][1], relations


@partial(jax.jit, static_argnames="config", donate_argnames="kept")
def _through(
    config: ModelConfig,
    weights: tuple[Any, ...],
    x_Bx1xD: Float[Array, "B 1 D"],
    shares: tuple[Float[Array, "..."], ...],
    setting: Setting,
    relations: tuple[Relation, ...],
    kept: Kept,
) -> tuple[Float[Array, "B 1 D"], Kept]:
    """The residual stream after some layers, one after another, and what is kept of them."""
    fresh = []
    for layer, (own, share, read) in enumerate(zip(weights, shares, kept, strict=True)):
        relation = relations[layer if len(relations) > 1 else 0]
        (x_Bx1xD, _), variables = Block(config).apply(
            {"params": own},
            x_Bx1xD,
            share,
            replace(setting, relation=relation, kept=read),
            None,
            mutable=[COLLECTION],
        )
        fresh.append(kept_of(variables))
    return x_Bx1xD, tuple(fresh)


@partial(jax.jit, static_argnames=("config", "request"))
def _left(
    config: ModelConfig, tables: Any, x_BxTxD: Float[Array, "B T D"], dial: Dial, request: Request
) -> Float[Array, "B T V"]:
    """The logits of what the last layer returns."""
    output = output_of(final_norm(config, tables, x_BxTxD, dial), tables, request, None)
    assert output.logits is not None, "request asks for logits"
    return output.logits


@flax.struct.dataclass
class Queried:
    """What T chosen queries of each example give.

    Attributes:
      logits: next-token logits after them.
      fresh: their keys and values in every layer.
      mass: attention on each piece of what they read, the mean of layers and heads; sums to 1 where every
        token is of one piece. None where no pieces are given.
    """

    logits: Float[Array, "B T V"]
    fresh: KeysValues
    mass: Float[Array, "B T S"] | None


def query_logits(
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    request: Request,
    at_BxT: Int[Array, "B T"],
    kept: KeysValues,
    pieces_LxS: Float[Array, "L S"] | None = None,
) -> Queried:
    """`next_logits` of T positions of each example: what they read is kept of all others. Pure, and meant to
    run inside jit.

    Args:
      network: what runs.
      params: its parameters.
      batch: the whole windows: what is inside for the queries is made of them.
      dial: λ and τ.
      request: hard or not; nothing beside logits is returned.
      at_BxT: the positions, none of them twice, whose tokens are read.
      kept: of every other position that they attend to, with a leading layer axis; one example's serves all.
      pieces_LxS: 1 where a position is of a piece, whose attention is measured.
    """
    module = network.module
    if not scans(module):
        return query_in_parts(network, params, batch, dial, request, at_BxT, kept, pieces_LxS)
    cfg, (x_BxTxD, settings) = module.config, _asked(network, params, batch, dial, request, at_BxT)
    layers = [params[f"layer_{layer}"] for layer in range(cfg.n_layers)]
    shared, shares = settings[0][1], [share for share, _ in settings]

    def layer(x_BxTxD: Array, per: tuple[Any, ...]) -> tuple[Array, Any]:
        weights, share, relation, read = per
        setting = replace(shared, kept=read, relation=shared.relation if relation is None else relation)
        return _queried_layer(cfg, weights, x_BxTxD, share, setting, pieces_LxS)

    alike = len(network.blocks(batch).layers) == 1
    relations = None if alike else stacked([setting.relation for _, setting in settings])
    per_layer = (stacked(layers), stacked(shares), relations, kept)
    x_BxTxD, (fresh, masses) = jax.lax.scan(layer, x_BxTxD, per_layer)
    return Queried(_left(cfg, params, x_BxTxD, dial, request), fresh, _mean(masses))


def query_in_parts(
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    request: Request,
    at_BxT: Int[Array, "B T"],
    kept: KeysValues,
    pieces_LxS: Float[Array, "L S"] | None = None,
) -> Queried:
    """`query_logits` without a loop. Inside jit it is one program; outside it is a few small ones, the same
    for every `TOGETHER` layers.
    """
    config = network.module.config
    tables = {name: part for name, part in params.items() if not name.startswith("layer_")}
    x_BxTxD, shares, setting, relations = _entered(network, tables, batch, dial, request, at_BxT)
    found = []
    for some, weights, own in _parts(config, params, relations):
        read = jax.tree.map(lambda every, some=some: every[some], kept)
        x_BxTxD, new = _queried_through(
            config, weights, x_BxTxD, shares[some], setting, own, read, pieces_LxS
        )
        found.append(new)
    fresh, masses = jax.tree.map(lambda *parts: jnp.concatenate(parts), *found)
    return Queried(_left(config, tables, x_BxTxD, dial, request), fresh, _mean(masses))


def _mean(masses: Float[Array, "layers B T S"] | None) -> Float[Array, "B T S"] | None:
    return None if masses is None else jnp.mean(masses, axis=0)


@partial(jax.jit, static_argnames="config")
def _queried_through(
    config: ModelConfig,
    weights: tuple[Any, ...],
    x_BxTxD: Float[Array, "B T D"],
    shares: tuple[Float[Array, "..."], ...],
    setting: Setting,
    relations: tuple[Relation, ...],
    kept: KeysValues,
    pieces_LxS: Float[Array, "L S"] | None,
) -> tuple[Float[Array, "B T D"], tuple[KeysValues, Float[Array, "layers B T S"] | None]]:
    """`_queried_layer` of some layers, one after another; what they give has a leading layer axis."""
    found = []
    for layer, (own, share) in enumerate(zip(weights, shares, strict=True)):
        relation = relations[layer if len(relations) > 1 else 0]
        there = replace(setting, relation=relation, kept=_layer(kept, layer))
        x_BxTxD, one = _queried_layer(config, own, x_BxTxD, share, there, pieces_LxS)
        found.append(one)
    return x_BxTxD, stacked(found)


def _queried_layer(
    config: ModelConfig,
    weights: Any,
    x_BxTxD: Float[Array, "B T D"],
    share: Float[Array, "..."],
    setting: Setting,
    pieces_LxS: Float[Array, "L S"] | None,
) -> tuple[Float[Array, "B T D"], tuple[KeysValues, Float[Array, "B T S"] | None]]:
    """One layer of chosen queries: their stream after it, their keys and values, and the mass on pieces."""
    masses: list[Array] = []
    rows = len(x_BxTxD)
    read = jax.tree.map(lambda one: jnp.broadcast_to(one, (rows, *one.shape[1:])), setting.kept)

    def tap(name: str, value: Array) -> Array:
        if name == "attention.weights" and pieces_LxS is not None:
            masses.append(jnp.einsum("bhtl,ls->bts", value, pieces_LxS) / config.n_heads)
        return value

    (x_BxTxD, _), variables = Block(config).apply(
        {"params": weights}, x_BxTxD, share, replace(setting, tap=tap, kept=read), None, mutable=[COLLECTION]
    )
    at_BxT = setting.relation.at
    assert at_BxT is not None, "these are chosen queries"
    fresh = jax.tree.map(
        lambda every: jnp.take_along_axis(every, at_BxT[:, :, None, None], axis=1), kept_of(variables)
    )
    return x_BxTxD, (fresh, masses[0] if masses else None)


def _asked(
    network: Network, params: Any, batch: Batch, dial: Dial, request: Request, at_BxT: Int[Array, "B T"]
) -> tuple[Float[Array, "B T D"], list[tuple[Float[Array, "..."], Setting]]]:
    """What the first layer reads at these positions, and what every layer reads beside its input."""
    module, blocks = network.module, network.blocks(batch).rows(at_BxT)
    tokens, positions = (
        jnp.take_along_axis(jnp.asarray(ids), at_BxT, axis=1) for ids in (batch.tokens, batch.positions)
    )
    x_BxTxD = module.embedded(params, tokens, positions, blocks, None)
    return x_BxTxD, module.settings(positions, blocks, batch.doc_ids, dial, request, None)
