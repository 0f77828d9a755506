"""CoNLL-U files as a corpus whose block ids come from the annotation: by tag, by sentence, or by clause."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from aila_jax.config import DataConfig
from aila_jax.data.conllu import UNKNOWN, Sentence, Word, parse_conllu
from aila_jax.data.documents import Corpus, Document
from aila_jax.data.file_contents import read_content
from aila_jax.data.text_files import FileText, read_splits

# The universal part-of-speech tags; a tag's place is its class, and a line end has the class after them.
TAGS = tuple("ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split())
CLASS_NAMES = (*TAGS, "line end")
# Relations whose dependent heads a clause, whatever their subtype.
CLAUSAL = ("root", "ccomp", "xcomp", "csubj", "advcl", "acl", "parataxis")


class BlockIds:
    """Block ids of one sentence after another, for the partition `given`.

    `sentences`: a number a sentence. `classes`: a number a universal part-of-speech tag, the same for all
    sentences, and one more for line ends. `constituents`: a number a clause. Numbers of sentences and clauses
    go on from one sentence, and one file, to the next.
    """

    def __init__(self, blocks: str):
        """`blocks`: `sentences`, `classes` or `constituents`."""
        self._blocks = blocks
        self._next = itertools.count()

    def of(self, sentence: Sentence, name: str) -> tuple[int, ...]:
        """The block id of every space-separated part of the sentence, and last that of its line end.

        Raises:
          ValueError: an annotation that the blocks need is missing or wrong; `name` is the file, for the
            message.
        """
        words = sentence.words
        if self._blocks == "classes":
            ids = [_class(word, name) for word in words] + [len(TAGS)]
        elif self._blocks == "sentences":
            ids = [next(self._next)] * (len(words) + 1)
        else:
            heads = clause_heads(words, name)
            # The line end closes the main clause.
            heads.append(next(number for number, word in enumerate(words, start=1) if word.head == 0))
            numbers = {head: next(self._next) for head in sorted(set(heads))}
            ids = [numbers[head] for head in heads]
        parts = [len(word.form.split(" ")) for word in words] + [1]
        return tuple(one for one, count in zip(ids, parts, strict=True) for _ in range(count))


def clause_heads(words: tuple[Word, ...], name: str) -> list[int]:
    """For every word the number of the word that heads its clause: itself, or the nearest of its heads that
    heads one.

    A word heads a clause by its relation (`CLAUSAL`, subtypes included), or as a `conj` of such a word if it
    is a verb or auxiliary, or has a subject or a copula of its own.

    Raises:
      ValueError: a head or relation is missing, or the heads are no tree with one root.
    Source: ours, from the relations of universaldependencies.org.
    """
    _check_tree(words, name)
    predicates = {word.head for word in words if _base(word) in ("nsubj", "csubj", "cop")}
    nearest: dict[int, int] = {}
    for start in range(1, len(words) + 1):
        for number in reversed(list(_path(words, start))):  # from the root down
            word = words[number - 1]
            above = nearest.get(word.head, 0)
            verbal = word.tag in ("VERB", "AUX") or number in predicates
            heads = _base(word) in CLAUSAL or (_base(word) == "conj" and verbal and above == word.head)
            nearest.setdefault(number, number if heads else above)
    return [nearest[number] for number in range(1, len(words) + 1)]


def _path(words: tuple[Word, ...], number: int) -> Iterator[int]:
    """The word and its heads up to the root; ends after as many steps as there are words."""
    for _ in words:
        yield number
        number = words[number - 1].head
        if number == 0:
            return


def _check_tree(words: tuple[Word, ...], name: str) -> None:
    for number, word in enumerate(words, start=1):
        where = f"{name}:{word.line}"
        if word.head < 0 or word.relation == UNKNOWN:
            raise ValueError(
                f"{where} has '_' for HEAD or DEPREL; blocks by clause need both of every word. "
                "Fix: annotate it, or set --config.data.conllu_blocks=sentences"
            )
        if (word.head == 0) != (_base(word) == "root"):
            raise ValueError(
                f"{where} has HEAD {word.head} with DEPREL {word.relation!r}; HEAD 0 and 'root' must stand"
                " together. Fix: correct one of them"
            )
        if words[list(_path(words, number))[-1] - 1].head != 0:
            raise ValueError(
                f"{where} has HEAD {word.head}, from which no path leads to a root; heads must be a tree."
                " Fix: correct the HEAD"
            )
    roots = [word.line for word in words if word.head == 0]
    if len(roots) != 1:
        raise ValueError(
            f"{name}:{roots[1]} has HEAD 0, which line {roots[0]} has too; a sentence must have 1 root. Fix:"
            " correct one of them"
        )


def _class(word: Word, name: str) -> int:
    if word.tag not in TAGS:
        raise ValueError(
            f"{name}:{word.line} has UPOS {word.tag!r}; it must be one of {', '.join(TAGS)} when blocks are"
            " classes. Fix: correct it, or set --config.data.conllu_blocks=sentences"
        )
    return TAGS.index(word.tag)


def _base(word: Word) -> str:
    """The relation without its subtype."""
    return word.relation.partition(":")[0]


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

    def read(path: Path) -> FileText:
        text, _ = read_content(path, config.file_kinds == "content")
        sentences = parse_conllu(text, str(path))
        blocks = [ids.of(sentence, str(path)) for sentence in sentences]
        return FileText(_documents(sentences, blocks, str(path)))

    return read_splits(config, read, cut_lines=False, piece="sentences")


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
