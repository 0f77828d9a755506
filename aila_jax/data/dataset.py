"""A corpus as token streams, with the tokenizer that made them: what training and evaluation read."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tokenizers
from jaxtyping import Int

from aila_jax.cards import Card, Shown
from aila_jax.config import DataConfig, require
from aila_jax.config.checks import check_flag, check_instance, check_text, check_whole
from aila_jax.data.cache import Arrays, cache_directory, key_of, load_or_build
from aila_jax.data.corpora import load_corpus
from aila_jax.data.documents import Corpus, Document, fingerprint
from aila_jax.data.packing import TokenStream, Windows, pack
from aila_jax.data.prompt_streams import prompt_streams
from aila_jax.data.tokenizer import Tokenizer, train_tokenizer
from aila_jax.data.tokenizer_file import read_tokenizer_file

# pieces encoded at a time: enough to keep the threads busy, without holding a whole corpus as Python integers
_CHUNK = 8192


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Shown):
    """Token streams of the splits `train`, `validation` and `test`.

    Attributes:
      name: the corpus.
      tokenizer: what made the tokens.
      splits: one stream a split.
      fingerprint: sha256 of all splits' text and of the tokenizer.
      given: what the blocks of the partition `given` are: `lines`, `fields` with line ends of their own, or
        an annotation's `classes` or `constituents`.
      notes: lines for people, as in `Corpus`.
    """

    name: str
    tokenizer: Tokenizer
    splits: dict[str, TokenStream]
    fingerprint: str
    given: str = "lines"
    notes: tuple[str, ...] = ()

    @property
    def described(self) -> tuple[str, ...]:
        """Name, tokens and share of each split, and the notes: a line each, for people."""
        total = sum(len(stream.tokens) for stream in self.splits.values())
        sizes = ", ".join(
            f"{split} {len(stream.tokens):,} ({len(stream.tokens) / total:.1%})"
            for split, stream in self.splits.items()
        )
        return (f"{self.name}: {sizes} tokens of {self.tokenizer.vocab_size:,} types", *self.notes)

    def windows(self, split: str, length: int, document_mask: bool, begin: str = "") -> Windows:
        """The split cut into windows of `length` tokens (see `packing.pack`), each with the token `begin`
        first where one is given.

        Raises:
          ValueError: an unknown split, a train split that does not fill one window, another split with no
            target, or a begin token that is no type of the tokenizer.
        """
        length, document_mask = check_whole("length", length, 1), check_flag("document_mask", document_mask)
        check_text("split", split, fix="split='validation'")
        if split not in self.splits:
            raise ValueError(
                f"split is {split!r}; it must be one of {', '.join(self.splits)}. Fix: use 'validation'"
            )
        stream = self.splits[split]
        fills = split == "train" and stream.prompts is None  # prompts are filled up
        found, least = len(stream.tokens), length + 1 if fills else 2
        if found < least:
            raise ValueError(
                f"split {split!r} of {self.name!r} has {found} tokens; it must have at least {least} "
                f"(model.length {length}). Fix: give more text, or lower --config.model.length"
            )
        number = self.tokenizer.type_id(begin) if begin else None
        return pack(stream, length, document_mask, self.tokenizer.fingerprint, number)

    def card(self) -> Card:
        facts = {
            split: f"{len(stream.tokens):,} tokens, {stream.words:,} words, {stream.bytes:,} bytes"
            for split, stream in self.splits.items()
        }
        facts["vocabulary"] = f"{self.tokenizer.vocab_size:,} types"
        return Card(f"Dataset {self.name}, {self.fingerprint[:12]}", facts)


def load_dataset(config: DataConfig, tokenizer: Tokenizer | None = None) -> Dataset:
    """Reads the corpus, trains its tokenizer unless one is given, and encodes all splits; both are cached on
    disk.

    Args:
      config: the data settings.
      tokenizer: that of a checkpoint. None: it is read from the file that `data.tokenizer` names, or one is
        trained, on the train split alone. (WikiText-2's published
        vocabulary of 33,278 types is over all three splits, but its train split holds every one of them.)

    Raises:
      ValueError: whatever is wrong with the files or settings, see the corpus readers.
    """
    require(
        isinstance(config, DataConfig),
        "config",
        type(config).__name__,
        "a DataConfig",
        "pass the data settings, as in model.config.data",
    )
    fix = "model.tokenizer, or leave it out to train one"
    check_instance("tokenizer", tokenizer, Tokenizer | None, "a Tokenizer or None", fix)
    corpus = load_corpus(config)
    directory = cache_directory(config.cache_dir) / "tokens"
    if tokenizer is None:
        own = config.own_tokenizer
        tokenizer = own_tokenizer(config) if own else _trained(config, corpus, directory)
    splits = {}
    asked = prompt_streams(tokenizer, corpus.splits, config.questions) if config.asks else {}
    digest = hashlib.sha256(tokenizer.fingerprint.encode())
    for split, documents in corpus.splits.items():
        text = fingerprint(documents)
        digest.update(text.encode())
        stream = asked[split] if asked else _encoded(tokenizer, documents, text, directory)
        if stream.prompts is not None:
            digest.update(stream.prompts.positions.tobytes() + stream.prompts.scored.tobytes())
        if documents[0].blocks is not None:
            stream = replace(stream, given_ids=_word_blocks_of(stream, tokenizer, documents))
            digest.update(stream.given_ids.tobytes())
        splits[split] = (
            stream if corpus.pointers is None else replace(stream, pointers=corpus.pointers[split])
        )
    return Dataset(
        corpus.name, tokenizer, splits, digest.hexdigest(), given_blocks(config, corpus), corpus.notes
    )


def given_blocks(config: DataConfig, corpus: Corpus) -> str:
    """What the corpus's own blocks are (`Dataset.given`)."""
    if config.corpus == "conllu":
        return "lines" if config.conllu_blocks == "sentences" else config.conllu_blocks
    pieces = (
        piece for documents in corpus.splits.values() for document in documents for piece in document.pieces
    )
    return "fields" if any("\n" in piece for piece in pieces) else "lines"


