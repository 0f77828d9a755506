"""Answers from passages on the terminal, as JSON that reads back, and as CSV."""

from pathlib import Path
from typing import Any

from aila_jax.answering.result import Answer, PairRow, PassageRow, TokenRow, signed
from aila_jax.answering.votes import Vote
from aila_jax.columns import chosen, columns_of
from aila_jax.json_files import json_object, parse_json
from aila_jax.reporting.answer_page import answer_page
from aila_jax.reporting.tables import Table, csv_text, json_rows, json_text, row_from, rows_from, write_files

FORMAT = "aila_jax answer, version 1"
SHOWN = ("number", "id", "tokens", "mass", "attribution", "shapley", "allowed", "carries", "answer", "text")
ROWS = {"passages": PassageRow, "tokens": TokenRow, "votes": Vote, "pairs": PairRow}


def describe_answer(found: Answer) -> str:
    """The answer, what each passage is to it, and what is exact, certified or measured."""
    lines = [
        found.text,
        "",
        *Table.of(chosen(PassageRow, SHOWN, found.passages), found.passages).aligned(last_left=True),
        "",
        f"{found.mode}, λ = {found.lam:g}, τ = {found.tau:g}; log-probability {signed(found.logprob)} nats",
        "attribution (nats): log p(answer) − log p(answer without the passage), exact",
        f"mass: attention, measured; header {found.mass_header:.3f}, question and answer {found.mass_rest:.3f}",
        f"flow: {found.flow}",
    ]
    if found.certified is not None:
        votes = ", ".join(f"{vote.answer or 'no answer'} ×{vote.count}" for vote in found.votes)
        lines += [
            f"votes: {votes}",
            f"certified: unchanged whatever up to {found.certified} of the passages say",
        ]
    if found.pairs:
        lines += ["", *Table.of(columns_of(PairRow), found.pairs).aligned()]
    return "\n".join(lines)


def answer_json(found: Answer) -> str:
    """The answer as JSON, from which `read_answer` makes it again."""
    document: dict[str, Any] = {"format": FORMAT}
    for column in columns_of(Answer):
        value = column.value(found)
        document[column.name] = json_rows(value) if column.name in ROWS else value
    return json_text(document)


def read_answer(path: Path) -> Answer:
    """The answer that `write_answer` wrote.

    Raises:
      ValueError: the file is no such JSON; the message names the place.
    """
    values = json_object(parse_json(path.read_bytes(), str(path)), str(path))
    found = values.pop("format", None)
    if found != FORMAT:
        raise ValueError(f"{path}: format is {found!r}; it must be {FORMAT!r}. Fix: answer again")
    for name, cls in ROWS.items():
        rows = values.get(name)
        values[name] = rows_from(cls, rows, f"{path}: {name}") if isinstance(rows, list) else rows
    return row_from(Answer, values, str(path))


def write_answer(found: Answer, directory: Path) -> list[Path]:
    """Writes `answer.html`, `answer_tokens.csv`, `answer.csv` (a row for each passage) and `answer.json`;
    returns the paths.
    """
    files = {
        "answer.html": answer_page(found),
        "answer_tokens.csv": csv_text(TokenRow, found.tokens),
        "answer.csv": csv_text(PassageRow, found.passages),
        "answer.json": answer_json(found),
    }
    return write_files(directory, files)
