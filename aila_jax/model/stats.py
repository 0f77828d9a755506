"""Statistics of attention weights, per query: entropy and block mass, and on request more."""

from dataclasses import dataclass
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from aila_jax.cards import Card, Shown, shape, span
from aila_jax.inner import inner
from aila_jax.partition.pairs import Pairs
from aila_jax.partition.relations import Masks, Relation
from aila_jax.types import Array

BITS_PER_NAT = float(1.0 / np.log(2.0))


@dataclass(frozen=True)
class StatsRequest:
    """Which statistics are made beside entropy, masses and key counts; static, and nothing is computed that
    is not asked for.

    Attributes:
      delta: the measured gap between in-block and out-of-block scores.
      in_block: the entropy of the attention inside the block.
      log_mass: the logarithm of block mass.
      largest: the largest |s_tj| over A_t.
      outside: the mass outside, added up by itself.
    """

    delta: bool = False
    in_block: bool = False
    log_mass: bool = False
    largest: bool = False
    outside: bool = False


@flax.struct.dataclass
class PointedStats:
    """Attention on P_t: the keys of A_t, other than t itself, that the query is pointed at. From a model,
    with a leading layer axis.

    Attributes:
      mass: Σ of α_tj over P_t, in [0, 1].
      mass_in: the same over the keys of P_t in t's block.
      n: |P_t|, 0 where the query is not counted.
      n_in: those in t's block.
    """

    mass: Float[Array, "*N B H L"]
    mass_in: Float[Array, "*N B H L"]
    n: Int[Array, "*N B L"]
    n_in: Int[Array, "*N B L"]


@flax.struct.dataclass(repr=False)
class AttentionStats(Shown):
    """What each query's attention weights α_t look like. From a model, every field has a leading layer axis.

    Attributes:
      entropy_bits: −Σ_j α_tj log2 α_tj, from 0 to log2 n_keys.
      block_mass: Σ of α_tj over keys in t's block, global keys included, in [0, 1].
      local_mass: the same over keys that carry t's own block id and are neither global nor a sink; 0 for a
        global query.
      n_keys: |A_t|.
      n_in: keys of A_t in the block.
      n_local: those of them that `local_mass` counts.
      pointer_mass: with pointers, Σ of α_tj over those of earlier blocks, sinks excepted.
      n_pointers: with pointers, those keys.
      sink_mass: with sinks, Σ of α_tj over them; of a sink, over itself.
      n_sinks: with sinks, those keys.
      delta: on request, min over in-block keys − max over out-of-block keys of the scores τz, in nats; 0
        where n_in is 0 or n_keys: there is nothing to compare.
      weights: on request, α itself, [query, key], 0 outside A_t.
      in_block_entropy_bits: on request, entropy of α_t restricted to the block and made to sum to 1, from 0
        to log2 n_in.
      log_block_mass: on request, ln of block mass, at most 0, also where the mass itself rounds to 0; 0 for a
        query without a key in its block.
      pointed: where pointers are given, the statistics of what they point at.
      largest_score: on request, max of |s_tj| over A_t: the scores themselves, before margin and τ.
      outside_mass: on request, Σ of α_tj over the keys of A_t that are not inside: 1 − block_mass is
        rounding where little is outside.
    """

    entropy_bits: Float[Array, "*N B H L"]
    block_mass: Float[Array, "*N B H L"]
    local_mass: Float[Array, "*N B H L"]
    n_keys: Int[Array, "*N B L"]
    n_in: Int[Array, "*N B L"]
    n_local: Int[Array, "*N B L"]
    pointer_mass: Float[Array, "*N B H L"] | None = None
    n_pointers: Int[Array, "*N B L"] | None = None
    sink_mass: Float[Array, "*N B H L"] | None = None
    n_sinks: Int[Array, "*N B L"] | None = None
    delta: Float[Array, "*N B H L"] | None = None
    weights: Float[Array, "*N B H L L"] | None = None
    in_block_entropy_bits: Float[Array, "*N B H L"] | None = None
    log_block_mass: Float[Array, "*N B H L"] | None = None
    pointed: PointedStats | None = None
    largest_score: Float[Array, "*N B H L"] | None = None
    outside_mass: Float[Array, "*N B H L"] | None = None

    def card(self) -> Card:
        facts = {
            "queries": f"{shape(self.entropy_bits)}: layer, example, head, query",
            "entropy_bits": span(self.entropy_bits),
            "block_mass": span(self.block_mass),
            "asked for": ", ".join(
                name
                for name in (
                    "delta",
                    "weights",
                    "in_block_entropy_bits",
                    "log_block_mass",
                    "pointed",
                    "largest_score",
                    "outside_mass",
                )
                if getattr(self, name) is not None
            )
            or "nothing more",
        }
        return Card("AttentionStats", facts)


