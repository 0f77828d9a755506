"""A partition for people to read: what its blocks hold, or where they end, and real text cut by it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Int

from aila_jax import formats
from aila_jax.columns import Column
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.partition.build import Partition
from aila_jax.partition.kinds import Classes, Segments
from aila_jax.partition.rules import PLAIN, Rules
from aila_jax.partition.type_entropy import TypeEntropy
from aila_jax.types import PADDING_ID, Batch

EDGE = " ‖ "  # between two blocks of an example


def _words(frequent: Sequence[tuple[str, float]]) -> str:
    """The texts alone, in a row."""
    return " ".join(text.strip() or repr(text) for text, _ in frequent)


@dataclass(frozen=True)
class ClassEntry:
    """One class.

    Attributes:
      number: its block id.
      name: empty where classes have none.
      share: of the training split's tokens, in [0, 1].
      types: how many token types it has that occur there.
      frequent: the most frequent ones as text, with their share of the class.
    """

    number: Annotated[int, Column("class")]
    name: str
    share: Annotated[float, Column(format=formats.hundredths_percent)]
    types: Annotated[int, Column(format=formats.count)]
    frequent: Annotated[tuple[tuple[str, float], ...], Column("most frequent", _words)]


@dataclass(frozen=True)
class BoundaryEntry:
    """One token type that closes segments.

    Attributes:
      token: its id.
      text: what it stands for.
      count: occurrences in the training split.
      share: of all boundary tokens there, in [0, 1].
      entropy: of the next token, ÷ log2 V (`next_token_entropy`).
    """

    token: int
    text: Annotated[str, Column("type", repr)]
    count: Annotated[int, Column(format=formats.count)]
    share: Annotated[float, Column("of all boundaries", formats.tenths_percent)]
    entropy: Annotated[float, Column("next-token entropy", formats.fixed)]


@dataclass(frozen=True, eq=False)
class Classified:
    """How often each token type stands in each class in the training split.

    Attributes:
      counts: of occurrences.
      names: of the classes; none where they are numbered only.
      note: where they come from.
    """

    counts: Int[np.ndarray, "G V"]
    names: tuple[str, ...] = ()
    note: str = ""

    @staticmethod
    def by_table(partition: Classes, counts: Int[np.ndarray, "V"]) -> "Classified":
        """A type's occurrences are all in its class."""
        table = np.asarray(partition.table)
        made = np.zeros((max(int(table.max()) + 1, len(partition.names)), len(table)), np.int64)
        made[table, np.arange(len(table))] = counts
        return Classified(made, tuple(partition.names), partition.note)

    @staticmethod
    def by_occurrence(
        tokens: Int[np.ndarray, " T"], classes: Int[np.ndarray, " T"], names: tuple[str, ...], vocab_size: int
    ) -> "Classified":
        """Each occurrence has a class of its own, as in annotated text."""
        made = np.bincount(classes.astype(np.int64) * vocab_size + tokens, minlength=len(names) * vocab_size)
        return Classified(made.reshape(-1, vocab_size), names, "classes of the text's own annotation")


@dataclass(frozen=True)
class BlockListing:
    """What there is to read of a partition.

    Attributes:
      classes: largest share first; none where blocks are no classes.
      boundaries: most frequent first; none where blocks are not segments.
      examples: stretches of text with ‖ between blocks; for classes, each token with /class behind it.
      note: where classes come from; empty where nothing is to be said.
    """

    classes: tuple[ClassEntry, ...]
    boundaries: tuple[BoundaryEntry, ...]
    examples: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class ListingSize:
    """How much of a partition is listed.

    Attributes:
      top: types of each class, and boundary types.
      examples: stretches of text.
      words: tokens of each stretch.
    """

    top: int
    examples: int
    words: int = 40


def list_blocks(
    partition: Partition,
    tokenizer: Tokenizer,
    counts: Int[np.ndarray, "V"],
    entropy: TypeEntropy,
    batches: Iterable[Batch],
    *,
    size: ListingSize,
    classified: Classified | None = None,
    rules: Rules = PLAIN,
) -> BlockListing:
    """Lists a partition.

    Args:
      partition: what is listed.
      tokenizer: of its tokens.
      counts: occurrences of each type in the training split.
      entropy: of its next tokens.
      batches: where the examples are taken from, each from the start of a window.
      size: how much is listed.
      classified: where blocks are classes, what they hold.
      rules: of the relation; the examples show the blocks of its first layer, with ▼ after pointers there and
        ■ after sinks.
    """
    names = None if classified is None else classified.names
    return BlockListing(
        classes=() if classified is None else _classes(classified, tokenizer, size.top),
        boundaries=(
            _boundaries(partition, tokenizer, counts, entropy, size.top)
            if isinstance(partition, Segments)
            else ()
        ),
        examples=tuple(_examples(partition, tokenizer, batches, size, names, rules)),
        note="" if classified is None else classified.note,
    )


