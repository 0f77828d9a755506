"""`aila score`: how surprising texts are to a checkpoint."""

import sys

from aila_jax.cli.command import MODEL, Call, Command
from aila_jax.cli.paths import is_output_file, is_text_file
from aila_jax.config.options import ScoreTextOptions


def _run(call: Call[ScoreTextOptions]) -> None:
    from aila_jax import runs

    run = runs.open_run(
        call.path, call.window, fallback=call.fallback, step=call.step, relation=call.relation
    )
    scores = runs.score(run, call.options, call.out)
    if call.out == "-":
        sys.stdout.write(scores.to_jsonl())
        return
    print(runs.describe_scores(scores))
    if call.out:
        print(f"Written to {call.out}")


COMMAND = Command(
    name="score",
    summary="surprisal by token and perplexity of a text or a file",
    about=(
        "Prints the perplexity of the texts at each λ and τ, and of one short text the surprisal of each token."
        " With --out it writes JSON lines, one for each λ, τ and text: tokens, where they stand, their"
        " surprisal, words, perplexity. The first token of a text is not scored, since nothing comes before it"
        " (--line_start). Texts longer than the model reads at once are read in windows that overlap."
    ),
    examples=(
        "score --checkpoint=runs/tiny --text='Return a new list' --lam=0,0.5,1",
        "score --checkpoint=runs/tiny --file=texts.jsonl --lam=0,1 --unit=bits --out=scores.jsonl",
        "score --checkpoint=runs/tiny --file=- --by_line --out=-",
    ),
    run=_run,
    path=MODEL,
    options=ScoreTextOptions,
    opening=("window", "relation", "fallback", "step"),
    paths=(("file", is_text_file),),
    out="File of JSON lines to write; `-` is standard output. Default: none.",
    out_check=is_output_file,
)
