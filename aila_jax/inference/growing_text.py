"""The text of tokens that come one after another: where it ends at a stop string, and what of it no later
token changes.
"""

from collections.abc import Sequence

from aila_jax.data.tokenizer import Tokenizer, text_of


def text_before(tokenizer: Tokenizer, ids: Sequence[int], stops: Sequence[str]) -> tuple[str, str]:
    """The text of tokens up to the first of the stop strings in it, and which it is; all of it, and an empty
    text, where there is none.

    Byte-level tokens are searched as bytes: a stop string may begin and end inside tokens, and half a
    character is not yet one.
    """
    if not tokenizer.byte_level:
        text = tokenizer.decode(ids)
        place, stop = min(((text.find(one), one) for one in stops if one in text), default=(len(text), ""))
        return text[:place], stop
    data = b"".join(tokenizer.token_bytes(ids))
    found = ((data.find(one.encode()), one) for one in stops if one.encode() in data)
    place, stop = min(found, default=(len(data), ""))
    return text_of(data[:place]), stop


def settled(tokenizer: Tokenizer, ids: Sequence[int], stops: Sequence[str] = ()) -> str:
    """The text of tokens as far as no later token can change it: without half a character at its end, and
    without what may be the beginning of a stop string.
    """
    if tokenizer.byte_level:
        text = b"".join(tokenizer.token_bytes(ids)).decode("utf-8", "surrogateescape")
        text = text_of(text.rstrip(_LONE).encode("utf-8", "surrogateescape"))
    else:
        text = tokenizer.decode(ids).rstrip("\ufffd")
    held = (size for stop in stops for size in range(len(stop), 0, -1) if text.endswith(stop[:size]))
    return text[: len(text) - max(held, default=0)]


_LONE = "".join(map(chr, range(0xDC80, 0xDD00)))  # what Python makes of bytes that are no UTF-8
