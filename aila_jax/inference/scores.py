"""What `score` returns: the surprisal of every token of some texts, over the dial."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from jaxtyping import Float, Int

from aila_jax import formats
from aila_jax.cards import Card, Shown, count
from aila_jax.columns import Column, to_pandas
from aila_jax.config import require
from aila_jax.config.checks import one_of, user_path
from aila_jax.files import write_atomically
from aila_jax.inference.spans import TextTokens
from aila_jax.metrics.sums import perplexity

if TYPE_CHECKING:
    from pandas import DataFrame

UNITS = {"nats": 1.0, "bits": math.log(2)}  # nats in one


@dataclass(frozen=True)
class TextRow:
    """One text, or one token or word of it, at one setting of the dial.

    Attributes:
      text: which text, from 0.
      id: its name.
      lam: λ.
      tau: τ.
    """

    text: int
    id: str | int
    lam: Annotated[float, Column("λ", formats.short)]
    tau: Annotated[float, Column("τ", formats.short)]


@dataclass(frozen=True)
class TokenRow(TextRow):
    """One token.

    Attributes:
      place: of the token in its text, from 0.
      token: its text.
      token_id: its id.
      word: number of its word in the text, from 0.
      start: its first character.
      end: the character after its last.
      surprisal: −log p(token), in the unit that was asked for; None where it is not scored.
      context: tokens read before it; None where it is not scored.
    """

    place: int
    token: str
    token_id: int
    word: int
    start: int | None
    end: int | None
    surprisal: float | None
    context: int | None


@dataclass(frozen=True)
class WordRow(TextRow):
    """One word.

    Attributes:
      place: of the word in its text, from 0.
      word: its text, without the space before it.
      tokens: how many tokens it is.
      surprisal: the sum of theirs; None where one of them is not scored.
    """

    place: int
    word: str
    tokens: int
    surprisal: float | None


@dataclass(frozen=True)
class WholeRow(TextRow):
    """One text as a whole.

    Attributes:
      tokens: of the text.
      scored: tokens with a surprisal.
      surprisal: their sum.
      mean: their mean; None where none is scored.
      perplexity: e to the mean in nats; None where none is scored.
    """

    tokens: int
    scored: int
    surprisal: float
    mean: float | None
    perplexity: Annotated[float | None, Column(format=formats.three)]


@dataclass(frozen=True)
class DialScore:
    """All texts together, at one setting of the dial.

    Attributes:
      lam: λ.
      tau: τ.
      texts: how many.
      tokens: in all of them.
      scored: tokens with a surprisal.
      mean: of these; None where none is scored.
      perplexity: e to the mean in nats; None where none is scored.
    """

    lam: float
    tau: float
    texts: int
    tokens: int
    scored: int
    mean: float | None
    perplexity: float | None


@dataclass(frozen=True, eq=False, repr=False)
class TextScore(Shown):
    """The surprisal of every token of one text at one setting of the dial.

    Attributes:
      place: which text, from 0.
      id: its name; its place by default.
      tokens: the text and its T tokens.
      lam: λ.
      tau: τ.
      unit: of surprisal, `nats` or `bits`.
      surprisal: −log p(token | the tokens before it); NaN where it is not scored: the first token, unless a
        line end was read before it.
      context: tokens that were read before each; 0 where it is not scored.
      top_ids: the K likeliest tokens in the place of each, the likeliest first; K is 0 where none were asked
        for.
      top_surprisal: theirs; NaN where a token is not scored.
      top_pieces: their texts, by id.
    """

    place: int
    id: str | int
    tokens: TextTokens
    lam: float
    tau: float
    unit: str
    surprisal: Float[np.ndarray, "T"]
    context: Int[np.ndarray, "T"]
    top_ids: Int[np.ndarray, "T K"]
    top_surprisal: Float[np.ndarray, "T K"]
    top_pieces: Mapping[int, str]

    def top(self, place: int) -> tuple[tuple[str, float], ...]:
        """The likeliest tokens in a token's place, with their surprisals; none where it is not scored."""
        require(
            0 <= place < len(self.tokens), "place", place, f"from 0 to {len(self.tokens) - 1}", "lower it"
        )
        if not self.context[place]:
            return ()
        pairs = zip(self.top_ids[place].tolist(), self.top_surprisal[place].tolist(), strict=True)
        return tuple((self.top_pieces[token], value) for token, value in pairs)

    @property
    def scored(self) -> int:
        """Tokens with a surprisal."""
        return int(np.count_nonzero(self.context))

    @property
    def total(self) -> float:
        """The sum of surprisal: −log p of the text after its first token."""
        return float(np.sum(self.surprisal[self.context > 0]))

    @property
    def mean(self) -> float | None:
        """Surprisal per token; None where no token is scored."""
        return self.total / self.scored if self.scored else None

    @property
    def perplexity(self) -> float | None:
        """e to the mean surprisal in nats; None where no token is scored."""
        return _perplexity(self.mean, self.unit)

    def words(self) -> tuple[WordRow, ...]:
        """The words of the text."""
        tokens, rows = self.tokens, []
        for number, (first, end) in enumerate(tokens.word_ranges()):
            text = tokens.word(first, end)
            whole = bool(np.all(self.context[first:end] > 0))
            surprisal = float(np.sum(self.surprisal[first:end])) if whole else None
            rows.append(
                WordRow(
                    self.place, self.id, self.lam, self.tau, number, text.strip() or text, end - first, surprisal
                )
            )  # fmt: skip
        return tuple(rows)

    def rows(self) -> tuple[TokenRow, ...]:
        """The tokens of the text."""
        tokens = self.tokens
        spans = [(None, None)] * len(tokens) if tokens.spans is None else tokens.spans.tolist()
        return tuple(
            TokenRow(
                self.place, self.id, self.lam, self.tau, number,
                tokens.pieces[number], int(tokens.ids[number]), int(tokens.words[number]), *spans[number],
                *((float(self.surprisal[number]), read) if read else (None, None)),
            )
            for number, read in enumerate(self.context.tolist())
        )  # fmt: skip

    def row(self) -> WholeRow:
        """The text as a whole."""
        return WholeRow(
            self.place, self.id, self.lam, self.tau,
            len(self.tokens), self.scored, self.total, self.mean, self.perplexity,
        )  # fmt: skip

    def record(self) -> dict[str, Any]:
        """What a line of the JSON lines file holds."""
        tokens, scored = self.tokens, self.context > 0
        return {
            "id": self.id,
            "text": tokens.text,
            "lam": self.lam,
            "tau": self.tau,
            "unit": self.unit,
            "perplexity": self.perplexity,
            "mean": self.mean,
            "surprisal": self.total,
            "scored": self.scored,
            "tokens": list(tokens.pieces),
            "token_ids": tokens.ids.tolist(),
            "spans": None if tokens.spans is None else tokens.spans.tolist(),
            "byte_spans": None if tokens.byte_spans is None else tokens.byte_spans.tolist(),
            "token_words": tokens.words.tolist(),
            "token_context": self.context.tolist(),
            "token_surprisal": [
                float(value) if there else None for value, there in zip(self.surprisal, scored, strict=True)
            ],
            "words": [{"word": row.word, "surprisal": row.surprisal} for row in self.words()],
            **({"token_top": [self.top(place) for place in range(len(tokens))]} if self.top_ids.size else {}),
        }

    def card(self) -> Card:
        header = ("token", self.unit)
        shown = [
            (repr(row.token), formats.fixed(row.surprisal, 2))
            for row in self.rows()
            if row.surprisal is not None
        ]
        return Card(
            f"TextScore at λ = {self.lam:g}, τ = {self.tau:g}: perplexity {formats.three(self.perplexity)}",
            {
                "text": repr(self.tokens.text),
                "scored": f"{self.scored} of {count(len(self.tokens), 'token')}",
            },
            [header, *shown],
        )


