"""The table of the questions experiment: accuracy of each mode by kind of question and number of passages."""

from pathlib import Path

from aila_jax.config.questions import KINDS
from aila_jax.files import write_atomically
from aila_jax.formats import MISSING
from aila_jax.reporting.results import result_paths
from aila_jax.reporting.tables import markdown
from experiments.questions.runs import MODES, AnswerRow, read_rows


def collect(directory: Path) -> str:
    """Makes table.md from the result files in `directory`; returns it. Each seed is a row of its own, with
    the 95 % interval of its questions; `loss` is what isolation costs, in points.

    Raises:
      ValueError: there is no result file, or one that is not a result of this experiment.
    """
    rows = [row for files in result_paths(directory).values() for path in files for row in read_rows(path)]
    found = {(row.kind, row.passages, row.seed, row.mode): row for row in rows}
    keys = [(row.passages, KINDS.index(row.kind), row.seed) for row in rows]
    lines = [_line(found, *key) for key in sorted(set(keys))]
    text = markdown(("passages", "question", "seed", "questions", *MODES, "loss"), lines)
    write_atomically(directory / "table.md", text.encode())
    return text


def _line(
    found: dict[tuple[str, int, int, str], AnswerRow], passages: int, kind: int, seed: int
) -> tuple[str, ...]:
    rows = [found.get((KINDS[kind], passages, seed, mode)) for mode in MODES]
    shares = [
        MISSING if row is None else f"{row.accuracy:.1%} ({row.low:.1%} to {row.high:.1%})" for row in rows
    ]
    together, isolated = rows
    loss = (
        MISSING
        if together is None or isolated is None
        else f"{100 * (together.accuracy - isolated.accuracy):.1f}"
    )
    count = max(row.questions for row in rows if row is not None)
    return str(passages), KINDS[kind].replace("_", " "), str(seed), str(count), *shares, loss
