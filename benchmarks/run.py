r"""Speed of training and of the sweep, beside plain JAX and PyTorch, as JSON, a table and a figure.

    python -m benchmarks.run --shapes=small,paper --out=docs/results/benchmark
    python -m benchmarks.run --shapes=base --contestants=torch-eager,torch-compile \
        --out=docs/results/base_speed
    python -m benchmarks.run --quick

Each contestant runs in a process of its own, proves that it computes the same loss and gradient norm as our
model at λ = 0 from the same weights, and is then timed in turn with the others. No data is needed. On a
machine with a GPU it measures that; JAX_PLATFORMS=cpu keeps to the CPU. PyTorch takes part where it is
installed (pip install '.[bench]').
"""

import os
import sys
from pathlib import Path

from absl import app, flags

from aila_jax.cli.huge_pages import restart_in_huge_pages
from benchmarks.forms import NAMES
from benchmarks.shapes import DTYPES, SHAPES

flags.DEFINE_list("shapes", ["small", "paper"], f"Model shapes, of {', '.join(SHAPES)}.")
flags.DEFINE_integer(
    "rounds", 7, "Rounds in which every contestant has its turn; medians are over them.", lower_bound=1
)
flags.DEFINE_integer(
    "steps",
    0,
    "Executions a turn, after one that is not counted; 0 takes 3 (small) or 1 on a CPU, 50 on a GPU.",
    lower_bound=0,
)
flags.DEFINE_list(
    "contestants",
    [],
    f"Who is measured; all by default. ours and plain-einsum always are. One or more of {', '.join(NAMES)}.",
)
flags.DEFINE_integer(
    "batch_size",
    0,
    "Sequences a step; 0 takes the preset's, and 4 for paper, 1 for base on a CPU.",
    lower_bound=0,
)
flags.DEFINE_enum("dtype", "auto", DTYPES, "Compute type; auto is the preset's on a GPU, float32 on a CPU.")
flags.DEFINE_string(
    "data_dir", "", "Folder with wiki.{train,valid,test}.tokens, to take tokens from; random ones by default."
)
flags.DEFINE_string(
    "out", "runs/benchmark", "Folder for benchmark.json, table.md, figure.png and figure.svg."
)
flags.DEFINE_bool(
    "quick",
    False,
    "A check of the benchmark itself in about a minute: a toy shape, few contestants, 3 rounds.",
)
QUICK_CONTESTANTS = ["ours", "ours-film", "plain-einsum", "plain-chunk", "torch-eager"]


def main(argv: list[str]) -> None:
    """Parses, measures, writes."""
    if argv[1:]:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; give settings as --flag=value")
    # Many processes share the device; none may take it whole.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        print(execute(flags.FLAGS))
    except ValueError as error:
        raise app.UsageError(str(error)) from error


def execute(values: flags.FlagValues) -> str:
    """Runs the benchmark that the flags describe and returns the table."""
    import jax

    from aila_jax.files import write_atomically
    from aila_jax.reporting.style import save_figure
    from benchmarks.forms import choose
    from benchmarks.record import write_result
    from benchmarks.report import figure, table
    from benchmarks.shapes import QUICK, make_shape
    from benchmarks.suite import run_all
    from benchmarks.workload import load_tokens

    cpu = jax.default_backend() == "cpu"
    names = [QUICK] if values.quick else values.shapes
    shapes = [make_shape(name, cpu=cpu, batch_size=values.batch_size, dtype=values.dtype) for name in names]
    contestants = choose(values.contestants or (QUICK_CONTESTANTS if values.quick else []))
    tokens = [load_tokens(shape, values.data_dir) for shape in shapes]
    data = "WikiText-2, train split" if values.data_dir else "random, with frequencies as of words"
    command = "python -m benchmarks.run " + " ".join(
        argument for argument in sys.argv[1:] if not argument.startswith("--data_dir")
    )
    result = run_all(
        shapes,
        tokens,
        contestants,
        min(values.rounds, 3) if values.quick else values.rounds,
        values.steps,
        command,
        data,
    )
    out = Path(values.out)
    write_result(result, out / "benchmark.json")
    write_atomically(out / "table.md", table(result).encode())
    save_figure(figure(result), out / "figure")
    return table(result)


if __name__ == "__main__":
    restart_in_huge_pages()  # as aila does; all contestants inherit it
    app.run(main)