@dataclass(frozen=True, eq=False, repr=False)
class Scores(Shown):
    """The texts at every setting of the dial; λ varies slowest, then τ, then the text.

    Attributes:
      items: one for each λ, τ and text.
      source: the model in words, run and step.
    """

    items: tuple[TextScore, ...]
    source: str = ""

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[TextScore]:
        return iter(self.items)

    def __getitem__(self, index: int) -> TextScore:
        return self.items[index]

    @property
    def perplexity(self) -> float | None:
        """Over all texts, at the one setting of the dial; ValueError where there are several (`dial`)."""
        dial = self.dial()
        many = [(cell.lam, cell.tau) for cell in dial]
        require(len(dial) == 1, "(lam, tau)", many, "one setting of the dial", "read scores.dial()")
        return dial[0].perplexity

    def dial(self) -> tuple[DialScore, ...]:
        """All texts together at each setting of the dial."""
        return tuple(
            self._at(lam, tau) for lam, tau in dict.fromkeys((one.lam, one.tau) for one in self.items)
        )

    def _at(self, lam: float, tau: float) -> DialScore:
        own = [one for one in self.items if (one.lam, one.tau) == (lam, tau)]
        scored = sum(one.scored for one in own)
        mean = sum(one.total for one in own) / scored if scored else None
        tokens = sum(len(one.tokens) for one in own)
        return DialScore(lam, tau, len(own), tokens, scored, mean, _perplexity(mean, own[0].unit))

    def to_pandas(self, by: str = "token") -> "DataFrame":
        """A data frame with a line for each `token`, `word` or `text`, at each setting of the dial."""
        one_of("by", by, ("token", "word", "text"))
        if by == "token":
            return to_pandas(TokenRow, [row for one in self.items for row in one.rows()])
        if by == "word":
            return to_pandas(WordRow, [row for one in self.items for row in one.words()])
        return to_pandas(WholeRow, [one.row() for one in self.items])

    def to_jsonl(self, path: str | Path | None = None) -> str:
        """JSON lines, one for each λ, τ and text; also written to `path` where one is given. The file can be
        scored again: its lines have "text" and "id".
        """
        lines = [json.dumps(one.record(), ensure_ascii=False, allow_nan=False) for one in self.items]
        text = "".join(f"{line}\n" for line in lines)
        if path is not None:
            write_atomically(user_path(path), text.encode("utf-8"))
        return text

    def card(self) -> Card:
        dial = self.dial()
        header = ("λ", "τ", "perplexity", "mean")
        rows = [
            (f"{one.lam:g}", f"{one.tau:g}", formats.three(one.perplexity), formats.three(one.mean))
            for one in dial
        ]
        first = dial[0]
        of = f" of {self.source}" if self.source else ""
        facts = {
            "read": f"{count(first.texts, 'text')}, {first.scored:,} of {count(first.tokens, 'token')} scored",
            "unit": self.items[0].unit,
        }
        return Card(f"Scores{of}", facts, [header, *rows])


def _perplexity(mean: float | None, unit: str) -> float | None:
    return None if mean is None else perplexity(mean * UNITS[unit])
