"""An answer with its sources: what `aila_jax.answer` returns."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from aila_jax import formats
from aila_jax.answering.votes import Vote
from aila_jax.cards import Card, Shown
from aila_jax.columns import Column, to_pandas
from aila_jax.config.checks import one_of

if TYPE_CHECKING:
    from pandas import DataFrame


SHOWN = 60  # characters of a passage in a table


def signed(value: float) -> str:
    """Nats with their sign."""
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")  # + 0.0: no −0


def excerpt(text: str) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"


def yes_or_no(value: bool) -> str:
    """A flag as people read it."""
    return "yes" if value else "no"


def numbers_text(values: tuple[int, ...]) -> str:
    """Numbers with commas between them; – for none."""
    return ", ".join(map(str, values)) or formats.MISSING


@dataclass(frozen=True)
class PassageRow:
    """What one passage is to the answer.

    Attributes:
      number: its place, from 0.
      id: its name.
      text: what it says.
      tokens: of it.
      mass: attention on it of the queries that predict the answer: the mean of queries, layers and heads. It
        is measured, and no bound.
      attribution: log p(answer) − log p(answer without it), nats, exact.
      allowed: whether flow allows it any influence on the answer.
      carries: numbers of the other passages that its tokens may carry something of.
      shapley: mean marginal value over the permutations, nats; where it was asked for.
      answer: in branches, what the model says to it alone.
    """

    number: Annotated[int, Column("#")]
    id: Annotated[str, Column("passage")]
    text: Annotated[str, Column(format=excerpt)]
    tokens: Annotated[int, Column("tokens", formats.count)]
    mass: Annotated[float, Column("mass", formats.fixed, help="attention mass, measured")]
    attribution: Annotated[
        float, Column("attribution", signed, unit="nats", help="log p(answer) − log p(answer without it)")
    ]
    allowed: Annotated[
        bool, Column("allowed", yes_or_no, help="whether flow allows it any influence on the answer")
    ]
    carries: Annotated[
        tuple[int, ...], Column("carries", numbers_text, help="passages that its tokens may carry")
    ]
    shapley: Annotated[
        float | None,
        Column(
            "Shapley",
            signed,
            unit="nats",
            help="mean marginal value over permutations",
            after="attribution",
            optional=True,
        ),
    ] = None
    answer: Annotated[str | None, Column("says", optional=True, help="answer to this passage alone")] = None


@dataclass(frozen=True)
class TokenRow:
    """One token of the answer.

    Attributes:
      place: in the answer, from 0.
      token: its id.
      text: what is shown of it.
      logprob: log-probability after the tokens before it, nats.
      mass: attention on each passage of the query that predicts it: the mean of layers and heads.
      mass_header: on the header.
      mass_rest: on question and answer; with the others it makes 1.
      attribution: by passage, log p with all passages − log p without it, nats. The answer's is their sum.
    """

    place: int
    token: int
    text: str
    logprob: Annotated[float, Column(unit="nats")]
    mass: tuple[float, ...]
    mass_header: float
    mass_rest: float
    attribution: Annotated[tuple[float, ...], Column(unit="nats")]


@dataclass(frozen=True)
class PairRow:
    """Two passages, left out together.

    Attributes:
      first: number of one.
      second: number of the other.
      attribution: log p(answer) − log p(answer without both), nats.
      interaction: that less the attributions of the two: above 0 where each makes up for the other.
    """

    first: int
    second: int
    attribution: Annotated[float, Column(format=signed, unit="nats")]
    interaction: Annotated[float, Column(format=signed, unit="nats")]


@dataclass(frozen=True, repr=False)
class Answer(Shown):
    """An answer, and what is known of its sources.

    Attributes:
      text: what the model says, without space around it; in branches, what the majority says.
      question: what was asked.
      mode: together, isolated or branches.
      lam: λ.
      tau: τ.
      capacity: positions of every passage in the mode isolated, else None.
      ended: `stop` or `length`: all of max_tokens were drawn.
      logprob: log-probability of the answer's tokens with all passages, nats; in branches by the mean of the
        branches' probabilities.
      mass_header: attention on the header, as `PassageRow.mass`.
      mass_rest: on question and answer. Passages, header and these make 1.
      passages: what each passage is to it.
      tokens: of the answer, with mass and attribution by passage.
      votes: in branches, what the branches say, the leader first.
      certified: in branches, c: the answer (in the form of its vote) is unchanged whatever up to c of the
        passages say. None in the other modes: there one passage can change what is made of all others, so
        nothing holds for every text.
      flow: what is claimed of `allowed` and `carries`, and whether it is exact.
      pairs: passages left out two by two, where that was asked for.
      permutations: of Shapley values; 0 where these were not asked for.
      seed: of the permutations.
      source: run and step of the model.
    """

    text: str
    question: str
    mode: str
    lam: float
    tau: float
    capacity: int | None
    ended: str
    logprob: float
    mass_header: float
    mass_rest: float
    passages: tuple[PassageRow, ...]
    tokens: tuple[TokenRow, ...]
    votes: tuple[Vote, ...] = ()
    certified: int | None = None
    flow: str = ""
    pairs: tuple[PairRow, ...] = ()
    permutations: int = 0
    seed: int = 0
    source: str = ""

    def to_pandas(self, by: str = "passage") -> "DataFrame":
        """A data frame with a line for each `passage`, `token`, `pair` or `vote`."""
        one_of("by", by, ("passage", "token", "pair", "vote"))
        if by == "token":
            return to_pandas(TokenRow, self.tokens)
        if by == "pair":
            return to_pandas(PairRow, self.pairs)
        return to_pandas(PassageRow, self.passages) if by == "passage" else to_pandas(Vote, self.votes)

    def card(self) -> Card:
        first = max(self.passages, key=lambda row: row.attribution)
        facts = {
            "answer": self.text or "nothing",
            "read": f"{len(self.passages)} passages, {self.mode}, λ = {self.lam:g}, τ = {self.tau:g}",
            "first source": f"{first.id}: {signed(first.attribution)} nats of {signed(self.logprob)}",
        }
        if self.certified is not None:
            facts["certified"] = f"unchanged whatever up to {self.certified} of the passages say"
        rows = [(row.id, f"{row.mass:.3f}", signed(row.attribution)) for row in self.passages]
        return Card("Answer", facts, [("passage", "mass", "attribution"), *rows])
