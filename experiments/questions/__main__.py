"""Questions over passages: a small model trained on the generator, read together and isolated.

    python -m experiments.questions --out=docs/results/questions

trains what is not trained yet under --runs, first five exercises and then questions, asks it held-out
questions of the kinds it was trained on with 4 and 8 passages, and writes one CSV and JSON per run into
--out, then table.md.
`--seeds` chooses a part. `--collect` makes the table from the files that are there, training nothing.
"""

from pathlib import Path

from absl import flags

from experiments import launcher


def main(argv: list[str]) -> None:
    launcher.no_arguments(argv)
    from aila_jax import runs
    from experiments.questions import report
    from experiments.questions import runs as questions

    out = launcher.out_folder()
    for stem, config in launcher.asked_runs(questions.question_runs):
        before: Path | None = None
        for name, exercise in questions.exercises(config).items():
            before = runs.train(exercise, launcher.runs_folder() / f"{name}-{stem}", start=before).workdir
        model = runs.train(config, launcher.runs_folder() / stem, start=before).load()
        rows = questions.measure(model)
        questions.write_rows(rows, model, runs.dataset_of(model), out / stem)
    print(report.collect(out))


if __name__ == "__main__":
    launcher.define_flags("questions", config="questions")
    flags.adopt_module_key_flags(launcher)  # so that --help shows them
    launcher.run(main)
