"""`aila certify`: what is guaranteed of a checkpoint's attention."""

from absl import flags

from aila_jax.cli import command
from aila_jax.cli.command import Command
from aila_jax.config import check_lam, check_tau, require


def _define(values: flags.FlagValues) -> None:
    command.define_checkpoint(values)
    command.define_dial(values, lam=1.0)
    flags.DEFINE_integer(
        "length",
        None,
        "Positions, at least 1. Default: the model's length.",
        lower_bound=1,
        flag_values=values,
    )
    command.define_text(
        "bound",
        "auto",
        "What scores are bounded by: parameters, qk_norm, score_cap, self_scaling, empirical (the largest"
        " seen on the split; no guarantee), or auto.",
        values,
    )
    command.define_text(
        "arithmetic",
        None,
        "Coarsest that matrix products will be in where the model serves: float32 or bfloat16 (accelerators,"
        " unless told otherwise). Default: this machine's.",
        values,
    )
    flags.DEFINE_float(
        "target_mass",
        0.9,
        "Also say which margin would guarantee this block mass, in (0, 1).",
        flag_values=values,
    )
    command.define_text(
        "text",
        None,
        "Certify this text alone, whose blocks are known, not every text. It has its own length.",
        values,
    )
    command.define_text(
        "out",
        "",
        "Folder for the files. Default: certificate in the run directory (certificate/text with --text), or"
        " in its windowSIZE with --window.",
        values,
    )
    command.define_scoring(values)


def _run(values: flags.FlagValues) -> None:
    lam, tau = check_lam(values.lam, "--lam"), check_tau(values.tau, "--tau")
    require(
        0.0 < values.target_mass < 1.0,
        "--target_mass",
        values.target_mass,
        "above 0 and below 1",
        "--target_mass=0.9",
    )
    from aila_jax import runs

    described = runs.certify(
        values.checkpoint,
        lam=lam,
        tau=tau,
        length=values.length,
        bound=values.bound,
        arithmetic=values.arithmetic,
        target_mass=values.target_mass,
        hard=values.hard,
        split=values.split,
        data_dir=values.data_dir,
        window=values.window,
        batch_size=values.batch_size,
        max_batches=values.max_batches,
        text=values.text,
        out=values.out,
    )
    print(described)


COMMAND = Command(
    name="certify",
    summary="say what λ, τ and the margin guarantee of a checkpoint's attention",
    about=(
        "Prints the block mass and entropy that are guaranteed for every text, or for --text alone, by head,"
        " and the margin that a target would need; writes certificate.json, certificate.csv (a row per layer,"
        " head and position) and a figure. Only --bound=empirical reads a corpus (with --split, --batch_size,"
        " --max_batches), and it guarantees nothing."
    ),
    examples=(
        "certify --checkpoint=runs/tiny",
        "certify --checkpoint=runs/tiny --lam=0.8 --tau=0.5 --bound=parameters --target_mass=0.95",
    ),
    define=_define,
    needed=("checkpoint",),
    run=_run,
)
