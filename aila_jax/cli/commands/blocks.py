"""`aila blocks`: what a partition makes of a corpus."""

from aila_jax.cli.command import Call, Command, PathFlag
from aila_jax.config.options import BlocksOptions


def _run(call: Call[BlocksOptions]) -> None:
    from aila_jax import runs
    from aila_jax.reporting.block_files import describe_blocks

    source = runs.open_source(call.path, call.config, call.data_dir, call.fallback)
    print(describe_blocks(runs.blocks(source, call.options, call.out)))


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
    run=_run,
    options=BlocksOptions,
    path=PathFlag("checkpoint", "A run directory, or one checkpoint inside it. Or none, and --config.", ""),
    opening=("data_dir", "fallback"),
    out="Folder for blocks.json and the CSV files. Default: the run directory, or runs/blocks.",
    takes_config=True,
)
