"""Text to token ids and back: whitespace words, or byte-level BPE, both trained on the corpus in hand."""

import collections
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from aila_jax.cards import Card, Shown
from aila_jax.config import DataConfig, require
from aila_jax.config.checks import check_text, plain, whole
from aila_jax.data.documents import Document
from aila_jax.json_files import loads

EOS = "<eos>"
UNK = "<unk>"
# Byte-level types are written with a visible character for each byte: itself where it is one, else the next
# free one from U+0100 on (Radford et al., 2019, as in `tokenizers`).
_SHOWN = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_HIDDEN = tuple(byte for byte in range(256) if byte not in _SHOWN)
_BYTES = {chr(byte): byte for byte in _SHOWN} | {
    chr(0x100 + place): byte for place, byte in enumerate(_HIDDEN)
}
_LONE_BYTES = re.compile("[\udc80-\udcff]+")  # what Python makes of bytes that are no UTF-8
# What str.split() calls whitespace; the library's WhitespaceSplit leaves out the separators U+001C to U+001F.
WORD_GAP = r"[\s\x{1c}-\x{1f}\x{85}]+"
# The parts of a tokenizer that are read: those that are made below, now or in earlier versions.
COMPONENTS: dict[str, tuple[str | None, ...]] = {
    "model": ("BPE", "WordLevel"),
    "normalizer": (None,),
    "pre_tokenizer": (None, "ByteLevel", "Split", "WhitespaceSplit"),
    "post_processor": (None,),
    "truncation": (None,),
    "padding": (None,),
    "decoder": (None, "ByteLevel"),
}


class Tokenizer(Shown):
    """A vocabulary with the rule that turns text into its ids; `<eos>` stands for a line end.

    Byte-level BPE reads any text and gives it back exactly. The word level reads whitespace-separated words,
    gives them back separated by single spaces, maps words that it does not know to `<unk>`, and takes the
    words `<eos>` and `<unk>` in a text for these two tokens, as the published WikiText files mean them.

    Attributes:
      eos_id: id of the line end.
    """

    def __init__(self, text: str):
        """Reads a `tokenizer.json` of Hugging Face `tokenizers`.

        Raises:
          ValueError: the text is no such JSON, it has other parts than those that are made here, or its
            vocabulary has no `<eos>`.
        """
        check_text(
            "the tokenizer", text, "the text of a tokenizer.json", "Path('tokenizer.json').read_text()"
        )
        checked = check_components(text)
        try:
            self._model = tokenizers.Tokenizer.from_str(checked)
        except Exception as error:  # the library raises plain Exception
            raise ValueError(
                f"the tokenizer is {text[:40]!r}…, which cannot be read ({error}). Fix: pass the text of a"
                " tokenizer.json"
            ) from error
        eos_id = self._model.token_to_id(EOS)
        if eos_id is None:
            raise ValueError(
                f"the tokenizer has no {EOS} among its {self._model.get_vocab_size()} types; a line end needs"
                " it. Fix: train it with aila_jax"
            )
        # Kept as it came: another version of the library may write the same tokenizer differently, and the
        # fingerprint of a checkpoint's tokenizer must not depend on that.
        self._json = text
        self.eos_id: int = eos_id

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

    @functools.cached_property
    def fingerprint(self) -> str:
        """Sha256 of `to_json()`."""
        return hashlib.sha256(self._json.encode()).hexdigest()

    @functools.cached_property
    def byte_level(self) -> bool:
        """Whether types are pieces of text, spaces included (byte-level BPE), rather than whole words."""
        return isinstance(self._model.decoder, decoders.ByteLevel)

    @functools.cached_property
    def types(self) -> tuple[str, ...]:
        """The text of each of the V types, by id: a line end for `<eos>`; U+FFFD for bytes that are no whole
        character.
        """
        texts = self._model.decode_batch(
            [[index] for index in range(self.vocab_size)], skip_special_tokens=False
        )
        return tuple("\n" if index == self.eos_id else text for index, text in enumerate(texts))

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
        fix = "model.tokenizer.encode(text), say"
        known = hasattr(ids, "__iter__") and not isinstance(ids, str | bytes)
        ids = [plain(token) for token in ids] if known else ids
        require(known and all(map(whole, ids)), "ids", ids, "whole numbers: token ids of one text", fix)
        runs: list[list[int]] = [[]]
        for token in ids:
            if not 0 <= token < self.vocab_size:
                raise ValueError(
                    f"token id is {token}; it must be from 0 to {self.vocab_size - 1}. Fix: decode with the"
                    " tokenizer that encoded"
                )
            if token == self.eos_id:
                runs.append([])
            else:
                runs[-1].append(int(token))
        texts = self._model.decode_batch(runs, skip_special_tokens=False)
        if self.byte_level:  # the library writes U+FFFD for every such byte
            texts = [
                self._with_bytes(run) if "\ufffd" in text else text
                for run, text in zip(runs, texts, strict=True)
            ]
        return "\n".join(texts)

    def _with_bytes(self, ids: Sequence[int]) -> str:
        """The text of byte-level tokens, bytes that are no whole character in hexadecimal."""
        symbols = "".join(self._model.id_to_token(index) or "" for index in ids)
        data = bytes(_BYTES[symbol] for symbol in symbols)
        return _LONE_BYTES.sub(
            lambda found: f"<{found[0].encode('utf-8', 'surrogateescape').hex().upper()}>",
            data.decode("utf-8", "surrogateescape"),
        )

    def _encode_all(self, texts: Sequence[str]) -> Iterator[list[int]]:
        lines = [text.split("\n") for text in texts]
        encoded = iter(
            self._model.encode_batch_fast(
                [line for parts in lines for line in parts], add_special_tokens=False
            )
        )
        for parts in lines:
            ids = list(next(encoded).ids)
            for _ in parts[1:]:
                ids.append(self.eos_id)
                ids.extend(next(encoded).ids)
            yield ids

    def card(self) -> Card:
        kind = "byte-level BPE" if self.byte_level else "words"
        facts = {"line end": f"{EOS}, id {self.eos_id}", "fingerprint": self.fingerprint[:12]}
        return Card(f"Tokenizer: {kind}, {self.vocab_size:,} types", facts)


