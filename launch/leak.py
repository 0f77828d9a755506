"""The leak: what accuracy a model reaches that sees its targets, beside the law that predicts it and beside causal models.

    python -m launch.leak --data_dir=$WIKITEXT2 --out=docs/results/leak

trains what is not trained yet under --runs (eight runs of the preset `small`, about an hour on one core), measures it, and
writes one CSV and JSON per run into --out, then table.md and the figure. `--only` and `--seeds` choose a part. `--collect` makes
the table and the figure from the files that are there, training nothing.
"""

from dataclasses import replace
from pathlib import Path

from absl import app, flags

CONFIG = flags.DEFINE_string("config", "small", "Preset or Python file that the runs start from.")
DATA_DIR = flags.DEFINE_string("data_dir", "", "Folder with wiki.{train,valid,test}.tokens.")
OUT = flags.DEFINE_string("out", "docs/results/leak", "Folder for the result files.")
RUNS = flags.DEFINE_string("runs", "runs/leak", "Folder for the training runs.")
ONLY = flags.DEFINE_list("only", [], "Names of the runs; all by default.")
SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds.")
COLLECT = flags.DEFINE_bool("collect", False, "Only make the table and the figure from the result files.")


def main(argv: list[str]) -> None:
    if argv[1:]:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; give settings as --flag=value")
    from aila_jax import presets, runs
    from aila_jax.cli.config_flag import load_source
    from aila_jax.config import Config, from_dict, one_of
    from aila_jax.experiments import leak, leak_report

    base = presets.with_data_dir(from_dict(Config, load_source(CONFIG.value)), DATA_DIR.value)
    for name in ONLY.value:
        one_of("--only", name, tuple(leak.leak_runs(base)))
    for seed in [] if COLLECT.value else SEEDS.value:
        for name, config in leak.leak_runs(replace(base, seed=int(seed))).items():
            if ONLY.value and name not in ONLY.value:
                continue
            model = runs.train(config, Path(RUNS.value) / f"{name}-seed{seed}").load()
            dataset = runs.dataset_of(model)
            leak.write_rows(leak.measure(model, dataset), model, dataset, Path(OUT.value) / f"{name}-seed{seed}")
    print(leak_report.collect(Path(OUT.value)))


if __name__ == "__main__":
    app.run(main)
