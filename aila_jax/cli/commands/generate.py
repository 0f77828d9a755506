"""`aila generate`: text at one setting of the dial."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aila_jax.cli.command import MODEL, Call, Command
from aila_jax.cli.paths import is_output_file, is_text_file
from aila_jax.config import require
from aila_jax.config.options import PromptOptions

if TYPE_CHECKING:
    from aila_jax.inference.generation import Continuation


def _run(call: Call[PromptOptions]) -> None:
    from aila_jax import runs

    run = runs.open_run(call.path, fallback=call.fallback, step=call.step)
    if call.options.stream:
        require(not call.out, "out", call.out, "left out with --stream", "leave --stream out")
        for piece in runs.stream(run, call.options):
            print(piece, end="", flush=True)
        print()
        return
    found = runs.generate(run, call.options, call.out)
    for of_prompt in found:
        if of_prompt[0].cut:
            print(f"aila: {of_prompt[0].cut}", file=sys.stderr)
    if call.out == "-":
        sys.stdout.write(runs.continuation_lines(found))
        return
    texts = [one for of_prompt in found for one in of_prompt]
    _show(texts, bool(call.options.stop))
    for one in texts if call.options.logprobs is not None else ():
        print(
            f"\nlog-probabilities (nats), seed {one.seed}, and the likeliest tokens\n{runs.describe_tokens(one)}"
        )
    if call.out:
        print(f"Written to {call.out}", file=sys.stderr)


def _show(found: Sequence["Continuation"], stops: bool) -> None:
    """One text as it is; several each under a line that says which it is and why it ended."""
    if len(found) > 1:
        for one in found:
            print(f"--- {one.prompt[-40:]!r}, seed {one.seed}, {one.end}\n{one.text}")
        return
    if stops:
        print(f"aila: {found[0].end}", file=sys.stderr)
    print(found[0].text)


COMMAND = Command(
    name="generate",
    summary="continue a prompt at one λ and τ",
    about=(
        "Prints the continuation, without the prompt; of several samples or prompts each under a line with the"
        " prompt's end, the seed and why it ended. Of a prompt that is longer than what the model reads only"
        " the end is read; a line on standard error says so. --out writes JSON lines."
    ),
    examples=(
        'generate --checkpoint=runs/tiny --prompt="Return a new" --lam=0.6',
        'generate --checkpoint=runs/tiny --prompt="Return a new" --samples=3 --seed=5 --stop=. --stop="\\n"',
        "generate --checkpoint=runs/tiny --prompt_file=prompts.jsonl --out=texts.jsonl",
        'generate --checkpoint=runs/tiny --prompt="Return a new" --top_p=0.9 --stream',
        'generate --checkpoint=runs/tiny --prompt="Return a new" --max_tokens=8 --logprobs=3',
    ),
    run=_run,
    path=MODEL,
    opening=("fallback", "step"),
    options=PromptOptions,
    paths=(("prompt_file", is_text_file),),
    out="File of JSON lines to write; `-` is standard output. Default: none.",
    out_check=is_output_file,
)
