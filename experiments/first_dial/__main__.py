"""The first result: plain, fixed and conditional training on WikiText-2, each dialled over λ × τ.

    python -m experiments.first_dial --data_dir=$WIKITEXT2 --out=docs/results/first_dial

trains what is not trained yet under --runs, sweeps it, and writes one CSV and JSON per run into --out;
`--only` and `--seeds` choose a part. `--collect` makes the table and the figure from the files that are
there, training nothing.
"""

from absl import flags

from experiments import launcher


def main(argv: list[str]) -> None:
    launcher.no_arguments(argv)
    from aila_jax import runs
    from experiments.first_dial import runs as first_dial
    from experiments.results import write_result

    out = launcher.out_folder()
    for stem, config in launcher.asked_runs(first_dial.first_dial):
        run = runs.train(config, launcher.runs_folder() / stem)
        write_result(runs.sweep(str(run.workdir)), out, stem)
    print(first_dial.collect_first_dial(out))


if __name__ == "__main__":
    launcher.define_flags("first_dial")
    flags.adopt_module_key_flags(launcher)  # so that --help shows them
    launcher.run(main)
