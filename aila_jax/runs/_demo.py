"""The demo: the whole way on the embedded corpus."""

from pathlib import Path

from aila_jax.config import user_path
from aila_jax.config.options import ReportOptions
from aila_jax.data.dataset import load_dataset
from aila_jax.evaluation.rows import SweepResult
from aila_jax.presets import tiny
from aila_jax.progress import Stage
from aila_jax.runs._report import report
from aila_jax.runs._sweep import describe_sweep, sweep
from aila_jax.runs._train import train

DEMO_PROMPT = "Return a new list containing"
# Times on two CPU cores: docs/results/demo/output.txt.
STAGES = (
    ("read the documentation of this Python and learn its tokens", "20 s"),
    ("train one model for every λ", "2 min"),
    ("read it at each λ and τ", "30 s"),
    ("write the page", "20 s"),
)


def demo(workdir: str | Path = "runs/demo") -> SweepResult:
    """The whole way on the embedded corpus: train, reload, dial, report; says what it does and how long that
    takes, prints the table and what to do next.
    """
    workdir = user_path(workdir, "workdir")
    config = tiny()
    read, learn, dial, write = (
        Stage(number, len(STAGES), *stage) for number, stage in enumerate(STAGES, start=1)
    )
    with read:
        load_dataset(config.data)  # kept on disk; training finds it there
    with learn:
        run = train(config, workdir)
    with dial:
        result = sweep(str(run.workdir))
    with write:
        page = report(run.workdir, ReportOptions(prompt=DEMO_PROMPT))
    print(describe_sweep(result))
    print(
        f"""
At λ = 0 attention is ordinary; at λ = 1 it stays inside the clause. Perplexity is what that costs.

What to do next
  look     open {page} in a browser: one slider turns the dial
  write    aila generate --checkpoint={run.workdir} --prompt='{DEMO_PROMPT}' --lam=0.6
  prove    aila certify --checkpoint={run.workdir} --lam=1
  your own aila train --config=certified --workdir=runs/mine \\
             --config.data.corpus=text --config.data.files='my/*.txt' --config.partition.kind=segments
  read on  docs/quickstart.md
"""
    )
    return result
