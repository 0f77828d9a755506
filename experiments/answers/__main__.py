"""Answers from passages: how good they are in three modes, what their sources are, and what order and
injected passages change.

    python -m experiments.answers --model=SmolLM2-135M-Instruct.Q4_1.gguf --chat --name=untouched
    python -m experiments.answers --model=runs/questions/questions-seed0 --name=trained

asks a model held-out questions of the generator, cell by cell (`--estimate` names them, with what each will
take), and writes one JSON file a cell into --out; cells whose file is there are left alone. A cell that would
take more than `--minutes` is not begun, nor one whose prompts the model has no room for. Then table.md and
figures of all models' files. `--only` chooses cells, and `--collect` makes tables and figures from the files
that are there, reading no model.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from experiments import launcher

if TYPE_CHECKING:
    from experiments.answers.runs import Run

FLAGS = launcher.FLAGS


def define_flags(values: flags.FlagValues = FLAGS) -> None:
    launcher.define_results("answers", values)
    flags.DEFINE_string("model", "", "A run, a folder or a GGUF file.", values)
    flags.DEFINE_string("name", "model", "What the model is called in file names and tables.", values)
    flags.DEFINE_bool("chat", False, "Put the model's chat template around all of it.", values)
    flags.DEFINE_string("header", "", "What comes before the passages. Default: an instruction.", values)
    flags.DEFINE_string("begun", "", "How the answer begins, as a part of the question.", values)
    flags.DEFINE_integer("max_tokens", 24, "Tokens of an answer.", flag_values=values, lower_bound=1)
    flags.DEFINE_integer("questions", 200, "Questions of a cell.", flag_values=values)
    flags.DEFINE_integer("credited", 50, "Questions with sources and order.", flag_values=values)
    flags.DEFINE_integer("attacked", 100, "Questions with injected passages.", flag_values=values)
    flags.DEFINE_integer(
        "capacity",
        0,
        "Positions of every passage, isolated. 0: those of training, else the longest passage.",
        flag_values=values,
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "seed", 0, "Seed of questions, orders and attacks.", flag_values=values, lower_bound=0
    )
    flags.DEFINE_float("minutes", 60.0, "What a cell may take.", flag_values=values)
    flags.DEFINE_bool("estimate", False, "Only say what each cell will take.", values)


def main(argv: list[str]) -> None:
    launcher.no_arguments(argv)
    from aila_jax.config import require
    from experiments.answers import report
    from experiments.answers.runs import write_result

    out, left, broken = launcher.out_folder(), [], []
    for name, run in ({} if FLAGS.collect else asked_cells(out)).items():
        plan = run.plan()
        print(plan.line(name), flush=True)
        if plan.seconds > 60 * FLAGS.minutes:
            left.append(name)
        elif not FLAGS.estimate:
            found = run.measure(FLAGS.name, plan)
            write_result(found, out)
            if found.violations:
                broken.append(f"{name} ({found.violations})")
    if left:
        fix = "raise --minutes, or lower --credited, --attacked or --questions"
        print(f"not begun, more than {FLAGS.minutes:g} minutes: {', '.join(left)}; {fix}")
    if not FLAGS.estimate:
        print(report.collect(out))
    limit, fix = "none", "look into the rows of the cell's file: the certificate or the votes are wrong"
    require(not broken, "answers that changed though certified", ", ".join(broken), limit, fix)


def asked_cells(out: Path) -> dict[str, "Run"]:
    """The cells that the flags ask for and that `out` has no file of, ready to be measured; what cannot be is
    told.

    Raises:
      ValueError: a flag, or the model; or a cell that `--only` names has no room in the model.
    """
    from aila_jax.config import one_of, require
    from experiments.answers.cells import cells
    from experiments.answers.reading import Form
    from experiments.answers.runs import Counts, Run, open_model, stem_of

    every = cells()
    for name in FLAGS.only:
        one_of("--only", name, tuple(every))
    own = FLAGS.name.replace("_", "").isalnum()
    require(own, "--name", FLAGS.name, "letters, digits and _", "--name=untouched")
    counts = Counts(FLAGS.questions, FLAGS.credited, FLAGS.attacked)
    form = Form(FLAGS.chat, FLAGS.header, FLAGS.begun, FLAGS.max_tokens)
    model, asked = open_model(FLAGS.model), {}
    for name in FLAGS.only or every:
        cell = every[name]
        if (out / stem_of(FLAGS.name, cell, FLAGS.seed)).is_file():
            print(f"{name}: measured already")
            continue
        try:
            asked[name] = Run(model, form, cell, counts, FLAGS.seed, FLAGS.capacity)
        except ValueError as error:
            if FLAGS.only:
                raise
            print(f"{name}: not begun. {error}")
    return asked


if __name__ == "__main__":
    define_flags()
    flags.adopt_module_key_flags(launcher)  # so that --help shows them
    launcher.run(main)
