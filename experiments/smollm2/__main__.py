"""SmolLM2 with a dial: what isolated sentences cost a pretrained model, and how much of that adapters bring
back.

    python -m experiments.smollm2 --data_dir=$WIKITEXT2 --model=SmolLM2-135M-Instruct.Q4_1.gguf

reads the untrained model with every relation, trains the adapters of two of them and a control (`sh
launch/smollm2.sh` fetches the model, and says where it is), measures all, and writes one JSON file per run
into --out; runs whose file is there are left alone. Then table.md and figures. A run that was stopped goes
on. `--which=untrained` and `--which=localised` choose a part, and so does `--only`. `--collect` makes tables
and figures from the files that are there, reading no model.
"""

from dataclasses import replace

from absl import flags

from experiments import launcher

FLAGS = launcher.FLAGS


def define_flags(values: flags.FlagValues = FLAGS) -> None:
    launcher.define_places("smollm2", values)
    flags.DEFINE_string("model", "", "The pretrained model: a folder or a GGUF file.", values)
    flags.DEFINE_enum("which", "all", ["all", "untrained", "localised"], "Which runs.", values)
    flags.DEFINE_integer("seed", 0, "Seed of adapters, draws and order.", flag_values=values, lower_bound=0)


def main(argv: list[str]) -> None:
    launcher.no_arguments(argv)
    from aila_jax import runs
    from aila_jax.config import one_of
    from experiments.smollm2 import measure, report
    from experiments.smollm2.models import base_config, dataset_of, untrained
    from experiments.smollm2.runs import CONTROL, LAMS, localised_runs, relations

    out, folder = launcher.out_folder(), launcher.runs_folder()
    if not FLAGS.collect:
        base = replace(base_config(FLAGS.model, FLAGS.data_dir, folder), seed=FLAGS.seed)
        trained = localised_runs(base)
        named = [f"untrained-{name}" for name in relations(base.model.n_layers)]
        for name in FLAGS.only:
            one_of("--only", name, (*named, *trained))
        for stem in (*named, *trained) if not FLAGS.only else FLAGS.only:
            if FLAGS.which not in ("all", "untrained" if stem in named else "localised"):
                continue
            file = f"{stem}-seed{FLAGS.seed}"
            if (out / f"{file}.json").is_file():
                print(f"{file}: measured already")
                continue
            if stem in named:
                model = untrained(FLAGS.model, base, stem.removeprefix("untrained-"))
                found = measure.measure(stem, model, dataset_of(model), LAMS, folder / file)
            else:
                run = runs.train(trained[stem], folder / file, start=FLAGS.model)
                model, curve = run.load(), measure.curve_of(folder / file, run.config)
                lams = (1.0,) if stem == CONTROL else LAMS
                found = measure.measure(stem, model, dataset_of(model), lams, folder / file, curve)
            measure.write_result(found, out, file)
    print(report.collect(out))


if __name__ == "__main__":
    define_flags()
    launcher.run(main)
