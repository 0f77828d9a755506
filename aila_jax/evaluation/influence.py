"""Influence: how far the prediction moves when tokens outside the query's block are others. Attention mass is
not influence.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from aila_jax.config import require
from aila_jax.config.options import InfluenceOptions
from aila_jax.data.dataset import Dataset
from aila_jax.data.pipeline import take
from aila_jax.evaluation.resampling import Queries, choose_queries, resampled_texts
from aila_jax.guarantees.gaps import all_finite
from aila_jax.guarantees.influence import kl_nats
from aila_jax.inference.corpus import windows_of
from aila_jax.inference.dial import dial_lams, dial_values
from aila_jax.inference.language_model import LanguageModel
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.output import output_weights
from aila_jax.model.stats import StatsRequest
from aila_jax.partition.rules import Blocks
from aila_jax.progress import Progress
from aila_jax.training.sharding import SPLIT, WHOLE, Sharding, batch_sharding
from aila_jax.types import Array, Batch


@dataclass(frozen=True)
class Moved:
    """How far predictions moved when the tokens of one side of the block were resampled, over the queries
    that have such tokens.

    Attributes:
      positions: queries.
      tokens: mean number of tokens resampled for one of them.
      kl: mean over queries and draws of KL(next token as it was ‖ after resampling), nats.
      error: standard error of that mean over queries.
      spread: standard deviation over draws of the mean over queries.
    """

    positions: int
    tokens: float
    kl: float
    error: float
    spread: float


@dataclass(frozen=True, eq=False)
class InfluenceCell:
    """One λ.

    Attributes:
      lam: λ.
      tau: τ.
      hard: block attention only.
      draws: of the resampled tokens.
      outside: resampled are the keys of A_t that are inside for t in no layer: with plain blocks, outside t's
        block.
      inside: those inside in at least one layer, other than t; None where no query has any.
      outside_paired: `outside` over the queries of `inside` alone, so that the two compare.
      block_mass: attention inside the block of each layer and head, mean over the queries, in the text as it
        is.
      out_mass: attention outside it, added up by itself, since 1 − block_mass is rounding where little is
        outside.
      reach: whether the keys beyond the relation's reach are fewer than those outside, so that they were
        resampled too.
      beyond: those; None where fewer than two queries have any, or they were not.
    """

    lam: float
    tau: float
    hard: bool
    draws: int
    outside: Moved
    inside: Moved | None
    outside_paired: Moved | None
    block_mass: Float[np.ndarray, "N H"]
    out_mass: Float[np.ndarray, "N H"]
    reach: bool = False
    beyond: Moved | None = None


def influence(
    model: LanguageModel,
    dataset: Dataset,
    options: InfluenceOptions = InfluenceOptions(),
    quiet: bool = False,
) -> list[InfluenceCell]:
    """Mean KL divergence of the next-token distribution when tokens outside the query's block are resampled,
    at each λ.

    For each of so many queries t, drawn from those with a key outside their block: every key of A_t outside
    the block is replaced by a token drawn from the unigram distribution of the training split; blocks and
    pointers stay what they were; the prediction at t alone is compared. The same queries and tokens serve
    every λ, and one compilation does.

    Args:
      model: a loaded checkpoint.
      dataset: encoded with the model's tokenizer.
      options: λ, queries, draws, and which text is read.
      quiet: no progress.

    Raises:
      ValueError: a value outside its limits, more positions than the split has, blocks that hold every key,
        or another tokenizer.
    Source: ours (docs/influence.md).
    """
    config, reading = model.config, options.reading(model.config)
    lams, draws, seed = dial_lams(config, options.lams, reading.hard), options.draws, options.seed
    fix = "load a checkpoint from before training diverged"
    require(all_finite(model.params), "parameters", "not finite", "finite numbers", fix)
    windows = windows_of(model, dataset, reading.split)
    sharding = batch_sharding(reading.batch_size, "sweep.batch_size")
    by_default = options.positions == InfluenceOptions.positions
    queries = choose_queries(model, windows, options.positions, seed, or_fewer=by_default)
    positions = len(queries.at)
    if positions < options.positions and not quiet:
        print(f"positions {positions}: all with a key outside their block that split {reading.split!r} has")
    texts = resampled_texts(queries, dataset.splits["train"].tokens, draws, seed)
    measure = Measure(model, sharding, reading.batch_size, options.tau, reading.hard)
    with Progress(len(lams) * draws * len(queries.sides) * positions, "text", quiet=quiet) as progress:
        return [measure.cell(lam, queries, texts, progress) for lam in lams]


@dataclass(frozen=True)
class Measure:
    """Runs the model over texts, batch by batch.

    The text as it is and its resampled forms pass through the same rows of one program, so that a prediction
    that does not depend on the resampled tokens comes out with the same bits. Masses are another program's.
    """

    model: LanguageModel
    sharding: Sharding
    batch_size: int
    tau: float
    hard: bool

    def cell(
        self, lam: float, queries: Queries, texts: Int[np.ndarray, "draws S P L"], progress: Progress
    ) -> InfluenceCell:
        """Everything at one λ."""
        draws, sides = len(texts), len(queries.sides)
        total = len(queries.at)
        kl = np.zeros((sides, draws, total))
        mass: list[np.ndarray] = []
        for rows in self._rows(total):
            here = slice(0, min(self.batch_size, total - rows[0]))
            masses = self._run(lam, queries, queries.windows.tokens, rows, masses=True)
            before = self._run(lam, queries, queries.windows.tokens, rows)
            mass.append(masses[here])
            for draw, side in np.ndindex(draws, sides):
                after = self._run(lam, queries, texts[draw][side], rows)
                kl[side, draw, rows[here]] = kl_nats(before, after)[here]
                progress.advance(len(rows[here]))
        some = np.asarray(queries.resampled.any(axis=-1))
        counts = queries.resampled.sum(axis=-1)

        def over(side: int, which: np.ndarray) -> Moved | None:
            return moved(kl[side][:, which], counts[side][which]) if which.sum() >= 2 else None

        inside, outside = np.moveaxis(np.concatenate(mass).astype(np.float64).mean(axis=0), -1, 0)
        cell = InfluenceCell(
            lam,
            self.tau,
            self.hard,
            draws,
            outside=moved(kl[0], counts[0]),
            inside=over(1, some[1]),
            outside_paired=over(0, some[1]),
            block_mass=inside,
            out_mass=outside,
            reach=sides > 2,
            beyond=over(2, some[2]) if sides > 2 else None,
        )
        progress.report(f"λ {lam:g}, KL outside {cell.outside.kl:.4g} nats")
        return cell

    def _rows(self, total: int) -> Iterator[Int[np.ndarray, "B"]]:
        """Numbers of the rows of each batch; the last batch is filled up with its first row."""
        for start in range(0, total, self.batch_size):
            rows = np.arange(start, start + self.batch_size)
            yield np.where(rows < total, rows, start)

    def _run(
        self, lam: float, queries: Queries, tokens: Array, rows: Array, masses: bool = False
    ) -> np.ndarray:
        """What `prediction_at` or, with `masses`, `masses_at` returns."""
        batch = take(replace(queries.windows, tokens=tokens), rows)
        dial = Dial(dial_values(lam, "lam", len(rows)), dial_values(self.tau, "tau", len(rows)))
        blocks = jax.tree.map(lambda array: array[rows], queries.blocks)
        given = self.sharding.shard((batch, blocks, queries.at[rows].astype(np.int32), dial))
        found_at, mesh = masses_at if masses else prediction_at, self.sharding.mesh
        return np.asarray(found_at(self.model.network, self.model.params, *given, self.hard, mesh))


@partial(jax.jit, static_argnames=("hard", "mesh"))
def prediction_at(
    network: Network,
    params: Any,
    batch: Batch,
    blocks: Blocks,
    at: Int[Array, "B"],
    dial: Dial,
    hard: bool,
    mesh: Mesh,
) -> Float[Array, "B V"]:
    """Next-token logits at one position of each row.

    Blocks and pointers are given, whatever the tokens are.
    """

    def on_device(params: Any, batch: Batch, blocks: Blocks, at: Array, dial: Dial) -> Array:
        output = network.on_blocks(blocks)(params, batch, dial, Request(logits=False, hard=hard))
        embedding = output_weights(params).astype(output.features.dtype)
        features = output.features[jnp.arange(len(at)), at]
        return jnp.einsum("bd,vd->bv", features, embedding, preferred_element_type=jnp.float32)

    return _split(on_device, mesh)(params, batch, blocks, at, dial)


@partial(jax.jit, static_argnames=("hard", "mesh"))
def masses_at(
    network: Network,
    params: Any,
    batch: Batch,
    blocks: Blocks,
    at: Int[Array, "B"],
    dial: Dial,
    hard: bool,
    mesh: Mesh,
) -> Float[Array, "B N H 2"]:
    """The attention of one position of each row inside and outside; arguments as of `prediction_at`."""
    request = Request(logits=False, stats=StatsRequest(outside=True), hard=hard)

    def on_device(params: Any, batch: Batch, blocks: Blocks, at: Array, dial: Dial) -> Array:
        stats = network.on_blocks(blocks)(params, batch, dial, request).stats
        assert stats is not None and stats.outside_mass is not None, "they are asked for"
        masses_NxBxHxLx2 = jnp.stack([stats.block_mass, stats.outside_mass], axis=-1)
        return masses_NxBxHxLx2.transpose(1, 3, 0, 2, 4)[jnp.arange(len(at)), at]

    return _split(on_device, mesh)(params, batch, blocks, at, dial)


def _split(on_device: Callable[..., Array], mesh: Mesh) -> Callable[..., Array]:
    """The same on every device of the mesh, each with its rows and the whole parameters."""
    specs = (WHOLE, *[SPLIT] * 4)
    return jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=SPLIT, check_vma=False)


def moved(kl: Float[np.ndarray, "draws P"], tokens: Int[np.ndarray, "P"]) -> Moved:
    """The summary of `kl` over at least two draws and two queries."""
    each = kl.mean(axis=0)
    return Moved(
        positions=kl.shape[1],
        tokens=float(tokens.mean()),
        kl=float(each.mean()),
        error=float(each.std(ddof=1) / np.sqrt(kl.shape[1])),
        spread=float(kl.mean(axis=1).std(ddof=1)),
    )
