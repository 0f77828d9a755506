"""The frontier: what a relation costs in perplexity beside what it shows of the text.

    python -m experiments.frontier --data_dir=$WIKITEXT2

trains what is not trained yet under --runs (10 minutes a run of 4.9M tokens on one core), measures it, and
writes one JSON file per run into --out; runs whose file is there are left alone. Then table.md and figures.
`--which=relations` (the default) are the relations at λ = 1, `--which=bounds` three ways to bound scores,
`--which=dial` one checkpoint over the whole dial beside models trained at one λ. `--only` and `--seeds`
choose a part. `--collect` makes tables and figures from the files that are there, training nothing.
"""

from absl import flags

from experiments import launcher


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    launcher.define_flags("frontier", config="certified_windows5", values=values)
    flags.DEFINE_enum("which", "relations", ["relations", "bounds", "dial"], "Which runs.", values)


def main(argv: list[str]) -> None:
    launcher.no_arguments(argv)
    from aila_jax import runs
    from experiments.frontier import measure, report
    from experiments.frontier.runs import MAKERS, lams_of

    out = launcher.out_folder()
    for stem, config in launcher.asked_runs(MAKERS[launcher.FLAGS.which]):
        if (out / f"{stem}.json").is_file():
            print(f"{stem}: measured already")
            continue
        model = runs.train(config, launcher.runs_folder() / stem).load()
        name = stem.rsplit("-seed", 1)[0]
        found = measure.measure(name, model, runs.dataset_of(model), lams_of(config))
        measure.write_result(found, out, stem)
    print(report.collect(out))


if __name__ == "__main__":
    define_flags()
    flags.adopt_module_key_flags(launcher)  # so that --help shows them
    launcher.run(main)
