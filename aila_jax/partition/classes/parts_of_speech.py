"""Part-of-speech classes of English token types, by rule: word lists and endings. Approximate by
construction.

A type has one class wherever it stands, so an ambiguous word has its most usual one. No tagger, no download.
"""

import re

import numpy as np

from aila_jax.config import require
from aila_jax.data.tokenizer import UNK, Tokenizer
from aila_jax.data.tokenizer_file import Spelling
from aila_jax.partition.classes.class_table import ClassTable
from aila_jax.partition.classes.english_words import CLOSED, OPEN

# In the order in which class ids are given; a table names only those that hold a type.
NAMES = (
    *(
        "determiner",
        "possessive",
        "pronoun",
        "wh-word",
        "preposition",
        "coordinator",
        "subordinator",
        "particle",
        "auxiliary",
        "modal",
    ),
    *(
        "adverb",
        "adjective",
        "number",
        "ordinal",
        "noun",
        "plural noun",
        "proper noun",
        "verb",
        "verb -ed",
        "verb -ing",
    ),
    *("sentence end", "comma", "colon", "dash", "quotation mark", "bracket", "symbol", "line end", "unknown"),
    *(
        "word beginning",
        "word piece",
        "noun ending",
        "verb ending",
        "adjective ending",
        "space",
    ),  # of byte-level BPE only
)

NOTE = (
    "parts of speech by word lists and endings: rule-based, approximate, one class a type wherever it stands"
)

_MARKS = (
    ("sentence end", ".!?…‽。！？"),
    ("comma", ",、，"),
    ("colon", ":;：；"),
    ("dash", "-–—―‐‑−"),
    ("quotation mark", "\"'`´“”‘’‚„«»‹›"),
    ("bracket", "()[]{}⟨⟩（）【】「」"),
)
_MARK = {mark: name for name, marks in _MARKS for mark in marks}
_WRITTEN = {"@-@": "dash", "@,@": "symbol", "@.@": "symbol"}  # WikiText's marks inside a number or a compound

# After an apostrophe. A possessive 's is far more usual in edited text than that of "it's".
_CLITICS = {
    "s": "possessive",
    "t": "particle",
    "m": "auxiliary",
    "re": "auxiliary",
    "ve": "auxiliary",
    "d": "auxiliary",
    "ll": "modal",
}

# Names that are spelt like a word of a closed class.
_NAMES = ("May", "US", "IT", "AM", "WHO", "No.")

# Endings of open-class words, tried in this order; at least two letters must stand before one.
_ENDINGS = (
    ("adverb", "ly"),
    ("verb -ing", "ing"),
    ("verb -ed", "ed"),
    ("noun", "tion sion ment ness ity ism ship hood dom ance ence ology ure ist er or ian"),
    ("adjective", "able ible ful less ous ical ic al ive ish ese"),
    ("verb", "ize ise ify ate"),
)
_SINGULAR = ("ss", "us", "is", "ics")  # a final s that is no plural
# What pieces inside a word say about it. Only endings that hardly stand elsewhere in a word.
_PIECE_ENDINGS = (
    ("adjective ending", "ly able ible ful less ous ical ially ively ary"),
    ("verb ending", "ing ings ed ize ized izes izing ised ising ified ated ating"),
    (
        "noun ending",
        "tion tions sion sions ment ments ness ity ities ism ship ance ence ers ors ists ology es s",
    ),
)
_ORDINAL = re.compile(r"\d+(st|nd|rd|th)")
_INITIALS = re.compile(r"(\w\.)+\w?")
_LONGEST_BEGINNING = (
    4  # letters: a shorter unlisted type of BPE is more often the beginning of a word than a word
)


def pos_classes(tokenizer: Tokenizer) -> ClassTable:
    """A rule-based part-of-speech class for every type of an English vocabulary. Labelled approximate
    wherever it is used.

    Lists of our own give closed-class, irregular and short words; endings give the rest; unlisted words
    without a known ending are nouns. A capitalised word is a proper noun unless it is of a closed class or
    its lower-case form has a lower id, which in vocabularies made here means that it is more frequent. Of
    byte-level BPE a type is read as a word where it has its leading space, or begins with a capital; short
    unlisted ones are "word beginning", and types that continue a word are "word piece" or, where they say so,
    a kind of ending.

    Raises:
      ValueError: all types come out in one class, as for a vocabulary that is not English words.
    Source: ours (the paper names part-of-speech classes, not how they are found); docs/method.md, section 1.
    """
    require(
        tokenizer.spelling != Spelling.CHARACTERS,
        "data.tokenizer",
        "characters",
        "of words or of pieces of words for partition.kind 'pos'",
        "set --config.data.tokenizer=bpe, or another --config.partition.kind",
    )
    ids = {text: index for index, text in enumerate(tokenizer.types)}
    found = []
    for index, text in enumerate(tokenizer.types):
        if index == tokenizer.eos_id:
            found.append("line end")
            continue
        space = " " if tokenizer.spaced and text.startswith(" ") else ""
        lower = ids.get(space + text.removeprefix(space).lower(), len(ids))
        found.append(class_of(text, byte_level=tokenizer.spaced, lower_is_more_frequent=lower < index))
    used = set(found)
    names = [name for name in NAMES if name in used]
    return ClassTable(tuple(names), np.array([names.index(name) for name in found], np.int32), NOTE)


