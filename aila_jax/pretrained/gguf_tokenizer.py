"""The tokenizer of a GGUF file as the text of a tokenizer.json."""

import json
from collections.abc import Mapping
from typing import Any

from aila_jax.config import require
from aila_jax.data.tokenizer_file import LLAMA3_PATTERN, QWEN2_PATTERN
from aila_jax.pretrained.settings import FIX
from aila_jax.pretrained.source import Chat, TokenizerText

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_PLAIN = {**_BYTES, "use_regex": False}


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


_SMOLLM = [{"type": "Digits", "individual_digits": True}, _BYTES]
# What cuts a text, by tokenizer.ggml.pre.
_CUTS: Mapping[str, list[dict[str, Any]]] = {
    "smollm": _SMOLLM,
    "gpt-2": [_BYTES],
    "llama-bpe": [_split(LLAMA3_PATTERN), _PLAIN],
    "qwen2": [_split(QWEN2_PATTERN), _PLAIN],
}
_WHOLE = ("llama-bpe",)  # a piece that is a type is that type, whatever the merges make of it
_NORMALISED = ("qwen2",)
_CONTROL, _USER = 3, 4  # tokenizer.ggml.token_type


def tokenizer_text(metadata: Mapping[str, Any], where: str, path: str) -> TokenizerText:
    """The tokenizer of a file, of `path`; `where` is what errors call it.

    Raises:
      ValueError: another kind of tokenizer, or one that is not whole.
    """
    kind = metadata.get("tokenizer.ggml.model")
    fix = "take a file whose tokenizer is byte-level BPE, or the model's folder"
    require(kind == "gpt2", f"tokenizer.ggml.model in {where}", kind, "gpt2, byte-level BPE", fix)
    cut = metadata.get("tokenizer.ggml.pre", "default")
    if cut == "default" and metadata.get("general.architecture") == "gpt2":
        cut = "gpt-2"  # files of before that key; GPT-2 has one tokenizer
    limit = f"one of {', '.join(_CUTS)}"
    require(isinstance(cut, str) and cut in _CUTS, f"tokenizer.ggml.pre in {where}", cut, limit, FIX)
    types = _texts(metadata, "tokens", where)
    merges = _texts(metadata, "merges", where)
    kinds = metadata.get("tokenizer.ggml.token_type", [1] * len(types))
    require(len(kinds) == len(types), f"token_type in {where}", len(kinds), f"{len(types)}, one a type", FIX)
    added = [
        {
            "id": number,
            "content": types[number],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": one == _CONTROL,
        }
        for number, one in enumerate(kinds)
        if one in (_CONTROL, _USER)
    ]
    stages = _CUTS[cut]
    stored = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"} if cut in _NORMALISED else None,
        "pre_tokenizer": stages[0] if len(stages) == 1 else {"type": "Sequence", "pretokenizers": stages},
        "post_processor": None,
        "decoder": _BYTES,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": cut in _WHOLE,
            "vocab": {name: number for number, name in enumerate(types)},
            "merges": merges,
        },
    }
    begin = _token(metadata, "bos", types, where)
    template = metadata.get("tokenizer.chat_template")
    chat = None
    if isinstance(template, str) and template:
        chat = Chat(template, begin, _token(metadata, "eos", types, where))
    return TokenizerText(json.dumps(stored, ensure_ascii=False), begin, path, chat)


def _token(metadata: Mapping[str, Any], name: str, types: list[str], where: str) -> str:
    """The spelling of a token that the file names by its id; empty where it names none."""
    key = f"tokenizer.ggml.{name}_token_id"
    number = metadata.get(key)
    if number is None:
        return ""
    right = type(number) is int and 0 <= number < len(types)
    require(right, f"{key} in {where}", number, f"below {len(types)}", FIX)
    return types[number]


def _texts(metadata: Mapping[str, Any], name: str, where: str) -> list[str]:
    found = metadata.get(f"tokenizer.ggml.{name}")
    right = isinstance(found, list) and all(isinstance(one, str) for one in found)
    require(right, f"tokenizer.ggml.{name} in {where}", type(found).__name__, "a list of texts", FIX)
    assert isinstance(found, list)
    return found
