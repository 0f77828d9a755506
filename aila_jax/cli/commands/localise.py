"""`aila localise`: a dial for somebody's model."""

from dataclasses import replace

from absl import flags

from aila_jax.cli.command import WORKDIR, Call, Command
from aila_jax.cli.commands.train import blocks_as_asked, data_of_start, train_as_asked
from aila_jax.cli.config_flag import overrides
from aila_jax.cli.options import define_options, read_options
from aila_jax.cli.paths import is_model
from aila_jax.config import Config, require
from aila_jax.config.options import LocaliseOptions


def _base(arguments: list[str]) -> Config:
    """The configuration that the options make."""
    values = flags.FlagValues()
    define_options(LocaliseOptions, values)
    values.set_gnu_getopt(True)
    values(["aila", *arguments], known_only=True)
    if not values.start:
        return Config()  # a needed flag is missing, which is said where all are
    options = read_options(LocaliseOptions, values)
    is_model("--start", options.start)
    given = any(name in ("data.corpus", "data.files") for name in overrides(arguments))
    fix = "--config.data.corpus=text --config.data.files='my/*.txt', or another corpus of docs/data.md"
    require(given, "data.corpus", "not given", "the text to learn the dial on", fix)
    from aila_jax import runs

    config = runs.localised_config(options)
    return blocks_as_asked(replace(config, data=data_of_start(config.data)), arguments)


def _run(call: Call[LocaliseOptions]) -> None:
    train_as_asked(call, call.options.start)


COMMAND = Command(
    name="localise",
    summary="give a pretrained model a dial",
    about=(
        "At λ = 0 the model stays what it is, bit for bit; towards λ = 1 its attention keeps to the blocks"
        " (sentences and the begin token, unless --config.partition and --config.relation say otherwise), and"
        " low-rank adapters learn to do without the rest: half from the text, half from what the model itself"
        " says at λ = 0. The same command continues a run that was stopped. Its checkpoints hold the adapters"
        " alone, and read the model again from where it was; AILA_BASE says where it is now. Every setting of"
        " `aila train` can be changed with --config.KEY=VALUE."
    ),
    examples=(
        (
            "localise --start=my/folder --workdir=runs/mine --config.data.corpus=text"
            " --config.data.files='my/*.txt'"
        ),
        (
            "localise --start=model.gguf --workdir=runs/ends --config.data.corpus=text"
            " --config.data.files=my.txt --config.relation.pointers=ends --tokens=1000000"
        ),
        (
            "localise --start=model.gguf --workdir=runs/reader --config.data.corpus=questions"
            " --config.partition.kind=given"
        ),
    ),
    run=_run,
    options=LocaliseOptions,
    path=WORKDIR,
    opening=("data_dir",),
    takes_config=True,
    takes_source=False,
    needs_config=True,
    base=_base,
    begins=lambda call: False,
    several=True,
)
