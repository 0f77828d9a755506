"""The kinds of blocks: windows, segments, classes of token types, and ids given with the text."""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from aila_jax.cards import Card, Shown, shape
from aila_jax.config import require
from aila_jax.types import GLOBAL_ID, PADDING_ID, Array, Batch


@flax.struct.dataclass
class Windows:
    """Block id = position // size (paper: size 5).

    Attributes:
      size: positions a block, at least 1.
      global_first: give the first token of each document `GLOBAL_ID`, so that it belongs to every block.
    """

    size: int = flax.struct.field(pytree_node=False, default=5)
    global_first: bool = flax.struct.field(pytree_node=False, default=False)

    def __call__(self, batch: Batch) -> Int[Array, "B L"]:
        """Block ids of every position; PADDING_ID at padding. A pure function, usable inside jit."""
        return finish(jnp.asarray(batch.positions) // self.size, batch, self.global_first)


@flax.struct.dataclass(repr=False)
class Segments(Shown):
    """Block id = number of boundary tokens before t, so the boundary token closes its segment (ours).

    Counted from position 0: from the window's start, or, under a document mask, from the document's. A later
    token changes nothing.

    Attributes:
      boundary: whether a token of each type closes a segment.
      global_first: give the first token of each document `GLOBAL_ID`, so that it belongs to every block.
      vocabulary: fingerprint of the tokenizer whose types these are; empty where it is not known.
    """

    boundary: Bool[Array, "V"]
    global_first: bool = flax.struct.field(pytree_node=False, default=False)
    vocabulary: str = flax.struct.field(pytree_node=False, default="")

    def __call__(self, batch: Batch) -> Int[Array, "B L"]:
        """Block ids of every position; PADDING_ID at padding. A pure function, usable inside jit."""
        closes = jnp.asarray(self.boundary)[jnp.asarray(batch.tokens)].astype(jnp.int32)
        # jnp.cumsum is one operation that XLA's CPU compiler fuses into the L × L masks that read the ids,
        # and so does again for every pair.
        before = jax.lax.associative_scan(jnp.add, closes, axis=1) - closes
        index = jnp.arange(before.shape[1])[None, :]
        starts = index - jnp.asarray(batch.positions)
        return finish(before - jnp.take_along_axis(before, starts, axis=1), batch, self.global_first)

    def card(self) -> Card:
        facts = {
            "types that close one": _closing(self.boundary),
            "global first": self.global_first,
            "vocabulary": self.vocabulary[:12] or "not known",
        }
        return Card(f"Segments of {shape(self.boundary)}", facts)


@flax.struct.dataclass(repr=False)
class Classes(Shown):
    """Block id = class of the token's type (paper: part-of-speech classes).

    Attributes:
      table: class of each type, from 0.
      global_first: give the first token of each document `GLOBAL_ID`, so that it belongs to every block.
      names: of the classes, for people; may be empty.
      vocabulary: fingerprint of the tokenizer whose types these are; empty where it is not known.
      note: a line for people on where the classes come from; may be empty.
    """

    table: Int[Array, "V"]
    global_first: bool = flax.struct.field(pytree_node=False, default=False)
    names: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())
    vocabulary: str = flax.struct.field(pytree_node=False, default="")
    note: str = flax.struct.field(pytree_node=False, default="")

    def __call__(self, batch: Batch) -> Int[Array, "B L"]:
        """Block ids of every position; PADDING_ID at padding. A pure function, usable inside jit."""
        ids = jnp.asarray(self.table)[jnp.asarray(batch.tokens)]
        return finish(ids, batch, self.global_first)

    def card(self) -> Card:
        facts = {
            "names": ", ".join(self.names) or "none",
            "note": self.note or "none",
            "global first": self.global_first,
            "vocabulary": self.vocabulary[:12] or "not known",
        }
        return Card(f"Classes of {shape(self.table)}", facts)


@flax.struct.dataclass
class Given:
    """Block id = the id that packing carried beside the token: its line, field, record part, annotated block,
    or the caller's own number.

    Attributes:
      global_first: give the first token of each document `GLOBAL_ID`, so that it belongs to every block.
    """

    global_first: bool = flax.struct.field(pytree_node=False, default=False)

    def __call__(self, batch: Batch) -> Int[Array, "B L"]:
        """Block ids of every position; PADDING_ID at padding. A pure function, usable inside jit."""
        return finish(jnp.asarray(batch.given_ids), batch, self.global_first)


KINDS = Windows | Segments | Classes | Given


def _closing(boundary: Bool[Array, "V"]) -> str:
    known = isinstance(boundary, np.ndarray | jax.Array) and not isinstance(boundary, jax.core.Tracer)
    return f"{int(np.sum(np.asarray(boundary))):,}" if known else "not known"


def line_blocks(tokens: Sequence[int], eos_id: int) -> Int[np.ndarray, "L"]:
    """Block ids of a text that no corpus packed: a line end closes a block."""
    ends = np.asarray(tokens[:-1], np.int32) == eos_id
    return np.concatenate([[0], np.cumsum(ends)]).astype(np.int32)


def text_blocks(given: str, tokens: Sequence[int], eos_id: int) -> list[int]:
    """Block ids of a text that came without them, for the partition `given`: those that it would have had in
    training.

    Args:
      given: what blocks are there (`Dataset.given`), or `unknown`.
      tokens: of the text.
      eos_id: the line end.

    Raises:
      ValueError: the text by itself does not say where its blocks end.
    """
    fix = "pass block_ids in Python, one for each token"
    require(
        given in ("lines", "fields", "unknown"),
        "block_ids",
        None,
        f"given for a text where blocks are the annotation's {given}, which a text by itself does not have",
        fix,
    )
    ids = line_blocks(tokens, eos_id).tolist()
    are = "are" if given == "fields" else "may be"  # an older checkpoint does not say
    require(
        given == "lines" or ids[-1] == 0,  # without a line end a text is one block, whatever blocks are
        "block_ids",
        None,
        f"given for a text with line ends where blocks {are} fields with line ends of their own",
        f'{fix}, or give the text as a record: {{"blocks": ["…", "…"]}}',
    )
    return ids


def document_starts(doc_ids: Int[Array, "B L"]) -> Bool[Array, "B L"]:
    """True at the first token of each document inside its window (position 0 included)."""
    previous = jnp.concatenate([jnp.full_like(doc_ids[:, :1], PADDING_ID), doc_ids[:, :-1]], axis=1)
    return (doc_ids != previous).at[:, 0].set(True)


def finish(ids: Int[Array, "B L"], batch: Batch, global_first: bool) -> Int[Array, "B L"]:
    """Puts GLOBAL_ID at document starts where asked, and PADDING_ID at padding."""
    doc_ids = jnp.asarray(batch.doc_ids)
    if global_first:
        ids = jnp.where(document_starts(doc_ids), GLOBAL_ID, ids)
    return jnp.where(doc_ids == PADDING_ID, PADDING_ID, ids).astype(jnp.int32)
