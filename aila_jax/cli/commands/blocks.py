"""`aila blocks`: what a partition makes of a corpus."""

from absl import flags

from aila_jax.cli import command
from aila_jax.cli.command import Command
from aila_jax.cli.config_flag import build_config


def _define(values: flags.FlagValues) -> None:
    command.define_text(
        "checkpoint", "", "A run directory, or one checkpoint inside it. Or none, and --config.", values
    )
    about = (
        "With --config: choose the partition's free setting (size of windows, mean length of learned"
        " segments, number of classes) for so many keys in a query's block, itself included, on average."
    )
    flags.DEFINE_float("n_in", None, about, lower_bound=1.0, flag_values=values)
    command.define_text(
        "split", "train", "The text whose windows are read: train, validation or test.", values
    )
    flags.DEFINE_integer(
        "batches", 0, "Read only so many batches of 64 windows; 0 is all.", lower_bound=0, flag_values=values
    )
    flags.DEFINE_integer(
        "top",
        20,
        "Types to list of each class, or boundary types, at least 1.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "examples", 8, "Stretches of text to show, at least 1.", lower_bound=1, flag_values=values
    )
    command.define_data_dir(values)
    command.define_text(
        "out",
        "",
        "Folder for blocks.json and the CSV files. Default: the run directory, or runs/blocks.",
        values,
    )


def _run(values: flags.FlagValues) -> None:
    config = None if values.config is None else build_config(values.config)
    from aila_jax import runs
    from aila_jax.reporting.block_files import describe_blocks

    report = runs.blocks(
        values.checkpoint,
        config=config,
        n_in=values.n_in,
        split=values.split,
        batches=values.batches,
        top=values.top,
        examples=values.examples,
        data_dir=values.data_dir,
        out=values.out,
    )
    print(describe_blocks(report))


COMMAND = Command(
    name="blocks",
    summary="show what a partition makes of a corpus",
    about=(
        "Prints how many keys a query finds in its block, how many blocks there are and how large, the"
        " correlation of the model's embeddings inside and between blocks, the classes or boundary types, and"
        " real text with the blocks marked; writes blocks.json and CSV files. With --checkpoint it is the"
        " checkpoint's partition; with --config, and no model, one that is fitted now."
    ),
    examples=(
        "blocks --checkpoint=runs/tiny",
        "blocks --config=tiny --config.partition.kind=segments",
        (
            "blocks --config=small --data_dir=$WIKITEXT2 --config.partition.kind=learned_segments"
            " --config.partition.mean_length=8"
        ),
        "blocks --config=tiny --config.partition.kind=learned_segments --n_in=3",
    ),
    define=_define,
    needed=(),
    run=_run,
    takes_config=True,
)
