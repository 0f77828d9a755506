"""What the launchers of experiments share: their flags, and the runs that the flags ask for.

    define_flags("leak")                              # before run(main)
    for stem, config in asked_runs(leak.leak_runs):   # train, measure, write a result file OUT/stem.json
        run = runs.train(config, runs_folder() / stem)

`--only` and `--seeds` choose a part; with `--collect` there are no runs, only what is made from the result
files.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from absl import app, flags, logging

if TYPE_CHECKING:
    from aila_jax.config import Config

FLAGS = flags.FLAGS


def define_flags(
    name: str, seeds: Sequence[int] = (0,), config: str = "small", values: flags.FlagValues = FLAGS
) -> None:
    """The flags of the experiment `name`: its folders have that name unless they are given, its runs start
    from `config`.
    """
    define_places(name, values)
    flags.DEFINE_string("config", config, "Preset or Python file that the runs start from.", values)
    flags.DEFINE_list("seeds", [str(seed) for seed in seeds], "Seeds.", values)


def define_places(name: str, values: flags.FlagValues = FLAGS) -> None:
    """Those of any experiment: its text, its folders, and what of it is done."""
    flags.DEFINE_string("data_dir", "", "Folder with wiki.{train,valid,test}.tokens.", values)
    flags.DEFINE_string("runs", f"runs/{name}", "Folder for the training runs.", values)
    define_results(name, values)


def define_results(name: str, values: flags.FlagValues = FLAGS) -> None:
    """Those of an experiment that neither trains nor reads a corpus: its result files, and what is done."""
    flags.DEFINE_string("out", f"docs/results/{name}", "Folder for the result files.", values)
    flags.DEFINE_list("only", [], "Names of the runs; all by default.", values)
    flags.DEFINE_bool("debug", False, "Show the traceback of an error.", values)
    flags.DEFINE_bool("collect", False, "Only make the table and the figure from the result files.", values)


def run(main: Callable[[list[str]], None]) -> None:
    """`app.run(main)`, where a mistake in the call is told in one line, as `aila` tells it. Libraries say
    warnings alone, unless `--verbosity` asks for more: Orbax says a line for every file it reads.
    """
    from aila_jax.cli import signals
    from aila_jax.cli.main import explained

    def call_main(argv: list[str]) -> int:
        def call() -> int:
            if not FLAGS["verbosity"].present:
                logging.set_verbosity(logging.WARNING)
            main(argv)
            return 0

        signals.ANSWER.code = explained(call, FLAGS.debug)
        return signals.ANSWER.code

    signals.install()
    app.run(call_main)


def no_arguments(argv: Sequence[str]) -> None:
    """Refuses what is no flag."""
    if argv[1:]:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; give settings as --flag=value")


def out_folder() -> Path:
    return Path(FLAGS.out)


def runs_folder() -> Path:
    return Path(FLAGS.runs)


def asked_runs(make: Callable[["Config"], dict[str, "Config"]]) -> Iterator[tuple[str, "Config"]]:
    """(NAME-seedS, configuration) of each run that is asked for, seed by seed; none with `--collect`.

    Args:
      make: the experiment's runs by name, from the configuration that they start from.

    Raises:
      ValueError: a seed that is no number, a name in `--only` that is no run, a preset or file that does not
        exist; before the first run.
    """
    from aila_jax import presets
    from aila_jax.cli.config_flag import load_source
    from aila_jax.config import Config, from_dict, one_of

    start = presets.as_measured(from_dict(Config, load_source(FLAGS.config)))
    base = presets.with_data_dir(start, FLAGS.data_dir)
    for name in FLAGS.only:
        one_of("--only", name, tuple(make(base)))
    for seed in FLAGS.seeds:
        if not seed.isdecimal():
            raise ValueError(
                f"--seeds holds {seed!r}; it must be whole numbers from 0 with commas between. Fix:"
                " --seeds=0,1,2"
            )
    asked = [] if FLAGS.collect else dict.fromkeys(int(seed) for seed in FLAGS.seeds)
    chosen = [(seed, make(replace(base, seed=seed))) for seed in asked]
    return (
        (f"{name}-seed{seed}", config)
        for seed, named in chosen
        for name, config in named.items()
        if name in FLAGS.only or not FLAGS.only
    )
