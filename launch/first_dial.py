"""The first result: plain, fixed and conditional training on WikiText-2, each dialled over λ × τ.

    python -m launch.first_dial --data_dir=$WIKITEXT2 --out=docs/results/first_dial

trains what is not trained yet under --runs, sweeps it, and writes one CSV and JSON per run into --out;
`--only` and `--seeds` choose a part. `--collect` makes the table and the figure from the files that are
there, training nothing.
"""

from absl import flags

from launch import experiment


def main(argv: list[str]) -> None:
    experiment.no_arguments(argv)
    from aila_jax import runs
    from experiments import first_dial
    from experiments.results import write_result

    out = experiment.out_folder()
    for stem, config in experiment.asked_runs(first_dial.first_dial):
        run = runs.train(config, experiment.runs_folder() / stem)
        write_result(runs.sweep(str(run.workdir)), out, stem)
    print(first_dial.collect_first_dial(out))


if __name__ == "__main__":
    experiment.define_flags("first_dial")
    flags.adopt_module_key_flags(experiment)  # so that --help shows them
    experiment.run(main)
