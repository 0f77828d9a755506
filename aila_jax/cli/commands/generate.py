"""`aila generate`: text at one setting of the dial."""

import sys

from aila_jax.cli.command import Call, Command
from aila_jax.config.options import GenerateOptions


def _run(call: Call[GenerateOptions]) -> None:
    from aila_jax import runs

    run = runs.open_run(call.path, fallback=call.fallback, step=call.step)
    found = runs.generate(run, call.options)
    if found.cut:
        print(f"aila: {found.cut}", file=sys.stderr)
    print(found.text)


COMMAND = Command(
    name="generate",
    summary="continue a prompt at one λ and τ",
    about=(
        "Prints the continuation, without the prompt. Of a prompt that is longer than what the model reads"
        " only the end is read; a line on standard error says so."
    ),
    examples=('generate --checkpoint=runs/tiny --prompt="Return a new" --lam=0.6',),
    run=_run,
    opening=("fallback", "step"),
    options=GenerateOptions,
)
