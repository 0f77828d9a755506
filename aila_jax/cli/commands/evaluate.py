"""`aila evaluate`: a checkpoint at one setting of the dial."""

from aila_jax.cli.command import Call, Command
from aila_jax.config.options import EvaluateOptions


def _run(call: Call[EvaluateOptions]) -> None:
    from aila_jax import runs
    from aila_jax.columns import row_values

    run = runs.open_run(call.path, call.window, call.data_dir, call.fallback)
    row = runs.evaluate_cell(run, call.options)
    for name, value in row_values(row).items():
        print(f"{name:<20} {'-' if value is None else f'{value:.6g}' if isinstance(value, float) else value}")


COMMAND = Command(
    name="evaluate",
    summary="score a checkpoint at one λ and τ",
    about=(
        "Scores the corpus that the checkpoint was trained on and prints loss, perplexity, accuracy,"
        " attention entropy and block mass."
    ),
    examples=(
        "evaluate --checkpoint=runs/tiny --lam=0.6",
        "evaluate --checkpoint=runs/tiny --lam=1 --hard --split=test",
    ),
    run=_run,
    options=EvaluateOptions,
    opening=("window", "data_dir", "fallback"),
)