def type_text(tokenizer: Tokenizer, token: int) -> str:
    """A token type alone, a line end as ⏎."""
    return tokenizer.token_text(token).replace("\n", "⏎")


def _classes(classified: Classified, tokenizer: Tokenizer, top: int) -> tuple[ClassEntry, ...]:
    tokens = classified.counts.sum(axis=1)
    entries = []
    for number in np.argsort(-tokens, kind="stable"):
        counts = classified.counts[number]
        members = _frequent(counts > 0, counts)
        frequent = tuple(
            (type_text(tokenizer, int(token)), float(counts[token] / tokens[number]))
            for token in members[:top]
        )
        name = classified.names[number] if classified.names else ""
        entries.append(
            ClassEntry(
                int(number), name, float(tokens[number] / max(tokens.sum(), 1.0)), len(members), frequent
            )
        )
    return tuple(entries)


def _boundaries(
    partition: Segments, tokenizer: Tokenizer, counts: Int[np.ndarray, "V"], entropy: TypeEntropy, top: int
) -> tuple[BoundaryEntry, ...]:
    boundary = np.asarray(partition.boundary)
    every = max(int(counts[boundary].sum()), 1)
    return tuple(
        BoundaryEntry(
            int(token),
            type_text(tokenizer, int(token)),
            int(counts[token]),
            float(counts[token] / every),
            float(entropy.entropy[token]),
        )
        for token in _frequent(boundary, counts)[:top]
    )


def _frequent(which: Bool[np.ndarray, "V"], counts: Int[np.ndarray, "V"]) -> Int[np.ndarray, " found"]:
    """The types of `which` that occur, most frequent first, then by id."""
    found = np.flatnonzero(which & (counts > 0))
    return found[np.argsort(-counts[found], kind="stable")]


def _examples(
    partition: Partition,
    tokenizer: Tokenizer,
    batches: Iterable[Batch],
    size: ListingSize,
    names: Sequence[str] | None,
    rules: Rules,
) -> list[str]:
    found: list[str] = []
    for batch in batches:
        first = rules(batch, partition).of_layer(0)
        block_ids, tokens = np.asarray(first.block_ids), np.asarray(batch.tokens)
        marks = np.full(tokens.shape, "", "<U1")
        for where, mark in ((first.pointers, "▼"), (first.sinks, "■")):
            if where is not None:
                marks[np.asarray(where)] = mark
        for row in range(len(tokens)):
            if len(found) == size.examples:
                return found
            kept = np.flatnonzero(np.asarray(batch.doc_ids)[row] != PADDING_ID)[: size.words]
            if len(kept):
                shown = tokens[row, kept], block_ids[row, kept], marks[row, kept]
                found.append(_marked(tokenizer, *shown, names))
    return found


def _marked(
    tokenizer: Tokenizer,
    tokens: Int[np.ndarray, "n"],
    block_ids: Int[np.ndarray, "n"],
    marks: np.ndarray,
    names: Sequence[str] | None,
) -> str:
    """Text in one line; `names` are those of classes, empty for numbered ones, and None where blocks are
    stretches of text. `marks` stand after their tokens.
    """
    if names is not None:
        labels = (names[block] if names and block >= 0 else str(block) for block in block_ids)
        return " ".join(
            f"{type_text(tokenizer, int(t)).strip()}{mark}/{label}"
            for t, label, mark in zip(tokens, labels, marks, strict=True)
        )
    edges = np.flatnonzero(np.diff(block_ids)) + 1
    parts = [
        _text(tokenizer, part, own).replace("\n", "⏎").strip()
        for part, own in zip(np.split(tokens, edges), np.split(marks, edges), strict=True)
    ]
    numbers = {int(block): number for number, block in enumerate(dict.fromkeys(block_ids.tolist()), start=1)}
    if len(parts) > len(
        numbers
    ):  # a block comes back, as a clause does after one inside it: which, its number says
        parts = [
            f"[{numbers[int(block_ids[start])]}] {part}"
            for start, part in zip([0, *edges], parts, strict=True)
        ]
    return EDGE.join(parts)


def _text(tokenizer: Tokenizer, tokens: Int[np.ndarray, "n"], marks: np.ndarray) -> str:
    """The text of tokens, each mark after its token."""
    if not (marks != "").any():
        return tokenizer.decode([int(token) for token in tokens])
    pieces = tokenizer.pieces([int(token) for token in tokens])
    return "".join(f"{piece}{mark}" for piece, mark in zip(pieces, marks, strict=True))
