"""Names, values and wordings of the generated questions.

A name is a given and a family name, a value two words likewise. Every word is in every split, and no pair of
words in two: what is held out is spelled from words that training contains, and is never seen whole.
"""

import random
import string
from dataclasses import dataclass

from aila_jax.data.documents import SPLITS

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
WORDS = 48  # of each kind
_SHARES = 10  # of the pairs that one is of validation and one of test


def _words(endings: tuple[str, ...], step: int) -> tuple[str, ...]:
    """`WORDS` words of two syllables, by arithmetic alone."""
    found: dict[str, None] = {}
    number = step
    while len(found) < WORDS:
        first, second = _CONSONANTS[number % 14], _CONSONANTS[number // 14 % 14]
        vowel, ending = _VOWELS[number // 3 % 5], endings[number // 5 % len(endings)]
        found.setdefault(f"{first}{vowel}{second}{ending}".capitalize())
        number += step
    return tuple(found)


# Endings are those of one kind alone, so that no word is of two.
GIVEN = _words(("a", "o"), 11)
FAMILY = _words(("en", "ur"), 13)
FIRST = _words(("is", "em"), 17)
SECOND = _words(("ak", "ot"), 19)


def pairs(first: tuple[str, ...], second: tuple[str, ...], split: str) -> tuple[str, ...]:
    """The pairs of words that are a split's."""
    own = {"validation": (0,), "test": (1,), "train": range(2, _SHARES)}[split]
    return tuple(
        f"{one} {two}"
        for row, one in enumerate(first)
        for column, two in enumerate(second)
        if (row + column) % _SHARES in own
    )


EVERY_WORD = (*GIVEN, *FAMILY, *FIRST, *SECOND)
NAMES = {split: pairs(GIVEN, FAMILY, split) for split in SPLITS}
VALUES = {split: pairs(FIRST, SECOND, split) for split in SPLITS}


@dataclass(frozen=True)
class Wordings:
    """How a relation of a subject and its value is said.

    Attributes:
      stated: sentences with {subject} and, later, {value}.
      asked: questions with {subject}.
    """

    stated: tuple[str, ...]
    asked: tuple[str, ...]

    def state(self, draw: random.Random, subject: str, value: str) -> str:
        """A passage."""
        return draw.choice(self.stated).format(subject=subject, value=value)

    def ask(self, draw: random.Random, subject: str) -> str:
        """A question."""
        return draw.choice(self.asked).format(subject=subject)


# What is asked for.
ATTRIBUTES = {
    "home": Wordings(
        ("{subject} lives in {value}.", "The home of {subject} is {value}.", "Today {subject} lives in {value}."),
        ("Where does {subject} live?", "What is the home of {subject}?"),
    ),
    "birth": Wordings(
        (
            "{subject} was born in {value}.",
            "The birthplace of {subject} is {value}.",
            "Long ago {subject} was born in {value}.",
        ),
        ("Where was {subject} born?", "What is the birthplace of {subject}?"),
    ),
    "employer": Wordings(
        (
            "{subject} works for {value}.",
            "The employer of {subject} is {value}.",
            "Every day {subject} works for {value}.",
        ),
        ("Whom does {subject} work for?", "What is the employer of {subject}?"),
    ),
    "school": Wordings(
        (
            "{subject} studied at {value}.",
            "The school of {subject} was {value}.",
            "For years {subject} studied at {value}.",
        ),
        ("Where did {subject} study?", "What was the school of {subject}?"),
    ),
    "ship": Wordings(
        (
            "{subject} owns the ship {value}.",
            "The ship of {subject} is called {value}.",
            "In the harbour {subject} owns the ship {value}.",
        ),
        ("Which ship does {subject} own?", "What is the ship of {subject} called?"),
    ),
}  # fmt: skip
# What leads from one name to another; asked for as a part of the question about an attribute.
BRIDGES = {
    role: Wordings(
        (
            f"The {role} of {{subject}} is {{value}}.",
            f"{{subject}} has the {role} {{value}}.",
            f"As everybody knows, the {role} of {{subject}} is {{value}}.",
        ),
        (f"the {role} of {{subject}}",),
    )
    for role in ("teacher", "neighbour", "doctor")
}

# The small words of what is asked for, which every tokenizer of these corpora knows.
FILLERS = tuple(
    sorted(
        {
            word
            for wordings in ATTRIBUTES.values()
            for sentence in (*wordings.stated, *wordings.asked)
            for word in sentence.strip(string.punctuation).split()
            if word.isalpha() and word.islower()
        }
    )
)