def attention_stats(
    scores: Float[Array, "B H L L"],
    logits: Float[Array, "B H L L"],
    weights: Float[Array, "B H L L"],
    relation: Relation,
    masks: Masks,
    *,
    gaps: Float[Array, "B H L L"] | None,
    request: StatsRequest,
    pointers: Pairs | None = None,
) -> AttentionStats:
    """Statistics of `weights` = softmax(`logits`), where logits are −inf outside A_t.

    Args:
      scores: before margin and τ.
      logits: as above.
      weights: as above.
      relation: blocks and documents.
      masks: of the relation, as the logits were made with them.
      gaps: where the request has delta: τz without the gate, whose gap at λ = 1 is infinite.
      request: what to make beside the first six statistics.
      pointers: [query, key] pairs whose attention is measured.
    """
    mask, inside = masks.attendable, masks.inside
    own, pointed, sunk = relation.own(), relation.pointed(), relation.sunk()
    # Pointers that are given are what is measured; those of the relation where none are.
    pairs = None if pointed is None else pointed[:, 0]
    if pointers is not None:
        pairs = pointers.whole()
    return AttentionStats(
        entropy_bits=_entropy_bits(logits, weights, mask),
        block_mass=jnp.sum(weights, axis=-1, where=inside & mask),
        local_mass=jnp.sum(weights, axis=-1, where=own & mask),
        n_keys=jnp.sum(mask, axis=-1)[:, 0],
        n_in=jnp.sum(mask & inside, axis=-1)[:, 0],
        n_local=jnp.sum(mask & own, axis=-1)[:, 0],
        pointer_mass=None if pointed is None else jnp.sum(weights, axis=-1, where=pointed & mask),
        n_pointers=None if pointed is None else jnp.sum(mask & pointed, axis=-1)[:, 0],
        sink_mass=None if sunk is None else jnp.sum(weights, axis=-1, where=sunk & mask),
        n_sinks=None if sunk is None else jnp.sum(mask & sunk, axis=-1)[:, 0],
        delta=None if gaps is None else _score_gap(gaps, mask, inside),
        in_block_entropy_bits=_in_block_entropy_bits(logits, mask & inside) if request.in_block else None,
        log_block_mass=_log_block_mass(logits, mask, inside) if request.log_mass else None,
        pointed=None if pairs is None else _pointed_stats(weights, mask, inside, pairs),
        largest_score=_largest(jnp.abs(scores), mask, 0.0) if request.largest else None,
        outside_mass=jnp.sum(weights, axis=-1, where=mask & ~inside) if request.outside else None,
    )


def _entropy_bits(
    logits: Float[Array, "B H L L"], weights: Float[Array, "B H L L"], mask: Bool[Array, "B 1 L L"]
) -> Float[Array, "B H L"]:
    """LSE − Σ αz with z relative to its maximum, so no 0 · log 0 arises and large logits lose no
    precision.
    """
    relative = logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    # Where the gate has shut a key of A_t out, its logit is −∞, and its weight 0: 0 · ∞ has no value.
    mask = mask & (relative > -jnp.inf)
    relative = jnp.where(mask, relative, 0.0)
    lse = jnp.log(jnp.sum(jnp.exp(relative), axis=-1, where=mask))
    return jnp.maximum(lse - inner(weights, relative), 0.0) * BITS_PER_NAT


