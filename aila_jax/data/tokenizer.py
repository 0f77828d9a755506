"""Text to token ids and back: whitespace words, byte-level BPE or characters, made from the corpus in hand,
or a tokenizer.json of the user's.
"""

import collections
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from aila_jax.cards import Card, Shown
from aila_jax.config import DataConfig, require
from aila_jax.config.checks import check_text, plain, whole
from aila_jax.data.documents import Document
from aila_jax.data.tokenizer_file import BYTE_OF, EOS, SPACE, UNK, WORD_GAP, Spelling, check_tokenizer

_LONE_BYTES = re.compile("[\udc80-\udcff]+")  # what Python makes of bytes that are no UTF-8
_BYTE_TYPE = re.compile(r"<0x([0-9A-F]{2})>")


class Tokenizer(Shown):
    """A vocabulary with the rule that turns text into its ids; one type, `<eos>`, stands for a line end.

    Byte-level BPE reads any text and gives it back exactly. Characters are given back exactly but for those
    that are not known, which become `<unk>`. The word level reads whitespace-separated words,
    gives them back separated by single spaces, maps words that it does not know to `<unk>`, and takes the
    words `<eos>` and `<unk>` in a text for these two tokens, as the published WikiText files mean them.
    Others come from a file of the user's (docs/howto/tokenizer.md). No text becomes a special token of such a
    file, but a line end, which may be one.

    Attributes:
      eos_id: id of the line end.
      spelling: how types stand for text.
    """

    def __init__(self, text: str):
        """Reads a `tokenizer.json` of Hugging Face `tokenizers`.

        Raises:
          ValueError: the text is no such JSON, it has other parts than those that are read, or its vocabulary
            has no type for a line end.
        """
        check_text(
            "the tokenizer", text, "the text of a tokenizer.json", "Path('tokenizer.json').read_text()"
        )
        checked = check_tokenizer(text)
        try:
            self._model = _library_tokenizer(checked.text)
        except Exception as error:  # the library raises plain Exception
            raise ValueError(
                f"the tokenizer is {text[:40]!r}…, which cannot be read ({error}). Fix: pass the text of a"
                " tokenizer.json"
            ) from error
        self.spelling = checked.spelling
        # Kept as it came: another version of the library may write the same tokenizer differently, and the
        # fingerprint of a checkpoint's tokenizer must not depend on that.
        self._json = text
        self.eos_id: int = self._id(checked.line_end)
        self._unknown = checked.unknown

    def _id(self, symbol: str) -> int:
        """The id of a type that there is."""
        found = self._model.token_to_id(symbol)
        assert found is not None, "its file was checked"
        return found

    @classmethod
    def from_json(cls, text: str) -> "Tokenizer":
        """The tokenizer that `to_json` wrote. Raises ValueError like the constructor."""
        return cls(text)

    def to_json(self) -> str:
        """The text of a `tokenizer.json`, readable by Hugging Face `tokenizers` too."""
        return self._json

    @functools.cached_property
    def vocab_size(self) -> int:
        """V, the number of token types, `<eos>` and (word level) `<unk>` included."""
        return self._model.get_vocab_size()

    def type_id(self, name: str) -> int:
        """The id of a type, as its file spells it.

        Raises:
          ValueError: there is no such type.
        """
        found = self._model.token_to_id(name)
        limit, fix = f"one of its {self.vocab_size:,} types", "spell it as tokenizer.json does"
        require(found is not None, "the tokenizer's type", name, limit, fix)
        assert found is not None  # for mypy, which does not know `require`
        return found

    @functools.cached_property
    def fingerprint(self) -> str:
        """Sha256 of `to_json()`."""
        return hashlib.sha256(self._json.encode()).hexdigest()

    @property
    def byte_level(self) -> bool:
        """Whether types are runs of bytes, some of which are no whole character."""
        return self.spelling == Spelling.BYTES

    @property
    def spaced(self) -> bool:
        """Whether types are pieces of text that carry the space before a word, rather than whole words or
        single characters.
        """
        return self.spelling not in (Spelling.WORDS, Spelling.CHARACTERS)

    @functools.cached_property
    def types(self) -> tuple[str, ...]:
        """The text of each of the V types, by id, as it stands inside a line: with the space before it, if it
        has one (words have none); a line end for the line end; U+FFFD for bytes that are no whole character.
        """
        if self.spelling in (Spelling.METASPACE, Spelling.CONTINUED):
            texts = [self._piece(self._model.id_to_token(index) or "") for index in range(self.vocab_size)]
        else:
            ids = [[index] for index in range(self.vocab_size)]
            texts = self._model.decode_batch(ids, skip_special_tokens=False)
        return tuple("\n" if index == self.eos_id else text for index, text in enumerate(texts))

    def _piece(self, symbol: str) -> str:
        """The text of a type that is spelled with ▁ or ##."""
        if symbol in self._special:
            return symbol
        if self.spelling == Spelling.CONTINUED:
            return symbol.removeprefix("##") if symbol.startswith("##") else f" {symbol}"
        if found := _BYTE_TYPE.fullmatch(symbol):
            byte = int(found[1], 16)
            return chr(byte) if byte < 0x80 else "\ufffd"
        return symbol.replace(SPACE, " ")

    @functools.cached_property
    def _strips(self) -> bool:
        """Whether the space of a line's first token is none of the text."""
        begins = (index for index, text in enumerate(self.types) if text.startswith(" ") and text.strip())
        first = next(begins, None)
        return first is not None and not self.decode([first]).startswith(" ")

    @functools.cached_property
    def _added(self) -> frozenset[str]:
        """Types that are spelled as the text that they stand for, also where others are spelled in bytes."""
        return frozenset(token.content for token in self._model.get_added_tokens_decoder().values())

    @functools.cached_property
    def _special(self) -> frozenset[str]:
        added = self._model.get_added_tokens_decoder().values()
        return frozenset(token.content for token in added if token.special)

    @functools.cached_property
    def special_ids(self) -> dict[str, int]:
        """The special tokens, by their spelling; a line end's may be one."""
        return {spelled: self._id(spelled) for spelled in sorted(self._special)}

    def token_text(self, token: int) -> str:
        """What is shown of one token by itself: the text of its type, with bytes that are no whole character
        as <E4B8>. (`decode` of one token takes ▁ for the start of a text, and drops its space.)

        Raises:
          ValueError: an id outside the vocabulary.
        """
        return self.decode([token]) if self.byte_level else self.types[self._checked([token])[0]]

    def pieces(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The text of each token where it stands: with the space before it, if the text has one there, and
        without it at the start of a line. Together they are the text, but for what no one token says, such as
        half a character, which is written as <E4B8>.

        Raises:
          ValueError: an id outside the vocabulary.
        """
        found: list[str] = []
        for token in self._checked(ids):
            text, first = self.token_text(token), not found or found[-1] == "\n"
            if self.spelling == Spelling.WORDS and not first and token != self.eos_id:
                text = f" {text}"
            elif first and self._strips:
                text = text.removeprefix(" ")
            found.append(text)
        return tuple(found)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; each line end inside it is one `<eos>`, and none is added after it.

        Raises:
          ValueError: a text that UTF-8 cannot hold, such as the lone surrogates that Python makes of other
            bytes on a command line.
        """
        check_text("text", text, fix="encode one text at a time")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            found = ascii(text[error.start : error.end])
            raise ValueError(
                f"the text holds {found} at character {error.start}; it must be Unicode. Fix: give it as"
                " UTF-8"
            ) from None
        return next(self._encode_all([text]))

    def encode_pieces(self, pieces: Sequence[str]) -> list[list[int]]:
        """Token ids of every piece, each followed by one `<eos>`; many pieces at once are fast."""
        return [[*ids, self.eos_id] for ids in self._encode_all(pieces)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; `<eos>` becomes a line end. Bytes that are no whole character are written
        as <E4B8>, so that tokens that differ look different.

        Raises:
          ValueError: an id outside the vocabulary.
        """
        runs: list[list[int]] = [[]]
        for token in self._checked(ids):
            if token == self.eos_id:
                runs.append([])
            else:
                runs[-1].append(token)
        texts = self._model.decode_batch(runs, skip_special_tokens=False)
        if self.byte_level:  # the library writes U+FFFD for every such byte
            texts = [
                text_of(b"".join(self.token_bytes(run))) if "\ufffd" in text else text
                for run, text in zip(runs, texts, strict=True)
            ]
        return "\n".join(texts)

    def _checked(self, ids: Sequence[int]) -> list[int]:
        """The ids as Python's numbers; ValueError for others, and for one outside the vocabulary."""
        fix = "model.tokenizer.encode(text), say"
        known = hasattr(ids, "__iter__") and not isinstance(ids, str | bytes)
        ids = [plain(token) for token in ids] if known else ids
        require(known and all(map(whole, ids)), "ids", ids, "whole numbers: token ids of one text", fix)
        for token in ids:
            if not 0 <= token < self.vocab_size:
                raise ValueError(
                    f"token id is {token}; it must be from 0 to {self.vocab_size - 1}. Fix: decode with the"
                    " tokenizer that encoded"
                )
        return [int(token) for token in ids]

    def token_bytes(self, ids: Sequence[int]) -> list[bytes]:
        """The bytes that each of these byte-level tokens stands for; a newline for a line end."""
        symbols = [self._model.id_to_token(index) or "" for index in ids]
        return [
            b"\n"
            if index == self.eos_id
            else symbol.encode()
            if symbol in self._added
            else bytes(BYTE_OF[one] for one in symbol)
            for index, symbol in zip(ids, symbols, strict=True)
        ]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where each token of `encode(text)` stands: its first character, and the one after its last. A
        character that several tokens share belongs to each of them.
        """
        lines = text.split("\n")
        found, start = [], 0
        for line, encoded in zip(
            lines, self._model.encode_batch(lines, add_special_tokens=False), strict=True
        ):
            found += [(start + first, start + last) for first, last in encoded.offsets]
            start += len(line) + 1
            found.append((start - 1, start))
        return found[:-1]  # no line end follows the last line

    @functools.cached_property
    def spaces_inside(self) -> bool:
        """Whether types hold spaces of their own, so that a word may be several tokens."""
        return any(text != text.strip() for index, text in enumerate(self.types) if index != self.eos_id)

    def _encode_all(self, texts: Sequence[str]) -> Iterator[list[int]]:
        lines = [text.split("\n") for text in texts]
        encoded = iter(
            self._model.encode_batch_fast(
                [line for parts in lines for line in parts], add_special_tokens=False
            )
        )
        for parts in lines:
            ids = self._read(next(encoded).ids)
            for _ in parts[1:]:
                ids.append(self.eos_id)
                ids.extend(self._read(next(encoded).ids))
            yield ids

    def _read(self, ids: list[int]) -> list[int]:
        """What was read in a line: a special token that is spelled out in it is not known."""
        if not self._reserved or self._reserved.isdisjoint(ids):
            return list(ids)
        unknown = self._id(str(self._unknown))
        return [unknown if token in self._reserved else token for token in ids]

    @property
    def read_as(self) -> dict[int, int]:
        """What is read in place of a special token that a text spells out, by its id."""
        return {token: self._id(str(self._unknown)) for token in sorted(self._reserved)}

    @property
    def unknown_byte(self) -> str | None:
        """The type that stands for bytes that have none; None where every byte has one."""
        return self._unknown if self.byte_level else None

    @functools.cached_property
    def _reserved(self) -> frozenset[int]:
        """Ids that no text has: models that look whole pieces up would find special tokens too."""
        if not self.spaced or self._unknown is None:
            return frozenset()
        return frozenset(self._id(one) for one in self._special if one != self._unknown)

    def card(self) -> Card:
        kind = "byte-level BPE" if self.byte_level else str(self.spelling)
        facts = {
            "line end": f"{self._model.id_to_token(self.eos_id)}, id {self.eos_id}",
            "fingerprint": self.fingerprint[:12],
        }
        return Card(f"Tokenizer: {kind}, {self.vocab_size:,} types", facts)


@functools.lru_cache(maxsize=2)  # one of 100,000 types takes some 50 MB
def _library_tokenizer(text: str) -> tokenizers.Tokenizer:
    """Made once, however often it is loaded: each one leaves the words that it read in every thread of the
    library, for as long as the process lives.
    """
    model = tokenizers.Tokenizer.from_str(text)
    model.encode_special_tokens = True  # as the text that they are spelled with
    return model


def text_of(data: bytes) -> str:
    """The text of bytes; those that are no whole character in hexadecimal."""
    return _LONE_BYTES.sub(
        lambda found: f"<{found[0].encode('utf-8', 'surrogateescape').hex().upper()}>",
        data.decode("utf-8", "surrogateescape"),
    )


def train_tokenizer(config: DataConfig, documents: Iterable[Document]) -> Tokenizer:
    """A tokenizer of kind `config.tokenizer` with at most `config.vocab_size` types; the same text gives the
    same one.

    Args:
      config: the data settings.
      documents: what the vocabulary may see; `load_dataset` passes the train split.
    """
    lines = (line for document in documents for piece in document.pieces for line in piece.split("\n"))
    make = {"word": _train_words, "characters": _train_characters, "bpe": _train_bpe}[config.tokenizer]
    return Tokenizer(make(lines, config.vocab_size).to_str())


def _train_characters(lines: Iterable[str], vocab_size: int) -> tokenizers.Tokenizer:
    """BPE that never merges: one type a character, the most frequent ones."""
    counts: collections.Counter[str] = collections.Counter()
    for line in lines:
        counts.update(line)
    known = sorted(counts, key=lambda character: (-counts[character], character))[: vocab_size - 2]
    vocabulary = {character: index for index, character in enumerate([EOS, UNK, *known])}
    model = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=UNK))
    model.decoder = decoders.Fuse()
    return model


def _train_words(lines: Iterable[str], vocab_size: int) -> tokenizers.Tokenizer:
    counts: collections.Counter[str] = collections.Counter()
    for line in lines:
        counts.update(line.split())
    # Ties are broken by the word, so that the order in which words are met does not matter.
    words = sorted(
        (word for word in counts if word not in (EOS, UNK)), key=lambda word: (-counts[word], word)
    )
    vocabulary = {word: index for index, word in enumerate([EOS, UNK, *words[: vocab_size - 2]])}
    model = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    model.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(WORD_GAP), behavior="removed")
    return model


def _train_bpe(lines: Iterable[str], vocab_size: int) -> tokenizers.Tokenizer:
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = split
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learner.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=[EOS], initial_alphabet=alphabet, show_progress=False
        ),
    )
    # Training registers <eos> as a special token, which would also match the five letters in a text. Rebuilt
    # from its vocabulary and merges alone, the model keeps the id but reads "<eos>" as text: the round trip
    # stays exact.
    learned = json.loads(learner.to_str())["model"]
    merges = [tuple(merge) for merge in learned["merges"]]
    model = tokenizers.Tokenizer(models.BPE(vocab=learned["vocab"], merges=merges))
    model.pre_tokenizer = split
    model.decoder = decoders.ByteLevel()
    return model
