"""`aila diagnose`: which failure signatures a run shows, why, and what to change."""

from aila_jax.cli.command import Call, Command
from aila_jax.config.options import DiagnoseOptions


def _run(call: Call[DiagnoseOptions]) -> None:
    from aila_jax import runs

    run = runs.open_run(call.path, data_dir=call.data_dir, fallback=call.fallback)
    print(runs.describe_diagnosis(runs.diagnose(run, call.options, call.out)))


COMMAND = Command(
    name="diagnose",
    summary="say which failure signatures a run shows, why, and what to change",
    about=(
        "Looks for entropy that stays high at λ = 1, quality that collapses on the dial, training that"
        " converges early and generalises badly, a dial that is not graded, attention that is hardly used,"
        " dead or flat heads and non-finite updates. Reads the run's sweep.json and metrics.jsonl where they"
        " are, and measures the rest on a little text. What cannot be assessed is named. Writes"
        " diagnosis.json."
    ),
    examples=(
        "diagnose --checkpoint=runs/tiny",
        "diagnose --checkpoint=runs/small --data_dir=$WIKITEXT2 --batches=32",
    ),
    run=_run,
    options=DiagnoseOptions,
    opening=("data_dir", "fallback"),
    out="Folder for diagnosis.json. Default: the run directory.",
)
