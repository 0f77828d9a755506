"""Text by a checkpoint at one setting of the dial."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from aila_jax.config import require, user_path
from aila_jax.config.options import PromptOptions
from aila_jax.data.text_lists import TextItem, read_text_list
from aila_jax.files import write_atomically
from aila_jax.inference.generation import Continuation
from aila_jax.inference.language_model import LanguageModel
from aila_jax.inference.rows import Likely
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
    texts, block_ids = _prompts(model, options)
    if options.chat:
        found = tuple(model.continuations(None, options, chat=_message(text))[0] for text in texts)
    else:
        found = model.continuations(texts, options, block_ids)
    if str(out) not in ("", "-"):
        write_atomically(user_path(out), continuation_lines(found).encode("utf-8"))
    return found


def stream(run: OpenedRun | str | Path, options: PromptOptions) -> Iterator[str]:
    """The text of the one prompt that `options` name, in pieces as they are drawn.

    Raises:
      ValueError: several prompts.
    """
    model = opened(run).model
    texts, block_ids = _prompts(model, options)
    fix = "leave --stream out"
    require(
        len(texts) == 1, "prompt_file", options.prompt_file, f"one prompt to stream, not {len(texts)}", fix
    )
    if options.chat:
        return model.streamed(None, options, chat=_message(texts[0]))
    return model.streamed(texts[0], options, None if block_ids is None else block_ids[0])


def _prompts(
    model: LanguageModel, options: PromptOptions
) -> tuple[list[str], list[tuple[int, ...] | None] | None]:
    """The prompts, and their blocks."""
    file = options.prompt_file
    items = read_text_list(file) if file else (TextItem(0, options.prompt),)
    texts, block_ids = given_texts(model, items)
    return [_prompt(text, options) for text in texts], block_ids


def _message(text: str) -> list[dict[str, str]]:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]


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
            "lam": one.lam,
            "tau": one.tau,
            **({"tokens": _tokens(one)} if one.drawn else {}),
        }
        for of_prompt in found
        for one in of_prompt
    )
    return "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)


def _tokens(made: Continuation) -> list[dict[str, object]]:
    """Each new token with its log-probability, and the likeliest ones in its place."""
    return [
        {**_likely(token), "likeliest": [_likely(other) for other in others]}
        for token, others in zip(made.drawn, made.others, strict=True)
    ]


def _likely(one: Likely) -> dict[str, object]:
    return {"id": one.token, "text": one.text, "logprob": one.logprob}


def describe_tokens(made: Continuation) -> str:
    """A line for each new token: it, its log-probability in nats, and the likeliest ones in its place."""
    return "\n".join(
        f"{token.text!r:<16} {token.logprob:8.3f}   "
        + "  ".join(f"{other.text!r} {other.logprob:.3f}" for other in others)
        for token, others in zip(made.drawn, made.others, strict=True)
    )
