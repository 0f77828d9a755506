"""`aila attention`: where heads look in a text."""

from absl import flags

from aila_jax.cli import command
from aila_jax.cli.command import Command
from aila_jax.config import check_lam, check_tau, require


def _define(values: flags.FlagValues) -> None:
    command.define_checkpoint(values)
    command.define_text(
        "text", None, "The text to look at, at most as many tokens as the model reads.", values
    )
    command.define_numbers(
        "lam", "Values of λ with commas between them; a figure for each.", values, default=(0.0, 0.5, 1.0)
    )
    command.define_tau(values)
    command.define_numbers(
        "layers", "Layers to draw, counted from 0, with commas between them. Default: all.", values
    )
    command.define_numbers(
        "heads", "Heads to draw, counted from 0, with commas between them. Default: all.", values
    )
    command.define_text(
        "out", "", "Folder for the pictures. Default: `attention` in the run directory.", values
    )


def _run(values: flags.FlagValues) -> None:
    lam, tau = tuple(check_lam(lam, "--lam") for lam in values.lam), check_tau(values.tau, "--tau")
    require(
        bool(values.text.strip()),
        "--text",
        values.text,
        "a text of at least one token",
        'pass --text="Return a new list", say',
    )
    layers, heads = (
        wanted and tuple(whole(number) for number in wanted) for wanted in (values.layers, values.heads)
    )
    from aila_jax import runs

    for path in runs.attention(
        values.checkpoint, text=values.text, lam=lam, tau=tau, layers=layers, heads=heads, out=values.out
    ):
        print(path)


def whole(number: float) -> int | float:
    """2.0 as 2; a number that is not whole stays, to be refused with the others that are no layer or head."""
    return int(number) if number.is_integer() else number


COMMAND = Command(
    name="attention",
    summary="draw where every head looks in a text, at one or several λ",
    about=(
        "Writes a figure (PNG and SVG) for each λ, a map for every layer and head with the blocks outlined,"
        " and attention.html, one page with a slider over these λ."
    ),
    examples=(
        "attention --checkpoint=runs/tiny --text='Return a new list' --lam=0,0.5,1",
        (
            "attention --checkpoint=runs/tiny --text='Return a new list' --lam=1 --tau=0.5 --layers=0"
            " --heads=0,2 --out=pictures"
        ),
    ),
    define=_define,
    needed=("checkpoint", "text"),
    run=_run,
)
