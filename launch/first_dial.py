"""The first result: plain, fixed and conditional training on WikiText-2, each dialled over λ × τ.

    python -m launch.first_dial --data_dir=$WIKITEXT2 --out=docs/results/first_dial

trains what is not trained yet under --runs, sweeps it, and writes one CSV and JSON per run into --out; `--only` and
`--seeds` choose a part. `--collect` makes the table and the figure from the files that are there, training nothing.
"""

from dataclasses import replace
from pathlib import Path

from absl import app, flags

DATA_DIR = flags.DEFINE_string("data_dir", "", "Folder with wiki.{train,valid,test}.tokens.")
OUT = flags.DEFINE_string("out", "docs/results/first_dial", "Folder for the result files.")
RUNS = flags.DEFINE_string("runs", "runs/first_dial", "Folder for the training runs.")
ONLY = flags.DEFINE_list("only", [], "Names of the variants to run; all by default.")
SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds.")
COLLECT = flags.DEFINE_bool("collect", False, "Only make the table and the figure from the result files.")


def main(argv: list[str]) -> None:
    if argv[1:]:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; give settings as --flag=value")
    from aila_jax import runs
    from aila_jax.experiments import first_dial

    if not COLLECT.value:
        for seed in SEEDS.value:
            for name, config in first_dial.first_dial(DATA_DIR.value, int(seed)).items():
                if ONLY.value and name not in ONLY.value:
                    continue
                run = runs.train(config, Path(RUNS.value) / f"{name}-seed{seed}")
                result = runs.sweep(str(run.workdir))
                # The path of the data on this machine says nothing about the result; its fingerprint is in the file.
                result = replace(result, config={**result.config, "data": {**result.config["data"], "data_dir": "$WIKITEXT2"}})
                first_dial.write_result(result, OUT.value, f"{name}-seed{seed}")
    print(first_dial.collect_first_dial(OUT.value))


if __name__ == "__main__":
    app.run(main)
