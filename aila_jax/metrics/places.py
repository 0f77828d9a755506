"""How targets are scored by the place of their query in its block, as mergeable sums."""

from dataclasses import dataclass

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from aila_jax.loss.cross_entropy import TargetScores
from aila_jax.types import Array, Batch


@flax.struct.dataclass
class PlaceSums:
    """Sums over scored targets, by place (0 … P − 1) and by whether the query is the last token of its block
    (0 no, 1 yes).

    Attributes:
      loss: nats.
      correct: targets ranked first.
      targets: how many.
    """

    loss: Float[Array, "P 2"]
    correct: Int[Array, "P 2"]
    targets: Int[Array, "P 2"]


def places(
    block_ids: Int[Array, "B L"], positions: Int[Array, "B L"]
) -> tuple[Int[Array, "B L"], Bool[Array, "B L"]]:
    """The place of each position in its run of equal block ids, from 0, and whether it ends that run (or its
    row).

    Where `positions` start again at 0, so does the run: under a document mask a block ends with its document.
    """
    length = block_ids.shape[1]
    edge = jnp.ones_like(block_ids[:, :1], dtype=bool)
    changes = (block_ids[:, 1:] != block_ids[:, :-1]) | (positions[:, 1:] == 0)
    starts, ends = jnp.concatenate([edge, changes], axis=1), jnp.concatenate([changes, edge], axis=1)
    index = jnp.broadcast_to(jnp.arange(length), block_ids.shape)
    return index - jax.lax.cummax(jnp.where(starts, index, 0), axis=1), ends


def place_sums(scores: TargetScores, batch: Batch, block_ids: Int[Array, "B L"], count: int) -> PlaceSums:
    """The sums of one batch for places 0 … count − 1; later places count with the last one."""
    place, ends = places(block_ids, batch.positions)
    cell = 2 * jnp.minimum(place, count - 1) + ends
    member = (cell[..., None] == jnp.arange(2 * count)[None, None, :]) & (batch.weights > 0)[..., None]

    def over(values: Array) -> Array:
        return jnp.sum(jnp.where(member, values[..., None], 0), axis=(0, 1)).reshape(count, 2)

    return PlaceSums(over(scores.losses), over(scores.first.astype(jnp.int32)), over(jnp.ones_like(place)))


@dataclass(frozen=True)
class Part:
    """Means over some targets: their number, mean loss in nats, and the share ranked first; None where there
    is no target.
    """

    targets: int
    loss: float | None
    accuracy: float | None


def part(sums: PlaceSums, where: Bool[np.ndarray, "P 2"]) -> Part:
    """Merged host sums, divided once, over the cells that `where` marks."""
    targets = int(sums.targets[where].sum())
    if not targets:
        return Part(0, None, None)
    return Part(targets, float(sums.loss[where].sum() / targets), float(sums.correct[where].sum() / targets))


def last_and_others(sums: PlaceSums) -> tuple[Part, Part]:
    """The targets that follow a block's last token, and those that lie in the block themselves."""
    last = np.zeros(sums.targets.shape, bool)
    last[:, 1] = True
    return part(sums, last), part(sums, ~last)


def by_place(sums: PlaceSums) -> list[Part]:
    """One part for each place, 0 first."""
    return [
        part(sums, np.arange(len(sums.targets))[:, None] == np.full((1, 2), place))
        for place in range(len(sums.targets))
    ]
