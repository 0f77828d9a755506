"""The leak: what accuracy a model reaches that sees its targets, beside the law that predicts it and beside
causal models.

    python -m experiments.leak --data_dir=$WIKITEXT2 --out=docs/results/leak

trains what is not trained yet under --runs (eight runs of the preset `small`, about an hour on one core),
measures it, and writes one CSV and JSON per run into --out, then table.md and the figure. `--only` and
`--seeds` choose a part. `--collect` makes the table and the figure from the files that are there, training
nothing.
"""

from absl import flags

from experiments import launcher


def main(argv: list[str]) -> None:
    launcher.no_arguments(argv)
    from aila_jax import runs
    from experiments.leak import report as leak_report
    from experiments.leak import runs as leak

    out = launcher.out_folder()
    for stem, config in launcher.asked_runs(leak.leak_runs):
        model = runs.train(config, launcher.runs_folder() / stem).load()
        dataset = runs.dataset_of(model)
        leak.write_rows(leak.measure(model, dataset), model, dataset, out / stem)
    print(leak_report.collect(out))


if __name__ == "__main__":
    launcher.define_flags("leak")
    flags.adopt_module_key_flags(launcher)  # so that --help shows them
    launcher.run(main)
