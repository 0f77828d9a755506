"""What of a `tokenizer.json` is read, and how its types are spelled.

The file may be a stranger's: a pattern such as `(a+)+$` would take for ever on some texts, and a replacement
could make a text of one word fill the memory. So a tokenizer is made of the parts that are listed here, with
the arguments that are listed, and of no others (docs/howto/tokenizer.md).
"""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aila_jax.config import require, user_path
from aila_jax.json_files import MAX_BYTES, loads

EOS = "<eos>"
UNK = "<unk>"
SPACE = "▁"
END_OF_TEXT = "<|endoftext|>"
# What str.split() calls whitespace; the library's WhitespaceSplit leaves out the separators U+001C to U+001F.
WORD_GAP = r"[\s\x{1c}-\x{1f}\x{85}]+"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_MARKS_AND_GAPS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3_PATTERN = rf"{_CONTRACTIONS}\p{{N}}{{1,3}}{_MARKS_AND_GAPS}"
QWEN2_PATTERN = rf"{_CONTRACTIONS}\p{{N}}{_MARKS_AND_GAPS}"
# Patterns that are read: ours, and those of Llama 3 and Qwen 2, before byte-level BPE.
PATTERNS = (WORD_GAP, LLAMA3_PATTERN, QWEN2_PATTERN)
FIX = "train it with aila_jax, or take one of the kinds that docs/howto/tokenizer.md lists"
ALL_BYTES = {"ByteLevel", "Split", "Digits", "Punctuation"}  # what cuts a text and leaves nothing of it out
MAX_TYPES, MAX_STAGES = 2**20, 8

# Each part's kinds, and for some of them what their arguments must be.
Kinds = Mapping[str, Mapping[str, tuple[Any, ...]]]
NORMALIZERS: Kinds = {
    **{kind: {} for kind in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "BertNormalizer")},
    "Prepend": {"prepend": (SPACE,)},
    "Replace": {"pattern": ({"String": " "},), "content": (SPACE,)},
}
PRE_TOKENIZERS: Kinds = {
    **{kind: {} for kind in ("WhitespaceSplit", "Whitespace", "BertPreTokenizer", "Digits", "Punctuation")},
    "ByteLevel": {"add_prefix_space": (False,)},
    "Split": {"pattern": tuple({"Regex": pattern} for pattern in PATTERNS)},
    "Metaspace": {"replacement": (SPACE,)},
}
DECODERS: Kinds = {
    **{kind: {} for kind in ("ByteLevel", "Fuse", "ByteFallback")},
    "Metaspace": {"replacement": (SPACE,)},
    "WordPiece": {"prefix": ("##",)},
    "Replace": {"pattern": ({"String": SPACE},), "content": (" ",)},
    "Strip": {"content": (" ",), "start": (0, 1), "stop": (0,)},
}
MODELS: Kinds = {
    "BPE": {
        "dropout": (None, 0.0),  # one text has one encoding
        "continuing_subword_prefix": (None, ""),
        "end_of_word_suffix": (None, ""),
    },
    "WordLevel": {},
    "WordPiece": {"continuing_subword_prefix": ("##",)},
    "Unigram": {},
}


class Spelling(enum.StrEnum):
    """How types stand for text."""

    WORDS = "words"
    BYTES = "byte-level pieces"
    METASPACE = "pieces with ▁"
    CONTINUED = "pieces with ##"
    CHARACTERS = "characters"


@dataclass(frozen=True)
class TokenizerFile:
    """A tokenizer.json that was checked.

    Attributes:
      text: the same tokenizer with nothing in it but what was checked: a key that is there twice is there
        once, and special tokens that the file would add to every text are not added.
      spelling: of its types.
      line_end: the type that stands for one.
      unknown: the type of what is not known; None where everything is.
    """

    text: str
    spelling: Spelling
    line_end: str
    unknown: str | None


def read_tokenizer_file(path: str | Path) -> str:
    """The text of a user's tokenizer.json.

    Raises:
      ValueError: no such file, or one that is too large or no UTF-8.
    """
    file, fix = user_path(path, "data.tokenizer"), "correct the path, or set --config.data.tokenizer=bpe"
    require(file.is_file(), "data.tokenizer", str(path), "the path of a file that is there", fix)
    size = file.stat().st_size
    limit = f"at most {MAX_BYTES:,} bytes"
    require(size <= MAX_BYTES, f"the size of {str(path)!r}", size, limit, "take a smaller vocabulary")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{str(path)!r} is not UTF-8 (byte {error.start}); it must be a tokenizer.json. Fix: save it as UTF-8"
        ) from None


