"""One checkpoint for every λ: conditional training beside training at each λ, with equal tokens, at two budgets.

    python -m launch.one_checkpoint --data_dir=$WIKITEXT2 --seeds=0,1,2 --only=5M

trains what is not trained yet under --runs, reads it over the dial, and writes one CSV and JSON per run into --out, then table.md
(transfer matrix, regret, goals, the law of τ) and the figures. `--only` takes names or their beginnings; `--grid` runs the grid of learning rate
and dropout instead. `--collect` makes tables and figures from the files that are there, training nothing.
"""

from dataclasses import replace
from pathlib import Path

from absl import app, flags

CONFIG = flags.DEFINE_string("config", "small", "Preset or Python file of the conditional run that the others are compared with.")
DATA_DIR = flags.DEFINE_string("data_dir", "", "Folder with wiki.{train,valid,test}.tokens.")
OUT = flags.DEFINE_string("out", "docs/results/one_checkpoint", "Folder for the result files.")
RUNS = flags.DEFINE_string("runs", "runs/one_checkpoint", "Folder for the training runs.")
ONLY = flags.DEFINE_list("only", [], "Names of the runs, or their beginnings; all by default.")
SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds.")
GRID = flags.DEFINE_bool("grid", False, "Run the grid of learning rate and dropout.")
COLLECT = flags.DEFINE_bool("collect", False, "Only make the tables and figures from the result files.")


def main(argv: list[str]) -> None:
    if argv[1:]:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; give settings as --flag=value")
    from aila_jax import presets, runs
    from aila_jax.cli.config_flag import load_source
    from aila_jax.config import Config, from_dict
    from aila_jax.experiments import one_checkpoint, one_checkpoint_report
    from aila_jax.experiments.results import write_result

    base = presets.with_data_dir(from_dict(Config, load_source(CONFIG.value)), DATA_DIR.value)
    make = one_checkpoint.grid_runs if GRID.value else one_checkpoint.one_checkpoint_runs
    for start in ONLY.value:
        if not any(name.startswith(start) for name in make(base)):
            raise app.UsageError(f"--only={start!r} is the beginning of no run; they are {', '.join(make(base))}")
    for seed in [] if COLLECT.value else SEEDS.value:
        for name, config in make(replace(base, seed=int(seed))).items():
            if ONLY.value and not name.startswith(tuple(ONLY.value)):
                continue
            model = runs.train(config, Path(RUNS.value) / f"{name}-seed{seed}").load()
            result = one_checkpoint.measure(model, runs.dataset_of(model))
            # The path of the data on this machine says nothing about the result; its fingerprint is in the file.
            result = replace(result, config={**result.config, "data": {**result.config["data"], "data_dir": "$WIKITEXT2"}})
            write_result(result, OUT.value, f"{name}-seed{seed}")
    print(one_checkpoint_report.collect(Path(OUT.value)))


if __name__ == "__main__":
    app.run(main)
