"""The paper's table beside ours: λ = 0, .6, .8 and 1, causal and leaky, each with the penalty alone, the
margin alone, and both.

    python -m experiments.paper_table --data_dir=$WIKITEXT2

trains what is not trained yet under --runs (twelve runs of 1.6M tokens, about 4 minutes each on one core),
reads it on the test split, and writes one CSV and JSON per run into --out, then table.md. `--only` and
`--seeds` choose a part. `--collect` makes the table from the files that are there, training nothing.
"""

from absl import flags

from experiments import launcher


def main(argv: list[str]) -> None:
    launcher.no_arguments(argv)
    from aila_jax import runs
    from experiments.paper_table.report import collect
    from experiments.paper_table.runs import paper_runs
    from experiments.results import write_result

    out = launcher.out_folder()
    for stem, config in launcher.asked_runs(paper_runs):
        run = runs.train(config, launcher.runs_folder() / stem)
        write_result(runs.sweep(str(run.workdir)), out, stem)
    print(collect(out))


if __name__ == "__main__":
    launcher.define_flags("paper_table")
    flags.adopt_module_key_flags(launcher)  # so that --help shows them
    launcher.run(main)