def check_components(text: str) -> str:
    """A tokenizer.json with nothing in it but what was checked: a key that is there twice is there once.

    It may be a stranger's: a pattern such as `(a+)+$` would take for ever on some texts.

    Raises:
      ValueError: it has parts that this project does not make.
    """
    try:
        stored = loads(text)
    except ValueError:
        return text  # the library says what is wrong with it
    if not isinstance(stored, dict) or not isinstance(stored.get("model"), dict):
        return text
    fix = "train it with aila_jax"
    for part, allowed in COMPONENTS.items():
        value = stored.get(part)
        kind = str(value.get("type", "of no type")) if isinstance(value, dict) else value
        require(kind in allowed, f"the tokenizer's {part}", _short(kind), f"one of {allowed}", fix)
    ids = stored["model"].get("vocab")
    ids = list(ids.values()) if isinstance(ids, dict) else []
    numbered = all(type(one) is int for one in ids) and sorted(ids) == list(range(len(ids)))
    require(numbered, "the tokenizer's ids", _short(ids), "0, 1, 2 and so on", fix)
    dropout = stored["model"].get("dropout")
    require(not dropout, "the tokenizer's dropout", _short(dropout), "none: one text has one encoding", fix)
    split = stored.get("pre_tokenizer")
    if isinstance(split, dict) and split.get("type") == "Split":
        pattern = split.get("pattern")
        require(
            pattern == {"Regex": WORD_GAP}, "the tokenizer's pattern", _short(pattern), repr(WORD_GAP), fix
        )
    return json.dumps(stored)


def _short(value: Any) -> str:
    return str(value)[:80]


def train_tokenizer(config: DataConfig, documents: Iterable[Document]) -> Tokenizer:
    """A tokenizer of kind `config.tokenizer` with at most `config.vocab_size` types; the same text gives the
    same one.

    Args:
      config: the data settings.
      documents: what the vocabulary may see; `load_dataset` passes the train split.
    """
    lines = (line for document in documents for piece in document.pieces for line in piece.split("\n"))
    model = (
        _train_words(lines, config.vocab_size)
        if config.tokenizer == "word"
        else _train_bpe(lines, config.vocab_size)
    )
    return Tokenizer(model.to_str())


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
