"""The reach of a text, or of a continuation, where attention outside is exactly 0."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Bool, Int

from aila_jax.config import Config, LayerBlocks, require
from aila_jax.config.checks import check_flag
from aila_jax.guarantees.certificates import HARD_NATS, Certificate, certificate
from aila_jax.guarantees.flow import condition_of, with_generated
from aila_jax.guarantees.key_counts import counts_of_every_text
from aila_jax.inference.dial import check_hard, dial_value
from aila_jax.inference.generation import Continuation
from aila_jax.inference.inputs import begin_ids, read_text
from aila_jax.inference.reach import Reach, check_positions
from aila_jax.inference.spans import text_tokens
from aila_jax.inference.windows import padded_window, windows_read
from aila_jax.model.network import Network
from aila_jax.partition.relations import ROWS, Relation, reach_of_rows
from aila_jax.types import PADDING_ID, Array, Batch

if TYPE_CHECKING:
    from aila_jax.inference.language_model import LanguageModel


@dataclass(frozen=True)
class HardEnd:
    """A setting at which attention outside is exactly 0 in every layer and head.

    Attributes:
      lam: λ.
      tau: τ.
      why: what makes it so.
      fused: the last layer, and it alone, is global.
    """

    lam: float
    tau: float
    why: str
    fused: bool


def hard_end(model: "LanguageModel", lam: Any, tau: Any, hard: bool | None) -> HardEnd:
    """The setting; ValueError where it is not exactly hard in every layer and head, with the first that is
    not, or where a global layer is not the last.
    """
    lam, tau, config = dial_value(lam, "lam"), dial_value(tau, "tau"), model.config
    hard = config.model.hard if hard is None else check_flag("hard", hard)
    check_hard(hard, lam)
    fused = _last_is_global(config)
    found = certificate(model.params, config, lam, tau, counts=counts_of_every_text(config, 1), hard=hard)
    if not found.non_interfering:
        raise ValueError(_not_hard(found, config))
    if hard:
        why = "hard attention"
    elif bool(np.isposinf(found.nats).all()):
        why = "the gate, which λ = 1 shuts"
    else:
        why = f"a gap of {float(found.nats.min()) / tau:.0f} · τ nats or more, of which {HARD_NATS:g} are enough"
    return HardEnd(lam, tau, why, fused)


def _last_is_global(config: Config) -> bool:
    """Whether the last layer is global; ValueError where another one is.

    What is claimed is claimed by block: after a global layer every position holds all that came before, and
    no later layer takes it away. So below a layer with blocks it says the opposite of what its blocks say.
    """
    layers = [blocks == LayerBlocks.ALL for blocks, _ in config.relation.layer_blocks]
    limit = (
        "without 'all' but in the last layer for a flow claim: after a global layer everything is everywhere"
    )
    fix = "put 'all' last (late fusion), or ask certify for bounds on attention by layer"
    require(not any(layers[:-1]), "relation.layers", config.relation.layers, limit, fix)
    return bool(layers and layers[-1])


def _not_hard(found: Certificate, config: Config) -> str:
    layer, head = (int(one[0]) for one in np.nonzero(~found.is_hard))
    share, nats = float(found.gap.share[layer, head]), float(found.nats[layer, head])
    limit = (
        "such that attention outside is exactly 0 in every layer and head for a flow claim: in layer"
        f" {layer}, head {head} it imposes {share:.3g} of the margin, and scores inside lead by {nats:.3g} nats"
        f" at least, of which exactly 0 needs {HARD_NATS * found.tau:g}"
    )
    shut = config.model.margin.gate > 0 and config.model.layer_beta == 0
    gate = "lam=1, where the gate is shut" if shut else "lam=1 of a model with model.margin.gate=1"
    beta = "" if config.model.layer_beta == 0 else " and model.layer_beta=0"
    return f"lam is {found.gap.lam:g}; it must be {limit}. Fix: {gate}{beta}, or lam=1 with hard=True"


def reach_of_text(
    model: "LanguageModel",
    text: str | Sequence[int],
    end: HardEnd,
    *,
    block_ids: Any = None,
    doc_ids: Any = None,
    generated: Sequence[int] = (),
) -> Reach:
    """The reach of every prediction of one text. Arguments and errors: see `LanguageModel.reach`."""
    tokens, ids = read_text(model, text, block_ids)
    batch = model.batch([tokens], None if ids is None else [ids], None if doc_ids is None else [doc_ids])
    drawn = check_positions("generated", generated, len(tokens))
    hard = hard_layers(model, batch)
    real = np.flatnonzero(np.asarray(batch.doc_ids)[0] != PADDING_ID)
    condition = condition_of(
        model.config, given_ids=block_ids is not None, given_documents=doc_ids is not None
    )

    def made(hard: HardLayers, below: Reach | None) -> Reach:
        closed = with_generated(hard.reach(range(len(tokens)))[0], drawn)
        return Reach(
            pieces=_pieces(model, text, tokens),
            block_ids=hard.block_ids[0],
            positions=real,
            can=closed[real],
            generated=drawn,
            condition=condition,
            why_hard=end.why,
            lam=end.lam,
            tau=end.tau,
            source=f"{model.run}, step {model.step}",
            below=below,
        )

    fused = end.fused and len(hard.relations) > 1
    return made(hard, made(hard.without_last(), None) if fused else None)


def reach_of_continuation(model: "LanguageModel", made: Continuation, end: HardEnd) -> Reach:
    """The reach of every token that was drawn, in the windows that it was drawn in.

    A window that slid has forgotten its older half, but what its generated tokens had read stays in their
    reach.
    """
    for name, here in (("lam", end.lam), ("tau", end.tau)):
        was = getattr(made, name)
        require(here == was, name, here, f"{was:g}, at which this was generated", f"{name}={was:g}")
    ids, first = list(made.ids), made.prompt_tokens
    reach = np.zeros((len(ids), len(ids)), bool)
    blocks, known = np.full(len(ids), PADDING_ID, np.int64), 0
    begun = ids[:1] == begin_ids(model)
    for window in windows_read(first, len(ids), model.config.model.length, begun):
        part, lead = slice(window.start, window.end), window.lead
        used, there = lead + window.end - window.start, list(made.blocks[part])
        batch, _ = padded_window(
            [*ids[:lead], *ids[part]], [*there[:lead], *there], model.config.model.length
        )
        hard = hard_layers(model, batch)
        seen = hard.reach(range(lead + window.first - window.start, used))[0, :, :used]
        reach[window.first : window.end, part] = seen[:, lead:]
        reach[window.first : window.end, :lead] = seen[:, :lead]
        own, fresh = hard.block_ids[0, lead:used], max(known, window.start)
        numbered = np.where(own >= 0, own + blocks.max() + 1, own)
        blocks[fresh : window.end], known = numbered[fresh - window.start :], window.end
    last = len(ids) - 1  # nothing has read it
    blocks[last] = blocks[last - 1]
    drawn, positions = np.arange(len(ids)) >= first, np.arange(first - 1, last)
    return Reach(
        pieces=_pieces(model, None, ids),
        block_ids=blocks,
        positions=positions,
        can=with_generated(reach, drawn)[positions],
        generated=drawn,
        condition=condition_of(model.config, given_ids=False, given_documents=False),
        why_hard=end.why,
        lam=end.lam,
        tau=end.tau,
        source=f"{model.run}, step {model.step}",
    )


@dataclass(frozen=True, eq=False)
class HardLayers:
    """What each layer's hard attention reads.

    Attributes:
      relations: of each of the N layers.
      block_ids: of the partition; under a document mask those of further documents are numbered on.
    """

    relations: tuple[Relation, ...]
    block_ids: Int[np.ndarray, "B L"]

    def without_last(self) -> "HardLayers":
        """What is below the last layer."""
        return HardLayers(self.relations[:-1], self.block_ids)

    def reach(self, queries: range) -> Bool[np.ndarray, "B T L"]:
        """Which tokens can have influenced the logits at these positions."""
        return np.concatenate(list(self.reach_by_rows(queries)), axis=1)

    def reach_by_rows(self, queries: range) -> Iterator[Bool[np.ndarray, "B T L"]]:
        """The same, so many queries at a time."""
        rows = len(self.block_ids)
        for first in range(queries.start, queries.stop, ROWS):
            at = np.minimum(np.arange(first, first + ROWS), queries.stop - 1)
            found = _reach(self.relations, np.broadcast_to(at, (rows, ROWS)))
            yield np.asarray(found)[:, : queries.stop - first]


def hard_layers(model: "LanguageModel", batch: Batch) -> HardLayers:
    """What every layer's hard attention reads of the rows of a batch."""
    masked = model.config.model.document_mask
    relations, ids = _relations(model.network, batch, masked)
    ids = np.asarray(ids, np.int64)
    if masked:
        docs = np.asarray(batch.doc_ids)
        ids = np.where(ids >= 0, ids + (docs - docs.min(axis=1, keepdims=True)) * (ids.max() + 1), ids)
    return HardLayers(relations if len(relations) > 1 else relations * model.config.model.n_layers, ids)


@partial(jax.jit, static_argnames="masked")
def _relations(network: Network, batch: Batch, masked: bool) -> tuple[tuple[Relation, ...], Array]:
    blocks = network.blocks(batch)
    found = (blocks.of_layer(at, batch.doc_ids if masked else None) for at in range(len(blocks.layers)))
    return tuple(found), blocks.ids


@jax.jit
def _reach(relations: tuple[Relation, ...], at_BxT: Int[Array, "B T"]) -> Bool[Array, "B T L"]:
    return reach_of_rows(relations, at_BxT)


def _pieces(model: "LanguageModel", text: Any, tokens: Sequence[int]) -> tuple[str, ...]:
    return text_tokens(model.tokenizer, text if isinstance(text, str) else None, tokens).pieces
