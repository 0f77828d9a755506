"""`aila recruit`: word classes by description length."""

from aila_jax.cli.command import Call, Command, PathFlag
from aila_jax.config.options import RecruitOptions


def _run(call: Call[RecruitOptions]) -> None:
    from aila_jax import runs
    from aila_jax.reporting.recruitment_files import describe_recruitment

    source = runs.open_source(call.path, call.config, call.data_dir, call.fallback)
    print(describe_recruitment(runs.recruit_classes(source, call.options, call.out)))


COMMAND = Command(
    name="recruit",
    summary="recruit word classes from a corpus by description length",
    about=(
        "Starts with few classes of token types and splits, moves and merges them while that lowers the bits"
        " of model and text together; trains nothing. Prints the classes found, and writes recruitment.json,"
        " recruitment.csv (bits at every step), recruitment.txt and a figure. `train` does the same with"
        " --config.partition.kind=recruited."
    ),
    examples=(
        "recruit --config=small --data_dir=$WIKITEXT2 --out=runs/recruit",
        "recruit --config=tiny --config.partition.kind=recruited --config.partition.max_classes=40",
    ),
    run=_run,
    options=RecruitOptions,
    path=PathFlag(
        "checkpoint",
        "A run whose partition is `recruited`, or one checkpoint of it. Or none, and --config.",
        "",
    ),
    opening=("data_dir", "fallback"),
    out="Folder for the results. Default: the run directory, or runs/recruit.",
    takes_config=True,
)
