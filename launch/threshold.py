"""The threshold formula against what was measured: predicted, exactly stationary, and zeroed along a proximal
path.

    python -m launch.threshold --data_dir=$WIKITEXT2 --out=docs/results/threshold

trains what is not trained yet under --runs (windows of 3, 5 and 10, a third of the preset `small`'s steps
each), measures it, and writes one CSV and JSON per run into --out, then table.md and the scatter. `--only`
and `--seeds` choose a part. `--collect` makes the table and the figure from the files that are there,
training nothing.

    python -m launch.threshold --checkpoint=runs/x

measures a run of your own instead, and is `aila threshold …` after an installation;
`--checkpoint=runs/x --help` explains its flags.
"""

import sys

from absl import flags

from launch import experiment


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    experiment.define_flags("threshold", values=values)
    flags.DEFINE_integer(
        "gradients",
        256,
        "Batches of 8 sequences for the gradient at the checkpoint.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "at_zero",
        4,
        "Those of them in which every group is set to zero in turn.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "steps", 8, "Proximal steps at each level of the path.", lower_bound=1, flag_values=values
    )
    flags.DEFINE_integer(
        "path_levels",
        20,
        "Levels of the path at most; it ends where every group is zero.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_float(
        "ratio", 1.35, "Ratio of one level of the path to the next, above 1.", flag_values=values
    )


def measure_all(argv: list[str]) -> None:
    experiment.no_arguments(argv)
    from aila_jax import runs
    from aila_jax.thresholds import measure as threshold
    from aila_jax.thresholds import report as threshold_report
    from aila_jax.thresholds import rows as threshold_rows
    from aila_jax.thresholds.path import PathSettings

    given = experiment.FLAGS
    path = PathSettings(ratio=given.ratio, steps=given.steps, most_levels=given.path_levels)
    settings = threshold.ThresholdSettings(gradients=given.gradients, at_zero=given.at_zero, path=path)
    for stem, config in experiment.asked_runs(threshold.threshold_runs):
        model = runs.train(config, experiment.runs_folder() / stem).load()
        threshold_rows.write_threshold(
            threshold.measure(model, runs.dataset_of(model), settings), experiment.out_folder() / stem
        )
    print(threshold_report.collect(experiment.out_folder()))


if __name__ == "__main__":
    if any(argument.lstrip("-").partition("=")[0] == "checkpoint" for argument in sys.argv[1:]):
        from aila_jax.cli.main import main

        sys.exit(main(["threshold", *sys.argv[1:]], program="python -m launch.threshold"))
    define_flags()
    flags.adopt_module_key_flags(experiment)  # so that --help shows them
    experiment.run(measure_all)