def _in_block_entropy_bits(
    logits: Float[Array, "B H L L"], inside: Bool[Array, "B 1 L L"]
) -> Float[Array, "B H L"]:
    """Entropy of the softmax over in-block keys alone; 0 for a query without any (its keys may carry ids of
    their own).

    Not from the weights: in-block ones may all have rounded to 0 where the block has next to no mass.
    """
    some = jnp.any(inside, axis=-1, keepdims=True)
    within = jnp.where(inside | ~some, logits, -jnp.inf)
    return jnp.where(
        some[..., 0], _entropy_bits(within, jax.nn.softmax(within, axis=-1), inside | ~some), 0.0
    )


def _log_block_mass(
    logits: Float[Array, "B H L L"], mask: Bool[Array, "B 1 L L"], same: Bool[Array, "B 1 L L"]
) -> Float[Array, "B H L"]:
    """LSE over in-block keys − LSE over all: of the logits, because the weights may have rounded to 0."""
    inside = mask & same
    some = jnp.any(inside, axis=-1, keepdims=True)
    within = jax.nn.logsumexp(jnp.where(inside | ~some, logits, -jnp.inf), axis=-1)
    return jnp.where(some[..., 0], within - jax.nn.logsumexp(logits, axis=-1), 0.0)


def _pointed_stats(
    weights: Float[Array, "B H L L"],
    mask: Bool[Array, "B 1 L L"],
    same: Bool[Array, "B 1 L L"],
    pointers: Bool[Array, "B L L"],
) -> PointedStats:
    """Mass and size of P_t = A_t ∩ pointers without t itself, and of its part in the block."""
    pointed = mask & pointers[:, None] & ~jnp.eye(mask.shape[-1], dtype=bool)[None, None]
    inside = pointed & same
    return PointedStats(
        mass=jnp.sum(weights, axis=-1, where=pointed),
        mass_in=jnp.sum(weights, axis=-1, where=inside),
        n=jnp.sum(pointed, axis=-1)[:, 0],
        n_in=jnp.sum(inside, axis=-1)[:, 0],
    )


def _score_gap(
    scores: Float[Array, "B H L L"], mask: Bool[Array, "B 1 L L"], same: Bool[Array, "B 1 L L"]
) -> Float[Array, "B H L"]:
    """min in-block − max out-of-block score; 0 for a query without keys on one of the sides (it is not
    counted).
    """
    inside = -_largest(-scores, mask & same, -jnp.inf)
    outside = _largest(scores, mask & ~same, -jnp.inf)
    return jnp.where(jnp.any(mask & same, axis=-1) & jnp.any(mask & ~same, axis=-1), inside - outside, 0.0)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _largest(
    values: Float[Array, "B H L M"], mask: Bool[Array, "B 1 L M"], initial: float
) -> Float[Array, "B H L"]:
    """The largest value where the mask is, or `initial`.

    Its gradient goes to the first key that has it. That of jnp.max compares the maximum with values that the
    compiler may have made again, and finds none equal where they round otherwise.
    """
    return jnp.max(values, axis=-1, where=mask, initial=initial)


def _largest_forward(values: Array, mask: Array, initial: float) -> tuple[Array, tuple[Array, Array]]:
    return _largest(values, mask, initial), (values, mask)


def _largest_backward(initial: float, kept: tuple[Array, Array], given: Array) -> tuple[Array, None]:
    values, mask = kept
    place = jnp.argmax(jnp.where(mask, values, -jnp.inf), axis=-1)
    there = (place[..., None] == jnp.arange(values.shape[-1])[None, None, None]) & mask
    return jnp.where(there, given[..., None], 0.0), None


_largest.defvjp(_largest_forward, _largest_backward)
