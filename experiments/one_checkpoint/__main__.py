"""One checkpoint for every λ: conditional training beside training at each λ, with equal tokens, at two
budgets.

    python -m experiments.one_checkpoint --data_dir=$WIKITEXT2 --budget=5M --seeds=0,1,2

trains what is not trained yet under --runs (ten runs a seed and budget), reads it over the dial, and writes
one CSV and JSON per run into --out, then table.md (transfer matrix, influence, regret, goals, the law of τ)
and the figures. `--only` and `--seeds` choose a part. `--which=grid` runs the grid of learning rate and
dropout instead (40 runs a seed and budget), `--which=recipe` the one checkpoint with one part of its training
changed at a time. `--collect` makes tables and figures from the files that are there, training nothing.
"""

from collections.abc import Callable
from functools import partial

from absl import app, flags

from experiments import launcher


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    launcher.define_flags("one_checkpoint", config="certified_windows5", values=values)
    flags.DEFINE_enum("budget", None, ["5M", "18M"], "Training tokens of each run; both by default.", values)
    about = (
        "Runs: the matrix of training and reading, the grid of rate and dropout, or, at 5M tokens, the recipe"
        " with one part changed."
    )
    of_split = (
        "Split that is read, train, validation or test; keep each in an --out of its own. Default: the run's"
        " sweep.split."
    )
    flags.DEFINE_enum("split", None, ["train", "validation", "test"], of_split, values)
    flags.DEFINE_enum("which", "matrix", ["matrix", "grid", "recipe"], about, values)


def main(argv: list[str]) -> None:
    launcher.no_arguments(argv)
    from aila_jax import runs
    from aila_jax.config import Config
    from experiments.one_checkpoint import recipe as one_checkpoint_recipe
    from experiments.one_checkpoint import report as one_checkpoint_report
    from experiments.one_checkpoint import runs as one_checkpoint
    from experiments.results import write_result

    budget, which = launcher.FLAGS.budget, launcher.FLAGS.which
    if which == "recipe" and budget == "18M":
        raise app.UsageError(
            f"--budget is 18M; it must be 5M, or left out, with --which={which}. Fix: leave it out."
        )
    budgets = [budget] if budget else tuple(one_checkpoint.BUDGETS)
    makers: dict[str, Callable[[Config], dict[str, Config]]] = {
        "matrix": partial(one_checkpoint.one_checkpoint_runs, budgets=budgets),
        "grid": partial(one_checkpoint.grid_runs, budgets=budgets),
        "recipe": one_checkpoint_recipe.recipe_runs,
    }
    out = launcher.out_folder()
    for stem, config in launcher.asked_runs(makers[which]):
        model = runs.train(config, launcher.runs_folder() / stem).load()
        result = one_checkpoint.measure(
            model, runs.dataset_of(model), matrix=which == "matrix", split=launcher.FLAGS.split
        )
        write_result(result, out, stem)
    print(one_checkpoint_report.collect(out))


if __name__ == "__main__":
    define_flags()
    flags.adopt_module_key_flags(launcher)  # so that --help shows them
    launcher.run(main)