def check_tokenizer(text: str) -> TokenizerFile:
    """The parts of a tokenizer, all of them known.

    Raises:
      ValueError: it is no tokenizer.json, has a part that is not read, or no type for a line end.
    """
    stored = _parsed(text)
    model = stored["model"]
    parts = {
        "normalizer": (NORMALIZERS, "normalizers"),
        "pre_tokenizer": (PRE_TOKENIZERS, "pretokenizers"),
        "decoder": (DECODERS, "decoders"),
    }
    kinds = {name: _check_part(name, stored.get(name), *allowed) for name, allowed in parts.items()}
    for name in ("truncation", "padding"):  # a text would be cut, or of one word fill the memory
        require(stored.get(name) is None, f"the tokenizer's {name}", _short(stored.get(name)), "null", FIX)
    _check_kind("model", {"type": _model_kind(model), **model}, MODELS)
    types = _types(model) | _check_added(stored.get("added_tokens") or [])
    _check_ids(types, model, stored.get("added_tokens") or [])
    spelling = _spelling(kinds["pre_tokenizer"], kinds["decoder"], model)
    unknown = _unknown(spelling, model, types)
    stored["post_processor"] = None
    if spelling == Spelling.BYTES and unknown is not None:
        stored["model"] = {**model, "unk_token": unknown}
    return TokenizerFile(json.dumps(stored), spelling, _line_end(spelling, model, types), unknown)


def _parsed(text: str) -> dict[str, Any]:
    try:
        stored = loads(text)
    except ValueError as error:
        reason = str(error)
    else:
        reason = "it has no model"
        if isinstance(stored, dict) and isinstance(stored.get("model"), dict):
            return stored
    raise ValueError(
        f"the tokenizer is {text[:40]!r}…, which cannot be read ({reason}). Fix: pass the text of a"
        " tokenizer.json"
    )


def _check_part(name: str, part: Any, allowed: Kinds, inner: str) -> tuple[str, ...]:
    """The kinds of a part's stages, each of them known; none where there is no such part."""
    if part is None:
        return ()
    stages = [part]
    if isinstance(part, dict) and part.get("type") == "Sequence":
        stages = found if isinstance(found := part.get(inner), list) else []
        limit = f"a sequence of 1 to {MAX_STAGES} stages"
        require(0 < len(stages) <= MAX_STAGES, f"the tokenizer's {name}", _short(part), limit, FIX)
    for stage in stages:
        _check_kind(name, stage, allowed)
    return tuple(stage["type"] for stage in stages)


def _check_kind(name: str, stage: Any, allowed: Kinds) -> None:
    kind = stage.get("type") if isinstance(stage, dict) else None
    known = isinstance(kind, str) and kind in allowed
    limit = f"one of {', '.join(allowed)}"
    require(known, f"the tokenizer's {name}", _short(kind if kind is not None else stage), limit, FIX)
    for argument, values in allowed[str(kind)].items():
        value, one = stage.get(argument), " or ".join(map(repr, values))
        what = f"the tokenizer's {argument} of {name} {kind}"
        require(any(value == right for right in values), what, _short(value), one, FIX)


def _model_kind(model: dict[str, Any]) -> Any:
    """Files of old versions do not name it."""
    return model.get("type") or ("BPE" if "merges" in model else None)


def _types(model: dict[str, Any]) -> set[str]:
    """The contents of the vocabulary."""
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        return set(vocabulary)
    pieces = vocabulary if isinstance(vocabulary, list) else []
    return {one[0] for one in pieces if isinstance(one, list) and one and isinstance(one[0], str)}


def _check_added(added: Any) -> set[str]:
    """The contents of the added tokens; those that text is searched for take no space around them away."""
    right = isinstance(added, list) and all(
        isinstance(one, dict) and isinstance(one.get("content"), str) and one["content"] for one in added
    )
    require(right, "the tokenizer's added_tokens", _short(added), "a list of tokens with a content", FIX)
    for one in added:
        for name in ("lstrip", "rstrip", "single_word"):
            what = f"the tokenizer's {name} of {one['content'][:40]!r}"
            plain = bool(one.get("special")) or not one.get(name)
            require(plain, what, one.get(name), "false for a token that is not special", FIX)
    return {one["content"] for one in added}


