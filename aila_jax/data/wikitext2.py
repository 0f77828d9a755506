"""WikiText-2, word level (Merity et al., 2016): 600 + 60 + 60 Wikipedia articles, checked against the published counts."""

import re
from pathlib import Path

from aila_jax.data.documents import Document

# An article begins at a level-1 heading that opens the file or follows a blank line.
_HEADING = re.compile(r" = (?!=)(.*)(?<!=) = ")


def split_articles(text: str) -> tuple[Document, ...]:
    """The articles of one file, their lines as pieces; lines before the first heading belong to the first article."""
    documents: list[tuple[str, list[str]]] = [("", [])]
    after_blank = True
    for line in text.removesuffix("\n").split("\n"):
        heading = _HEADING.fullmatch(line) if after_blank else None
        if heading and any(piece.strip() for piece in documents[-1][1]):
            documents.append((heading[1], []))
        elif heading:
            documents[-1] = (heading[1], documents[-1][1])
        documents[-1][1].append(line)
        after_blank = not line.strip()
    return tuple(Document(title, tuple(lines)) for title, lines in documents)


def read_wikitext2(data_dir: str) -> dict[str, tuple[Document, ...]]:
    files = {"train": "wiki.train.tokens", "validation": "wiki.valid.tokens", "test": "wiki.test.tokens"}
    return {split: split_articles(Path(data_dir, name).read_bytes().decode()) for split, name in files.items()}
