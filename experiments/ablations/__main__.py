"""Ablations on WikiText-2 at λ = 0.6, 1.6M tokens a run, three seeds.

    python -m experiments.ablations --data_dir=$WIKITEXT2 --which=windows       # blocks of 3, 5, 10 tokens
    python -m experiments.ablations --data_dir=$WIKITEXT2 --which=partitions    # at equal mean n_in
    python -m experiments.ablations --data_dir=$WIKITEXT2 --which=penalty       # one, the other, both, none

trains what is not trained yet under --runs/WHICH (about 3 minutes a run on one core), reads it at its λ, and
writes one CSV and JSON per run into --out/WHICH, then table.md and the figure. `--only` and `--seeds` choose
a part. `--collect` makes the table and the figure from the files that are there, training nothing.
"""

from functools import partial

from absl import flags

from experiments import launcher


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    launcher.define_flags("ablations", seeds=(0, 1, 2), values=values)
    flags.DEFINE_enum(
        "which", None, ["windows", "partitions", "penalty"], "The ablation.", values, required=True
    )
    flags.DEFINE_integer("steps", 400, "Optimizer steps of each run.", lower_bound=1, flag_values=values)


def main(argv: list[str]) -> None:
    launcher.no_arguments(argv)
    from aila_jax import runs
    from experiments.ablations.report import collect
    from experiments.ablations.runs import ABLATIONS, measure
    from experiments.results import write_result

    which = launcher.FLAGS.which
    out = launcher.out_folder() / which
    for stem, config in launcher.asked_runs(partial(ABLATIONS[which], steps=launcher.FLAGS.steps)):
        model = runs.train(config, launcher.runs_folder() / which / stem).load()
        write_result(measure(model, runs.dataset_of(model)), out, stem)
    print(collect(which, out))


if __name__ == "__main__":
    define_flags()
    flags.adopt_module_key_flags(launcher)
    launcher.run(main)