def _check_ids(types: set[str], model: dict[str, Any], added: list[dict[str, Any]]) -> None:
    """One id a type, from 0 on without a gap."""
    vocabulary = model.get("vocab")
    ids = dict(vocabulary) if isinstance(vocabulary, dict) else {}
    if isinstance(vocabulary, list):
        ids = {one[0]: number for number, one in enumerate(vocabulary) if isinstance(one, list) and one}
    agree = all(ids.setdefault(one["content"], one.get("id")) == one.get("id") for one in added)
    values = list(ids.values())
    numbered = all(type(one) is int for one in values) and sorted(values) == list(range(len(values)))
    whole = bool(values) and agree and ids.keys() == types
    require(numbered and whole, "the tokenizer's ids", _short(values), "0, 1, 2 and so on", FIX)
    limit = f"at most {MAX_TYPES:,}"
    require(len(values) <= MAX_TYPES, "the tokenizer's number of types", len(values), limit, FIX)


def _spelling(pre_tokenizer: tuple[str, ...], decoder: tuple[str, ...], model: dict[str, Any]) -> Spelling:
    """By the decoder, which must be that of what cuts the text."""
    fallback, kind = bool(model.get("byte_fallback")), _model_kind(model)
    rules = {
        ("ByteLevel",): (Spelling.BYTES, kind == "BPE" and {"ByteLevel"} <= set(pre_tokenizer) <= ALL_BYTES),
        ("Metaspace",): (Spelling.METASPACE, "Metaspace" in pre_tokenizer),
        ("WordPiece",): (Spelling.CONTINUED, kind == "WordPiece"),
        ("Fuse",): (Spelling.CHARACTERS, not pre_tokenizer and not model.get("merges")),
        (): (Spelling.WORDS, kind == "WordLevel"),
    }
    chain = {"Replace", "Fuse", *(("ByteFallback",) if fallback else ())}
    if len(decoder) > 1 and chain <= set(decoder) and len(set(decoder)) == len(decoder):
        return Spelling.METASPACE
    spelling, fits = rules.get(decoder, (Spelling.WORDS, False))
    limit = "the opposite of what cuts the text: ByteLevel, Metaspace, WordPiece, or Fuse for characters"
    require(fits, "the tokenizer's decoder", ", ".join(decoder) or None, limit, FIX)
    return spelling


def _unknown(spelling: Spelling, model: dict[str, Any], types: set[str]) -> str | None:
    """The type of what is not in the vocabulary; None where, spelled in bytes, everything is in it.

    Some byte-level vocabularies (SmolLM2's) lack bytes that their text had not, mostly control characters.
    The library leaves those of a text out; here they become the token that ends a text, and are seen.
    """
    if spelling == Spelling.BYTES:
        missing = sorted(BYTE_OF.keys() - types)
        limit = f"none, or there is a type {END_OF_TEXT} for them"
        holds = not missing or END_OF_TEXT in types
        require(holds, "bytes that the tokenizer lacks", len(missing), limit, FIX)
        return END_OF_TEXT if missing else None
    unknown = model.get("unk_token")
    if _model_kind(model) == "Unigram":
        place, size = model.get("unk_id"), len(model["vocab"])
        unknown = model["vocab"][place][0] if type(place) is int and 0 <= place < size else None
    known = isinstance(unknown, str) and unknown in types
    fallback = model.get("byte_fallback") and {f"<0x{byte:02X}>" for byte in range(256)} <= types
    limit = "one of its types: what it does not know would vanish"
    require(known or bool(fallback), "the tokenizer's unk_token", unknown, limit, FIX)
    return str(unknown) if known else None


def _line_end(spelling: Spelling, model: dict[str, Any], types: set[str]) -> str:
    """The type of a line end: ours, the character's own, or a special token that ends something."""
    names = [EOS]
    names += ["Ċ"] if spelling == Spelling.BYTES else []
    names += ["<0x0A>"] if model.get("byte_fallback") else []
    names += ["\n", "</s>", END_OF_TEXT, "[SEP]"]
    found = next((name for name in names if name in types), None)
    if found is None:
        raise ValueError(
            f"the tokenizer has no {EOS} among its {len(types)} types, nor {', '.join(map(repr, names[1:]))}; a"
            f" line end needs one of them. Fix: {FIX}"
        )
    return found


def _short(value: Any) -> str:
    return str(value)[:80]


# Byte-level types are written with a visible character for each byte: itself where it is one, else the next
# free one from U+0100 on (Radford et al., 2019, as in `tokenizers`).
_SHOWN = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_HIDDEN = tuple(byte for byte in range(256) if byte not in _SHOWN)
BYTE_OF = {chr(byte): byte for byte in _SHOWN} | {
    chr(0x100 + place): byte for place, byte in enumerate(_HIDDEN)
}
