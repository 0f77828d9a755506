"""`aila attention`: where heads look in a text."""

from aila_jax.cli.command import MODEL, Call, Command
from aila_jax.cli.paths import is_output_file
from aila_jax.config.options import AttentionOptions


def _run(call: Call[AttentionOptions]) -> None:
    from aila_jax import runs

    run = runs.open_run(call.path, fallback=call.fallback, step=call.step)
    for path in runs.attention(run, call.options, call.out):
        print(path)


COMMAND = Command(
    name="attention",
    summary="draw where every head looks in a text, at one or several λ",
    about=(
        "Writes a figure (PNG and SVG) for each λ, a map for every layer and head with the blocks outlined,"
        " and attention.html, one page with a slider over these λ. By token, or by whole words; of each head, or"
        " the mean over heads or layers. --npz writes the weights themselves."
    ),
    examples=(
        "attention --checkpoint=runs/tiny --text='Return a new list' --lam=0,0.5,1",
        (
            "attention --checkpoint=runs/tiny --text='Return a new list' --lam=1 --tau=0.5 --layers=0"
            " --heads=0,2 --out=pictures"
        ),
        "attention --checkpoint=runs/tiny --text='Return a new list' --by_word --mean_heads --npz=weights.npz",
    ),
    run=_run,
    path=MODEL,
    opening=("fallback", "step"),
    options=AttentionOptions,
    paths=(("npz", is_output_file),),
    out="Folder for the pictures. Default: `attention` in the run directory.",
)
