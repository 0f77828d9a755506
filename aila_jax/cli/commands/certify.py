"""`aila certify`: what is guaranteed of a checkpoint's attention."""

from aila_jax.cli.command import Call, Command
from aila_jax.config.options import CertifyOptions


def _run(call: Call[CertifyOptions]) -> None:
    from aila_jax import runs

    run = runs.open_run(call.path, call.window, call.data_dir, call.fallback, call.step)
    print(runs.certify(run, call.options, call.out))


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
    run=_run,
    options=CertifyOptions,
    opening=("window", "data_dir", "fallback", "step"),
    out=(
        "Folder for the files. Default: certificate in the run directory (certificate/text with --text), or"
        " in its windowSIZE with --window."
    ),
)
