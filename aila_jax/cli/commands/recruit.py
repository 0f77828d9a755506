"""`aila recruit`: word classes by description length."""

from absl import flags

from aila_jax.cli import command
from aila_jax.cli.command import Command
from aila_jax.cli.config_flag import build_config


def _define(values: flags.FlagValues) -> None:
    command.define_text(
        "checkpoint",
        "",
        "A run whose partition is `recruited`, or one checkpoint of it. Or none, and --config.",
        values,
    )
    flags.DEFINE_integer(
        "top", 20, "Types to list of each class, at least 1.", lower_bound=1, flag_values=values
    )
    command.define_data_dir(values)
    command.define_text(
        "out", "", "Folder for the results. Default: the run directory, or runs/recruit.", values
    )


def _run(values: flags.FlagValues) -> None:
    config = None if values.config is None else build_config(values.config)
    from aila_jax import runs
    from aila_jax.reporting.recruitment_files import describe_recruitment

    report = runs.recruit(
        values.checkpoint, config=config, top=values.top, data_dir=values.data_dir, out=values.out
    )
    print(describe_recruitment(report))


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
    define=_define,
    needed=(),
    run=_run,
    takes_config=True,
)
