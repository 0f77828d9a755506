"""`aila certify`: what is guaranteed of a checkpoint's attention."""

from aila_jax.cli.command import MODEL, Call, Command
from aila_jax.config.options import CertifyOptions


def _run(call: Call[CertifyOptions]) -> None:
    from aila_jax import runs

    run = runs.open_run(call.path, call.window, call.data_dir, call.fallback, call.step, call.relation)
    made = runs.flow if call.options.flow else runs.certify
    print(made(run, call.options, call.out))


COMMAND = Command(
    name="certify",
    summary="say what λ, τ and the margin guarantee of a checkpoint's attention",
    about=(
        "Prints the block mass and entropy that are guaranteed for every text, or for --text alone, by head,"
        " and the margin that a target would need; writes certificate.json, certificate.csv (a row per layer,"
        " head and position) and a figure. Only --bound=empirical reads a corpus (with --split, --batch_size,"
        " --max_batches), and it guarantees nothing.\n\nA bound on attention holds in one layer at a time: what left a"
        " block in one can come back in the next. --flow makes the other claim: for every prediction the tokens and"
        " blocks that can have influenced it, through all layers; no other token can, whatever it is. It needs a"
        " setting at which attention outside is exactly 0, and is refused elsewhere. It prints how large reach is"
        " (mean, quartiles, largest, in tokens and blocks), with --position the list for one prediction, and writes"
        " reach.json and, of one text, reach.csv. Where blocks or pointers are made from tokens, the claim is for"
        " every text with the same ones, and says so."
    ),
    examples=(
        "certify --checkpoint=runs/tiny",
        "certify --checkpoint=runs/tiny --lam=0.8 --tau=0.5 --bound=parameters --target_mass=0.95",
        "certify --checkpoint=runs/tiny --flow --hard",
        'certify --checkpoint=runs/tiny --flow --hard --text="Return a new list. Sort it." --position=5',
        'certify --checkpoint=runs/gated --flow --prompt="Return a new" --max_tokens=20',
    ),
    run=_run,
    path=MODEL,
    options=CertifyOptions,
    opening=("window", "relation", "data_dir", "fallback", "step"),
    out=(
        "Folder for the files. Default: certificate in the run directory (certificate/text with --text,"
        " certificate/flow with --flow), or in its windowSIZE with --window."
    ),
)
