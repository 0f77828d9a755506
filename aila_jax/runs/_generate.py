"""Text by a checkpoint at one setting of the dial."""

import json
from collections.abc import Sequence
from pathlib import Path

from aila_jax.config import user_path
from aila_jax.config.options import PromptOptions
from aila_jax.data.text_lists import TextItem, read_text_list
from aila_jax.files import write_atomically
from aila_jax.inference.generation import Continuation
from aila_jax.runs._score import given_texts
from aila_jax.runs.opened import OpenedRun, opened


def generate(
    run: OpenedRun | str | Path, options: PromptOptions, out: str | Path = ""
) -> tuple[tuple[Continuation, ...], ...]:
    """Continues the prompts that `options` name: of each prompt each sample.

    Args:
      run: an opened run, or its path.
      options: the prompts, and how they are continued.
      out: the file of JSON lines; empty or `-`: none is written.
    """
    model = opened(run).model
    file = options.prompt_file
    items = read_text_list(file) if file else (TextItem(0, options.prompt),)
    texts, block_ids = given_texts(model, items)
    found = model.continuations([_prompt(text, options) for text in texts], options, block_ids)
    if str(out) not in ("", "-"):
        write_atomically(user_path(out), continuation_lines(found).encode("utf-8"))
    return found


def _prompt(text: str, options: PromptOptions) -> str:
    """Without the line end that editors put at the end of a file: it would be the prompt's last token."""
    return text.removesuffix("\n") if options.prompt_file else text


def continuation_lines(found: Sequence[Sequence[Continuation]]) -> str:
    """JSON lines, one for each continuation."""
    records = (
        {
            "prompt": one.prompt,
            "seed": one.seed,
            "text": one.text,
            "ended": one.ended,
            "stop": one.stop or None,
            "new_tokens": one.new_tokens,
            "prompt_tokens": one.prompt_tokens,
            "read_tokens": one.read_tokens,
            "dropped": one.dropped,
        }
        for of_prompt in found
        for one in of_prompt
    )
    return "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)
