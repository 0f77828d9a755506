"""`aila evaluate`: a checkpoint at one setting of the dial."""

from typing import TYPE_CHECKING

from aila_jax.cli.command import Call, Command
from aila_jax.config.options import EvaluateOptions

if TYPE_CHECKING:
    from aila_jax.evaluation.rows import CellRow

FIRST = (
    "perplexity_token",
    "accuracy",
    "entropy_bits",
    "block_mass",
    "guaranteed_block_mass",
    "guaranteed_entropy_bits",
    "loss",
)


def _run(call: Call[EvaluateOptions]) -> None:
    from aila_jax import runs

    run = runs.open_run(call.path, call.window, call.data_dir, call.fallback, call.step, call.relation)
    print(describe_cell(runs.evaluate_cell(run, call.options)))


def describe_cell(row: "CellRow") -> str:
    """A line for each field that has a value, what matters first."""
    from aila_jax.columns import row_values

    values = {name: value for name, value in row_values(row).items() if value is not None}
    names = sorted(values, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    width = max(map(len, names))
    shown = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in values.items()}
    return "\n".join(f"{name:<{width}}  {shown[name]}" for name in names)


COMMAND = Command(
    name="evaluate",
    summary="score a checkpoint at one λ and τ",
    about=(
        "Scores the corpus that the checkpoint was trained on and prints perplexity, accuracy,"
        " attention entropy, block mass and what is guaranteed of them, then the rest."
    ),
    examples=(
        "evaluate --checkpoint=runs/tiny --lam=0.6",
        "evaluate --checkpoint=runs/tiny --lam=1 --hard --split=test",
    ),
    run=_run,
    options=EvaluateOptions,
    opening=("window", "relation", "data_dir", "fallback", "step"),
    several=True,
)
