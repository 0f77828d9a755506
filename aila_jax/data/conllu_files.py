"""The user's own annotated text: CoNLL-U files as a corpus whose blocks are the annotation."""

from pathlib import Path

from aila_jax.config import DataConfig
from aila_jax.data.conllu import Sentence, parse_conllu
from aila_jax.data.conllu_blocks import BlockIds
from aila_jax.data.documents import Corpus, Document, unix_line_ends
from aila_jax.data.text_files import decode_text, read_splits


def read_conllu_files(config: DataConfig) -> Corpus:
    """The corpus of `data.files`, `data.valid_files` and `data.test_files`, with blocks by
    `data.conllu_blocks`.

    A sentence is a piece: its words, one space apart. A document begins at each file and at each `# newdoc`.
    Files are divided and checked as those of `text`; what is held out without files of its own are the last
    sentences.

    Raises:
      ValueError: as `read_text_files`, `parse_conllu` and `BlockIds.of` do.
    """
    ids = BlockIds(config.conllu_blocks)

    def read(path: Path) -> list[Document]:
        text = unix_line_ends(decode_text(path.read_bytes(), path))
        sentences = parse_conllu(text, str(path))
        blocks = [ids.of(sentence, str(path)) for sentence in sentences]
        return _documents(sentences, blocks, str(path))

    return read_splits(config, read, piece="sentences")


def _documents(sentences: list[Sentence], blocks: list[tuple[int, ...]], name: str) -> list[Document]:
    starts = [
        number for number, sentence in enumerate(sentences) if number == 0 or sentence.document is not None
    ]
    documents = []
    for start, stop in zip(starts, [*starts[1:], len(sentences)], strict=True):
        pieces = tuple(" ".join(word.form for word in sentence.words) for sentence in sentences[start:stop])
        documents.append(
            Document(
                sentences[start].document or f"{name}, sentence {start + 1}",
                pieces,
                tuple(blocks[start:stop]),
            )
        )
    return documents
