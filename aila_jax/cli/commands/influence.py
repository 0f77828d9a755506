"""`aila influence`: how far predictions depend on tokens outside their block."""

from aila_jax.cli.command import Call, Command
from aila_jax.config.options import InfluenceOptions


def _run(call: Call[InfluenceOptions]) -> None:
    from aila_jax import runs

    run = runs.open_run(call.path, call.window, call.data_dir, call.fallback, call.step, call.relation)
    print(runs.describe_influence(runs.influence(run, call.options, call.out)))


COMMAND = Command(
    name="influence",
    summary="measure how far predictions depend on tokens outside their block",
    about=(
        "For queries drawn at random, replaces the tokens outside the query's block (and, for scale, those"
        " inside it) by tokens drawn from the training text, and prints how far the prediction moves: the KL"
        " divergence in nats, over λ, beside the attention mass; and bounds what each head can carry. Writes"
        " influence.csv, influence_heads.csv, influence.json and a figure."
    ),
    examples=(
        "influence --checkpoint=runs/tiny",
        "influence --checkpoint=runs/tiny --lams=0,0.5,1 --positions=1000 --split=test --without_attention",
    ),
    run=_run,
    options=InfluenceOptions,
    opening=("window", "relation", "data_dir", "fallback", "step"),
    out="Folder for the CSV and JSON files and the figure. Default: the run directory.",
)
