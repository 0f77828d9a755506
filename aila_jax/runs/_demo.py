"""The demo: the whole way on the embedded corpus."""

from pathlib import Path

from aila_jax.config import user_path
from aila_jax.evaluation.rows import SweepResult
from aila_jax.presets import tiny
from aila_jax.runs._report import report
from aila_jax.runs._sweep import describe_sweep, sweep
from aila_jax.runs._train import train

DEMO_PROMPT = "Return a new list containing"


def demo(workdir: str | Path = "runs/demo") -> SweepResult:
    """The whole way on the embedded corpus: train, reload, dial, report; prints the table and where to look
    next.
    """
    workdir = user_path(workdir, "workdir")
    run = train(tiny(), workdir)
    result = sweep(str(run.workdir))
    model = run.load()
    samples = [
        {"lam": lam, "tau": 1.0, "prompt": DEMO_PROMPT, "text": model.generate(DEMO_PROMPT, lam=lam)}
        for lam in (0.0, 0.5, 1.0)
    ]
    page = report(run.workdir, samples=samples)
    print(describe_sweep(result))
    print(
        f"\nOpen {page} in a browser (it has sliders for the dial and for attention), or look at"
        f" {run.workdir}/dial.png; rows are in {run.workdir}/sweep.csv."
    )
    print(
        f"Turn the dial yourself: aila generate --checkpoint={run.workdir} --prompt='{DEMO_PROMPT}' --lam=0.6"
    )
    return result
