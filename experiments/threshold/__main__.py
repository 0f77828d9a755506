"""The threshold formula against what was measured: predicted, exactly stationary, and zeroed along a proximal
path.

    python -m experiments.threshold --data_dir=$WIKITEXT2 --out=docs/results/threshold

trains what is not trained yet under --runs (windows of 3, 5 and 10, a third of the preset `small`'s steps
each), measures it, and writes one CSV and JSON per run into --out, then table.md and the scatter. `--only`
and `--seeds` choose a part. `--collect` makes the table and the figure from the files that are there,
training nothing.

`aila threshold --checkpoint=runs/x` measures a run of your own.
"""

from absl import flags

from experiments import launcher


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    launcher.define_flags("threshold", values=values)
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
    launcher.no_arguments(argv)
    from aila_jax import runs
    from aila_jax.thresholds import measure as threshold
    from aila_jax.thresholds import report as threshold_report
    from aila_jax.thresholds import rows as threshold_rows
    from aila_jax.thresholds.path import PathSettings

    given = launcher.FLAGS
    path = PathSettings(ratio=given.ratio, steps=given.steps, most_levels=given.path_levels)
    settings = threshold.ThresholdSettings(gradients=given.gradients, at_zero=given.at_zero, path=path)
    for stem, config in launcher.asked_runs(threshold.threshold_runs):
        model = runs.train(config, launcher.runs_folder() / stem).load()
        threshold_rows.write_threshold(
            threshold.measure(model, runs.dataset_of(model), settings), launcher.out_folder() / stem
        )
    print(threshold_report.collect(launcher.out_folder()))


if __name__ == "__main__":
    define_flags()
    flags.adopt_module_key_flags(launcher)  # so that --help shows them
    launcher.run(measure_all)
