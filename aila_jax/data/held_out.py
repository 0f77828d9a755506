"""Held-out text: where a corpus has no validation or test split of its own, the end of its training text
becomes one.
"""

from collections.abc import Sequence

from aila_jax.data.documents import Document


def hold_out(
    documents: Sequence[Document], count: int, by_line: bool
) -> tuple[list[Document], list[Document]]:
    """The documents without the last `count` lines (or, unless `by_line`, documents), and those."""
    kept: list[Document] = []
    held: list[Document] = []
    left = _units(documents, by_line) - count
    for document in documents:
        size = _units([document], by_line)
        if size <= left:
            kept.append(document)
        elif left == 0:
            held.append(document)
        else:
            kept.append(document.part(0, left))
            held.append(document.part(left, size))
        left = max(0, left - size)
    return kept, held


def fill_splits(
    splits: dict[str, list[Document]],
    fractions: dict[str, float],
    by_line: bool,
    source: str,
    settings: dict[str, str],
    piece: str = "lines",
) -> dict[str, list[Document]]:
    """The splits, those without documents filled from the end of the training documents.

    Args:
      splits: by name, `train` among them.
      fractions: share of the training text for each split that may be empty.
      by_line: cut between lines; otherwise between documents, since a record is never cut.
      piece: what pieces are, for the message.
      source: the setting that names the training text.
      settings: for each split the setting that would give it a text of its own.

    Raises:
      ValueError: the text is too short to hold anything out.
    """
    total = _units(splits["train"], by_line)
    counts = {
        split: max(1, round(fraction * total)) for split, fraction in fractions.items() if not splits[split]
    }
    if sum(counts.values()) >= total:
        unit = piece if by_line else "documents"
        named = " and ".join(f"--config.data.{settings[split]}" for split in counts)
        raise ValueError(
            f"{source} has {total} {unit}; holding out {' and '.join(counts)} needs more than"
            f" {sum(counts.values())}. Fix: give more text, or set {named}"
        )
    filled = dict(splits)
    for split, count in counts.items():
        filled["train"], filled[split] = hold_out(filled["train"], count, by_line)
    return filled


def _units(documents: Sequence[Document], by_line: bool) -> int:
    return sum(len(document.pieces) for document in documents) if by_line else len(documents)
