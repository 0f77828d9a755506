"""The commands. Each one parses, calls a function of `aila_jax.runs` and prints what it returns."""

import dataclasses

from absl import flags

from aila_jax import presets
from aila_jax.cli import command
from aila_jax.cli.command import Command, CommandError
from aila_jax.cli.config_flag import build_config
from aila_jax.config import check_lam, check_tau, require

# `runs` is imported inside the functions: it loads JAX, which a help text need not wait for.


def _define_train(values: flags.FlagValues) -> None:
    command.define_text(
        "workdir", None, "The run directory: checkpoints, metrics.jsonl, TensorBoard files. An existing run goes on.", values
    )
    command.define_data_dir(values)


def _train(values: flags.FlagValues) -> None:
    config = build_config(values.config)
    if values.data_dir and config.data.corpus != "wikitext2":
        raise ValueError(
            f"--data_dir is {values.data_dir!r}, but data.corpus is {config.data.corpus!r}, which does not read it. "
            "Fix: leave --data_dir out, or add --config.data.corpus=wikitext2"
        )
    from aila_jax import runs

    try:
        run = runs.train(presets.with_data_dir(config, values.data_dir), values.workdir)
    except runs.NonFiniteError as error:
        raise CommandError(str(error)) from error
    print(f"Trained to step {run.step}. Turn the dial: aila sweep --checkpoint={values.workdir}")


def _define_evaluate(values: flags.FlagValues) -> None:
    command.define_checkpoint(values)
    command.define_dial(values)
    command.define_scoring(values)


def _evaluate(values: flags.FlagValues) -> None:
    lam, tau = check_lam(values.lam, "--lam"), check_tau(values.tau, "--tau")
    from aila_jax import runs

    row = runs.evaluate(
        values.checkpoint,
        lam=lam,
        tau=tau,
        split=values.split,
        hard=values.hard,
        window=values.window,
        data_dir=values.data_dir,
        batch_size=values.batch_size,
        max_batches=values.max_batches,
    )
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        print(f"{field.name:<20} {'-' if value is None else f'{value:.6g}' if isinstance(value, float) else value}")


def _define_sweep(values: flags.FlagValues) -> None:
    command.define_checkpoint(values)
    command.define_numbers("lams", "Values of λ with commas between them. Default: the run's sweep.lams.", values)
    command.define_numbers("taus", "Values of τ with commas between them. Default: the run's sweep.taus.", values)
    flags.DEFINE_boolean("delta", False, "Also measure score gaps between in-block and out-of-block keys.", flag_values=values)
    command.define_text(
        "pointers", "auto", "What pointer fidelity is measured on: anchors, answers (rule corpora), none, or auto: what there is.", values
    )
    command.define_text("out", "", "Folder for sweep.csv, sweep_heads.csv and sweep.json. Default: the run directory.", values)
    command.define_scoring(values)


def _sweep(values: flags.FlagValues) -> None:
    lams = values.lams and tuple(check_lam(lam, "--lams") for lam in values.lams)
    taus = values.taus and tuple(check_tau(tau, "--taus") for tau in values.taus)
    from aila_jax import runs

    result = runs.sweep(
        values.checkpoint,
        lams=lams,
        taus=taus,
        split=values.split,
        hard=values.hard,
        delta=values.delta,
        pointers=values.pointers,
        window=values.window,
        data_dir=values.data_dir,
        out=values.out,
        batch_size=values.batch_size,
        max_batches=values.max_batches,
    )
    print(runs.describe_sweep(result))


