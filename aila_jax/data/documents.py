"""What every corpus reader returns: named splits of documents, each a sequence of pieces."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Prompt:
    """What the pieces of a document are that is a prompt: a header, passages, then questions and answers in
    turn.

    Attributes:
      passages: their number.
      equal: whether all passages have the same positions.
    """

    passages: int
    equal: bool = False


@dataclass(frozen=True)
class Document:
    """One text that stands on its own: an article, a file, a record, a docstring.

    Attributes:
      title: a name for people; it is not part of the text.
      pieces: the text, cut into the units that the partition `Given` uses as blocks: lines, or the fields of
        a record. Each piece ends with a line end that is not written in it. A piece may hold line ends of its
        own.
      blocks: where the text comes with blocks of its own, for each piece the block id of each of its words,
        which stand one space apart, and last that of its line end. None: each piece is a block.
      prompt: where the document is a prompt, what its pieces are; they are then put together as they are,
        with a line end after each answer alone.
    """

    title: str
    pieces: tuple[str, ...]
    blocks: tuple[tuple[int, ...], ...] | None = None
    prompt: Prompt | None = None

    def __post_init__(self) -> None:
        if not self.pieces:
            raise ValueError(
                f"document {self.title!r} has 0 pieces; it must have at least 1. Fix: leave empty"
                " documents out"
            )
        if self.blocks is None:
            return
        for piece, ids in zip(self.pieces, self.blocks, strict=True):
            if len(ids) != len(piece.split()) + 1 or " ".join(piece.split()) != piece:
                raise ValueError(
                    f"document {self.title!r} has {len(ids)} block ids for {piece[:40]!r}; it must have one"
                    f" for each of its {len(piece.split())} words, one space apart, and one for the line end."
                    " Fix: correct them"
                )

    def part(self, start: int, stop: int) -> "Document":
        """The document of the pieces from `start` to `stop`, blocks included."""
        return Document(
            self.title, self.pieces[start:stop], None if self.blocks is None else self.blocks[start:stop]
        )

    @property
    def text(self) -> str:
        """The pieces, each with its line end."""
        return "".join(f"{piece}\n" for piece in self.pieces)


@dataclass(frozen=True)
class Corpus:
    """Named splits of documents.

    Attributes:
      name: the corpus, as in `DataConfig.corpus`.
      splits: `train`, `validation` and `test`, each in the order of the source.
      pointers: on rule corpora, for each split the pointers of its word-level token stream
        (`TokenStream.pointers`).
      notes: what was left out or read in another way than its name says, a line each, for people.
    """

    name: str
    splits: dict[str, tuple[Document, ...]]
    pointers: dict[str, Int[np.ndarray, " T"]] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if tuple(self.splits) != SPLITS:
            raise ValueError(
                f"corpus {self.name!r} has splits {tuple(self.splits)}; they must be {SPLITS}. Fix: name and"
                " order them so"
            )
        for split, documents in self.splits.items():
            if not documents:
                raise ValueError(
                    f"split {split!r} of corpus {self.name!r} has 0 documents; it must have at least 1. Fix:"
                    " give it more text"
                )


def fingerprint(documents: Iterable[Document]) -> str:
    """Sha256 of the documents' pieces and of where each piece and document ends; titles do not count."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(f"document {len(document.pieces)}\n".encode())
        for piece in document.pieces:
            data = piece.encode()
            # The length keeps ("ab", "c") and ("a", "bc") apart.
            digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()


def unix_line_ends(text: str) -> str:
    """The text with the line ends of every system written as one newline."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
