"""An answer from passages by a checkpoint or a pretrained model, and its files."""

from pathlib import Path

from aila_jax.answering.answer import answer_question
from aila_jax.answering.prompts import CHAT
from aila_jax.answering.result import Answer
from aila_jax.config import user_path
from aila_jax.config.options import AskOptions
from aila_jax.data.prompts import Template
from aila_jax.reporting.answer_files import write_answer
from aila_jax.runs.opened import OpenedRun, opened
from aila_jax.runs.workdir import check_writable


def answer(run: OpenedRun | str | Path, options: AskOptions, out: str | Path = "") -> Answer:
    """Answers the question from the passages that `options` name.

    Args:
      run: an opened run, or its path.
      options: question, passages, and how it is answered.
      out: folder for answer.html, answer.json, answer.csv and answer_tokens.csv; empty: none are written.
    """
    template = _template(options)
    found = answer_question(opened(run).model, options.question, options.passages, options, template)
    if out:
        write_answer(found, check_writable(user_path(out)))
    return found


def _template(options: AskOptions) -> Template:
    """The usual one, but for what is asked for."""
    usual = CHAT if options.chat else Template()
    return Template(
        usual.header if options.header is None else options.header,
        usual.passage if options.passage_form is None else options.passage_form,
        usual.question if options.question_form is None else options.question_form,
    )
