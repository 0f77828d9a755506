"""Surprisal of texts by a checkpoint: from a file or the command line to JSON lines and a table."""

import json
from collections.abc import Sequence
from pathlib import Path

from aila_jax.cards import count
from aila_jax.config import PartitionKind
from aila_jax.config.options import ScoreTextOptions
from aila_jax.data.text_lists import TextItem, read_text_list
from aila_jax.formats import fixed, three
from aila_jax.inference.language_model import LanguageModel
from aila_jax.inference.scores import Scores, TextScore
from aila_jax.inference.scoring import score_texts
from aila_jax.runs.opened import OpenedRun, opened

SHOWN_TOKENS = 60  # of a text that is shown token by token


def score(run: OpenedRun | str | Path, options: ScoreTextOptions, out: str | Path = "") -> Scores:
    """Scores the texts that `options` name.

    Args:
      run: an opened run, or its path.
      options: the texts, and how they are scored.
      out: the file of JSON lines; empty or `-`: none is written.
    """
    model = opened(run).model
    items = read_text_list(options.file, options.by_line) if options.file else (TextItem(0, options.text),)
    texts, block_ids = given_texts(model, items)
    scores = score_texts(model, texts, options, block_ids, [item.id for item in items])
    if str(out) not in ("", "-"):
        scores.to_jsonl(out)
    return scores


def given_texts(
    model: LanguageModel, items: Sequence[TextItem]
) -> tuple[list[str], list[tuple[int, ...] | None] | None]:
    """The texts, and their blocks; None where none of them comes with any."""
    block_ids = [item.block_ids for item in items]
    return [given_text(model, item) for item in items], None if all(
        row is None for row in block_ids
    ) else block_ids


def given_text(model: LanguageModel, item: TextItem) -> str:
    """The text as the model reads it: a record, where blocks are the fields of one."""
    fields = model.config.partition.kind == PartitionKind.GIVEN and model.given in ("fields", "unknown")
    record = fields and item.blocks is not None and item.block_ids is None
    return json.dumps({"blocks": item.blocks}) if record else item.text


def likeliest(one: TextScore, place: int) -> str:
    """The likeliest tokens in the place of a token, as they are shown beside it; empty where none were asked
    for.
    """
    return "".join(f"   {piece!r} {value:.3f}" for piece, value in one.top(place))


def describe_scores(scores: Scores) -> str:
    """Each token of one short text, and the perplexity of all texts, with a column or line for each λ and
    τ.
    """
    dial, first = scores.dial(), scores[0]
    lines = []
    if dial[0].texts == 1 and len(first.tokens) <= SHOWN_TOKENS:
        titles = [f"λ {one.lam:g}, τ {one.tau:g}" for one in scores]
        shown = [repr(piece)[1:-1] for piece in first.tokens.pieces]
        width = max(map(len, (*shown, "token")), default=0)
        lines.append(f"{'token':<{width}}  {'  '.join(f'{title:>12}' for title in titles)}   ({first.unit})")
        for number, piece in enumerate(shown):
            cells = [
                fixed(float(one.surprisal[number]) if one.context[number] else None, 3) for one in scores
            ]
            likely = likeliest(first, number) if len(scores) == 1 else ""
            lines.append(f"{piece:<{width}}  {'  '.join(f'{cell:>12}' for cell in cells)}{likely}")
        lines.append("")
    for cell in dial:
        lines.append(
            f"λ {cell.lam:g}, τ {cell.tau:g}: perplexity {three(cell.perplexity)}, {three(cell.mean)} {first.unit} a"
            f" token; {cell.scored:,} of {cell.tokens:,} tokens scored, {count(cell.texts, 'text')}"
        )
    return "\n".join(lines)