def encode_documents(tokenizer: Tokenizer, documents: Sequence[Document]) -> TokenStream:
    """The documents one after another, each piece followed by `<eos>`."""
    pieces = [piece for document in documents for piece in document.pieces]
    tokens, lengths = [], []
    for start in range(0, len(pieces), _CHUNK):
        encoded = tokenizer.encode_pieces(pieces[start : start + _CHUNK])
        lengths.append(np.array([len(ids) for ids in encoded]))
        tokens.append(np.concatenate([np.asarray(ids, np.int32) for ids in encoded]))
    tokens_a_piece = np.concatenate(lengths)
    piece_docs = np.repeat(
        np.arange(len(documents), dtype=np.int32), [len(document.pieces) for document in documents]
    )
    return TokenStream(
        tokens=np.concatenate(tokens),
        doc_ids=np.repeat(piece_docs, tokens_a_piece),
        given_ids=np.repeat(np.arange(len(pieces), dtype=np.int32), tokens_a_piece),
        words=sum(len(piece.split()) + piece.count("\n") + 1 for piece in pieces),
        bytes=sum(len(piece.encode()) + 1 for piece in pieces),
    )


def _word_blocks_of(
    stream: TokenStream, tokenizer: Tokenizer, documents: Sequence[Document]
) -> Int[np.ndarray, " T"]:
    """`word_blocks`, where the tokenizer cuts between words as these need it."""
    found = word_blocks(tokenizer, documents)
    limit = "one that reads a word alike alone, with the space before it, and in its line"
    fix = "set --config.data.tokenizer=bpe, or data.conllu_blocks=sentences"
    require(len(found) == len(stream.tokens), "data.tokenizer", str(tokenizer.spelling), limit, fix)
    return found


def word_blocks(tokenizer: Tokenizer, documents: Sequence[Document]) -> Int[np.ndarray, " T"]:
    """For every token of documents with blocks of their own, the block id of its word or line end.

    Words stand one space apart, where both tokenizers cut, so that a word's tokens are those of the word with
    the space before it.
    """
    ids = []
    pieces = [
        (piece, blocks)
        for document in documents
        for piece, blocks in zip(document.pieces, document.blocks or (), strict=True)
    ]
    for start in range(0, len(pieces), _CHUNK):
        chunk = pieces[start : start + _CHUNK]
        words = [
            f" {word}" if number else word
            for piece, _ in chunk
            for number, word in enumerate(piece.split(" "))
        ]
        # A word's <eos> is that of no line: one token less for each word, one more for each line.
        tokens = iter([len(found) - 1 for found in tokenizer.encode_pieces(words)])
        for _, blocks in chunk:
            counts = [*itertools.islice(tokens, len(blocks) - 1), 1]
            ids.append(np.repeat(np.asarray(blocks, np.int32), counts))
    return np.concatenate(ids)


def own_tokenizer(config: DataConfig) -> Tokenizer:
    """The user's tokenizer.json that `data.tokenizer` names."""
    return Tokenizer.from_json(read_tokenizer_file(config.tokenizer))


def _trained(config: DataConfig, corpus: Corpus, directory: Path) -> Tokenizer:
    documents = corpus.splits["train"]
    # The library's version is part of the key: another one may learn other merges.
    key = key_of(
        "tokenizer", config.tokenizer, config.vocab_size, tokenizers.__version__, fingerprint(documents)
    )

    def build() -> Arrays:
        return {"json": np.frombuffer(train_tokenizer(config, documents).to_json().encode(), np.uint8)}

    return Tokenizer.from_json(load_or_build(directory, key, build)["json"].tobytes().decode())


def _encoded(tokenizer: Tokenizer, documents: Sequence[Document], text: str, directory: Path) -> TokenStream:
    def build() -> Arrays:
        stream = encode_documents(tokenizer, documents)
        counts = np.array([stream.words, stream.bytes], np.int64)
        return {
            "tokens": stream.tokens,
            "doc_ids": stream.doc_ids,
            "given_ids": stream.given_ids,
            "counts": counts,
        }

    arrays = load_or_build(directory, key_of("stream", tokenizer.fingerprint, text), build)
    words, size = (int(count) for count in arrays["counts"])
    return TokenStream(arrays["tokens"], arrays["doc_ids"], arrays["given_ids"], words, size)