def class_of(text: str, *, byte_level: bool = False, lower_is_more_frequent: bool = False) -> str:
    """The class, one of `NAMES`, of the type `text`; see `pos_classes`.

    Args:
      text: a word, or, with `byte_level`, a piece of text with its leading space if it has one.
    """
    word = text.removeprefix(" ") if byte_level else text
    if text == UNK:
        return "unknown"
    if byte_level and not word.strip():
        return "space"
    if not any(letter.isalnum() for letter in word):
        return _of_marks(word.strip())
    bare = word.strip("\"'`“”‘’()[]{},;:!?*_")
    if any(letter.isdigit() for letter in bare):
        return _of_digits(bare)
    if word[0] in "'’" and bare in _CLITICS:
        return _CLITICS[bare]
    if byte_level and not text.startswith(" ") and not (bare[0].isupper() and len(bare) > 1):
        return _of_piece(bare)
    return _of_word(bare, lower_is_more_frequent, byte_level)


def _of_marks(word: str) -> str:
    """By the family of the first mark, unless the marks stand for a word or a part of a number."""
    return CLOSED.get(word) or _WRITTEN.get(word) or _MARK.get(word[0], "symbol")


def _of_digits(word: str) -> str:
    if _ORDINAL.fullmatch(word):
        return "ordinal"
    if word[0].isalpha():
        return "proper noun" if word[0].isupper() else "noun"
    return "number"


def _of_piece(piece: str) -> str:
    for name, endings in _PIECE_ENDINGS:
        known = endings.split()
        if piece in known or (
            len(piece) > 4 and piece.endswith(tuple(ending for ending in known if len(ending) > 1))
        ):
            return name
    return "word piece"


def _of_word(word: str, lower_is_more_frequent: bool, byte_level: bool) -> str:
    word = _without_clitic(word.replace("’", "'"))
    if word in _NAMES:
        return "proper noun"
    if _INITIALS.fullmatch(word):  # U.S. and A., but e.g.
        return CLOSED.get(word.rstrip("."), "proper noun" if word[0].isupper() else "noun")
    word = word.rstrip(".…").rpartition("-")[2] or word  # the head of a compound comes last
    lower = word.lower()
    shouted = word.isupper() and len(word) > 1
    if lower in CLOSED and (lower_is_more_frequent or not shouted):
        return CLOSED[lower]
    if word[0].isupper() and OPEN.get(lower) != "adjective" and not lower_is_more_frequent:
        return "proper noun"
    if lower in OPEN:
        return OPEN[lower]
    if byte_level and _is_beginning(lower):
        return "proper noun" if word[0].isupper() else "word beginning"
    return _of_ending(lower)


def _without_clitic(word: str) -> str:
    """The word that another hangs on: dog of "dog's", do of "don't"."""
    stem, _, clitic = word.rpartition("'")
    if not stem or clitic.lower() not in _CLITICS or word.lower() in CLOSED:
        return word
    return stem.removesuffix("n") if clitic == "t" and stem.lower() not in CLOSED else stem


def _is_beginning(word: str) -> bool:
    """Whether an unlisted lower-case type of BPE is so short that it is more often the beginning of a word
    than a word.
    """
    if word.endswith("s") and _singular(word):
        return False
    return len(word) <= (_LONGEST_BEGINNING + word.endswith("s"))


def _of_ending(word: str) -> str:
    """The class of a lower-case word of no list."""
    for name, endings in _ENDINGS:
        if word[2:].endswith(tuple(endings.split())):
            return name
    if word.endswith("s") and len(word) > 2 and not word.endswith(_SINGULAR):
        return "verb" if _singular(word) == "verb" else "plural noun"
    return "noun"


def _singular(word: str) -> str:
    """The listed class of a word without its final s, es or ies; empty where it is not listed."""
    forms = [word[:-1], word.removesuffix("es"), word.removesuffix("ies") + "y"]
    return next((OPEN[form] for form in forms if form in OPEN), "")