def _define_anchors(values: flags.FlagValues) -> None:
    command.define_checkpoint(values)
    flags.DEFINE_integer("top", 20, "Types to list, lowest entropy first, at least 1.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("examples", 8, "Blocks of text to show, at least 1.", lower_bound=1, flag_values=values)
    command.define_text("split", "validation", "The text that is read: train, validation or test.", values)
    flags.DEFINE_integer("batches", 8, "Batches of that text, at least 1.", lower_bound=1, flag_values=values)
    command.define_data_dir(values)
    command.define_text("out", "", "Folder for anchors.json and the CSV files. Default: the run directory.", values)


def _anchors(values: flags.FlagValues) -> None:
    from aila_jax import runs
    from aila_jax.reporting.anchor_files import describe_anchors

    listings = runs.anchors(
        values.checkpoint,
        top=values.top,
        examples=values.examples,
        split=values.split,
        batches=values.batches,
        data_dir=values.data_dir,
        out=values.out,
    )
    print(describe_anchors(listings))


def _define_report(values: flags.FlagValues) -> None:
    command.define_text("sweep", None, "The folder that holds sweep.json, or that file.", values)
    command.define_text("out", "", "The page to write. Default: report.html beside the sweep.", values)
    command.define_text("log", "", "A metrics.jsonl, for the training curve. Default: the one beside the sweep, if there is one.", values)
    command.define_text(
        "checkpoint",
        "",
        "A run directory or checkpoint whose attention to show, or `none`. Default: that of the sweep's folder, if it holds one.",
        values,
    )
    command.define_text("text", "", "The text whose attention to show. Default: a sentence of the program's own.", values)


def _report(values: flags.FlagValues) -> None:
    from aila_jax import runs

    print(runs.report(values.sweep, values.out, values.log, values.checkpoint, values.text))


def _define_attention(values: flags.FlagValues) -> None:
    command.define_checkpoint(values)
    command.define_text("text", None, "The text to look at, at most as many tokens as the model reads.", values)
    command.define_numbers("lam", "Values of λ with commas between them; a figure for each.", values, default=(0.0, 0.5, 1.0))
    flags.DEFINE_float("tau", 1.0, "τ above 0: the attention's temperature.", flag_values=values)
    command.define_numbers("layers", "Layers to draw, counted from 0, with commas between them. Default: all.", values)
    command.define_numbers("heads", "Heads to draw, counted from 0, with commas between them. Default: all.", values)
    command.define_text("out", "", "Folder for the pictures. Default: `attention` in the run directory.", values)


def _attention(values: flags.FlagValues) -> None:
    lam, tau = tuple(check_lam(lam, "--lam") for lam in values.lam), check_tau(values.tau, "--tau")
    require(bool(values.text.strip()), "--text", values.text, "a text of at least one token", 'pass --text="Return a new list", say')
    layers, heads = (wanted and tuple(whole(number) for number in wanted) for wanted in (values.layers, values.heads))
    from aila_jax import runs

    for path in runs.attention(values.checkpoint, text=values.text, lam=lam, tau=tau, layers=layers, heads=heads, out=values.out):
        print(path)


def whole(number: float) -> int | float:
    """2.0 as 2; a number that is not whole stays, to be refused with the others that are no layer or head."""
    return int(number) if number.is_integer() else number


def _define_generate(values: flags.FlagValues) -> None:
    command.define_checkpoint(values)
    command.define_text("prompt", None, "The text to continue.", values)
    command.define_dial(values)
    flags.DEFINE_integer("max_tokens", 64, "Tokens to add, at least 1.", lower_bound=1, flag_values=values)
    flags.DEFINE_float(
        "sample_temperature", 0.8, "Spread of the sampling, not of the attention; 0 is greedy.", lower_bound=0.0, flag_values=values
    )
    flags.DEFINE_integer("top_k", 40, "Sample among so many likeliest tokens; 0 is all.", lower_bound=0, flag_values=values)
    flags.DEFINE_integer("seed", 0, "Seed of the sampling.", flag_values=values)


def _generate(values: flags.FlagValues) -> None:
    lam, tau = check_lam(values.lam, "--lam"), check_tau(values.tau, "--tau")
    from aila_jax import runs

    text = runs.generate(
        values.checkpoint,
        prompt=values.prompt,
        lam=lam,
        tau=tau,
        max_tokens=values.max_tokens,
        sample_temperature=values.sample_temperature,
        top_k=values.top_k,
        seed=values.seed,
    )
    print(text)


def _define_demo(values: flags.FlagValues) -> None:
    command.define_text("workdir", "runs/demo", "The run directory. A finished demo in it is dialled again, not trained again.", values)


def _demo(values: flags.FlagValues) -> None:
    from aila_jax import runs

    runs.demo(values.workdir)


COMMANDS = (
    Command(
        name="demo",
        summary="train a tiny model on this machine's own Python documentation, dial it, write the report",
        about="Needs no data and no network. Trains the preset `tiny`, sweeps λ × τ with the one checkpoint, and writes tables, "
        "figures and report.html into the run directory.",
        examples=("demo", "demo --workdir=runs/demo2"),
        define=_define_demo,
        needed=(),
        run=_demo,
    ),
    Command(
        name="train",
        summary="train a model",
        about="Starts from a preset or a Python file, changes single settings with --config.KEY=VALUE, and trains into --workdir. "
        "The same command continues a run that was stopped. Tuples are quoted: --config.sweep.lams='(0,0.5,1)'.",
        examples=(
            "train --config=tiny --workdir=runs/tiny",
            "train --config=small --data_dir=$WIKITEXT2 --workdir=runs/wide --config.model.d_model=256",
            "train --config=launch/configs/small.py --workdir=runs/text --config.data.corpus=text --config.data.files='my/*.txt'",
        ),
        define=_define_train,
        needed=("config", "workdir"),
        run=_train,
        takes_config=True,
    ),
    Command(
        name="evaluate",
        summary="score a checkpoint at one λ and τ",
        about="Scores the corpus that the checkpoint was trained on and prints loss, perplexity, accuracy, attention entropy and block mass.",
        examples=("evaluate --checkpoint=runs/tiny --lam=0.6", "evaluate --checkpoint=runs/tiny --lam=1 --hard --split=test"),
        define=_define_evaluate,
        needed=("checkpoint",),
        run=_evaluate,
    ),
    Command(
        name="sweep",
        summary="score a checkpoint over a grid of λ and τ",
        about="One checkpoint, one compilation, every cell of the grid. Writes sweep.csv, sweep_heads.csv and sweep.json. "
        "With --window the blocks are other windows than in training, and the default folder is windowSIZE in the run directory.",
        examples=(
            "sweep --checkpoint=runs/tiny",
            "sweep --checkpoint=runs/tiny --lams=0,0.25,0.5,0.75,1 --taus=1 --split=test --out=runs/tiny/test",
            "sweep --checkpoint=runs/tiny --window=3",
        ),
        define=_define_sweep,
        needed=("checkpoint",),
        run=_sweep,
    ),
    Command(
        name="attention",
        summary="draw where every head looks in a text, at one or several λ",
        about="Writes a figure (PNG and SVG) for each λ, a map for every layer and head with the blocks outlined, and attention.html, "
        "one page with a slider over these λ.",
        examples=(
            "attention --checkpoint=runs/tiny --text='Return a new list' --lam=0,0.5,1",
            "attention --checkpoint=runs/tiny --text='Return a new list' --lam=1 --tau=0.5 --layers=0 --heads=0,2 --out=pictures",
        ),
        define=_define_attention,
        needed=("checkpoint", "text"),
        run=_attention,
    ),
    Command(
        name="anchors",
        summary="list the anchor tokens of a checkpoint",
        about="Prints the token types of lowest local entropy and blocks of text with their anchors in brackets, by the checkpoint's own "
        "table and by the other estimator for comparison, and writes anchors.json and a CSV file for each. "
        "The run must have been trained with --config.anchors.estimator=corpus or attention.",
        examples=("anchors --checkpoint=runs/tiny", "anchors --checkpoint=runs/tiny --top=50 --split=test --out=listing"),
        define=_define_anchors,
        needed=("checkpoint",),
        run=_anchors,
    ),
    Command(
        name="report",
        summary="turn a sweep into figures and one HTML page",
        about="Reads sweep.json and writes the figures (PNG and SVG) and a page that holds everything and fetches nothing. Where there is "
        "a checkpoint, the page also shows its attention over a text under a λ slider.",
        examples=("report --sweep=runs/tiny", "report --sweep=runs/tiny/test/sweep.json --out=test.html --log=runs/tiny/metrics.jsonl"),
        define=_define_report,
        needed=("sweep",),
        run=_report,
    ),
    Command(
        name="generate",
        summary="continue a prompt at one λ and τ",
        about="Prints the continuation, without the prompt.",
        examples=('generate --checkpoint=runs/tiny --prompt="Return a new" --lam=0.6',),
        define=_define_generate,
        needed=("checkpoint", "prompt"),
        run=_generate,
    ),
)
