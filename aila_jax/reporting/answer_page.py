"""The page of an answer: its tokens, and what each passage is to them. One file that fetches nothing."""

from dataclasses import asdict, dataclass
from typing import Any

from aila_jax.answering.result import Answer, PairRow, PassageRow, TokenRow, numbers_text, signed
from aila_jax.answering.votes import Vote
from aila_jax.columns import columns_of
from aila_jax.reporting.glossary import GLOSSARY
from aila_jax.reporting.html_tables import Fact, PageColumn, page_columns
from aila_jax.reporting.pages import environment, framed, page_bytes

READING = (
    "Attribution is exact: how much less likely the answer is, in nats, when this passage alone is left out, its"
    " tokens fixed. It can be below 0: without the passage the answer would be likelier.",
    "Attention mass is measured: how much the queries that predict the answer look at the passage, the mean of"
    " queries, layers and heads. It is no bound, and says nothing of what the answer depends on.",
    "Choose a token of the answer, with the pointer or with Tab and the arrow keys, to see both for it alone.",
)
TERMS = {
    "attribution": "log p(answer) − log p(answer without this passage), in nats.",
    "attention mass": "Share of attention on this passage when the answer is predicted; measured.",
}


@dataclass(frozen=True)
class PassageOnPage:
    """What the page shows of one passage before a token is chosen.

    Attributes:
      number: its place.
      id: its name.
      text: what it says.
      answer: in branches, what the model says to it alone.
      attribution: of the whole answer, as text.
      sign: class of the bar: `less` below 0.
      attribution_style: place and width of the bar.
      mass: of the whole answer, as text.
      mass_style: place and width of the bar.
      flow: whether it can have any influence, and what its tokens may carry.
    """

    number: int
    id: str
    text: str
    answer: str | None
    attribution: str
    sign: str
    attribution_style: str
    mass: str
    mass_style: str
    flow: str


def answer_page(found: Answer) -> str:
    """A whole HTML page of at most 5 MB."""
    whole = _whole(found)
    source = (
        environment()
        .get_template("answer.html.jinja")
        .render(
            title=f"Answer: {found.question}",
            answer=found,
            claims=_claims(found),
            said=whole["said"],
            passages=[_shown(row, found) for row in found.passages],
            votes=page_columns(Vote, [column.field for column in columns_of(Vote)], found.votes)
            if found.votes
            else (),
            pairs=_pairs(found),
            reading=(*READING, f"Flow: {found.flow}."),
            facts=_facts(found),
            glossary={**GLOSSARY, **TERMS},
            data={"whole": whole, "tokens": [_token(token, found) for token in found.tokens]},
        )
    )
    return page_bytes(source, "give fewer or shorter passages").decode("utf-8")


def answer_html(found: Answer, height: int = 900) -> str:
    """The same page in a frame `height` pixels high, for `IPython.display.HTML`."""
    return framed(answer_page(found), height, "an answer and its passages")


def _claims(found: Answer) -> list[str]:
    how = f"{len(found.passages)} passages, {found.mode}, λ = {found.lam:g}, τ = {found.tau:g}"
    lines = [f"{how}; log-probability {signed(found.logprob)} nats."]
    if found.certified is not None:
        lines.append(f"Certified by votes: unchanged whatever up to {found.certified} of the passages say.")
    if found.ended == "length":
        lines.append("It was cut at the most tokens that were asked for.")
    return lines


def _whole(found: Answer) -> dict[str, Any]:
    rest = f"on the header {found.mass_header:.3f}, on question and answer {found.mass_rest:.3f}"
    return {
        "attribution": [row.attribution for row in found.passages],
        "mass": [row.mass for row in found.passages],
        "said": f"Of the whole answer. Attention {rest}.",
    }


def _token(token: TokenRow, found: Answer) -> dict[str, Any]:
    rest = f"on the header {token.mass_header:.3f}, on question and answer {token.mass_rest:.3f}"
    place = f"Of token {token.place + 1} of {len(found.tokens)}, “{token.text}”"
    return {
        "attribution": token.attribution,
        "mass": token.mass,
        "said": f"{place}: log-probability {signed(token.logprob)} nats. Attention {rest}.",
    }


def _shown(row: PassageRow, found: Answer) -> PassageOnPage:
    most = max((abs(one.attribution) for one in found.passages), default=0.0) or 1.0
    share = 50.0 * abs(row.attribution) / most
    left = 50.0 - share if row.attribution < 0 else 50.0
    allowed = (
        "Flow allows it influence on the answer" if row.allowed else "Flow allows it no influence at all"
    )
    carries = f"; its tokens may carry passages {numbers_text(row.carries)}" if row.carries else ""
    return PassageOnPage(
        row.number,
        row.id,
        row.text,
        row.answer,
        signed(row.attribution),
        "less" if row.attribution < 0 else "",
        f"left:{left:.3f}%;width:{share:.3f}%",
        f"{row.mass:.3f}",
        f"left:0;width:{100 * row.mass:.3f}%",
        f"{allowed}{carries}.",
    )


def _pairs(found: Answer) -> list[PageColumn] | tuple[()]:
    if not found.pairs:
        return ()
    return page_columns(PairRow, [column.field for column in columns_of(PairRow)], found.pairs)


def _facts(found: Answer) -> list[Fact]:
    left = {"text", "question", "passages", "tokens", "votes", "pairs", "flow"}
    return [
        (name, str(value))
        for name, value in asdict(found).items()
        if name not in left and value not in ("", None)
    ]
