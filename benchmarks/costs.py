"""What a certificate and recruitment cost: time and memory of each job in a process of its own, as JSON and a
table.

    python -m benchmarks.costs --data_dir=$WIKITEXT2 --out=docs/results/costs

A certificate is one of the preset `paper` with weights as at initialisation, every layer, head and position;
recruitment is on the training split of WikiText-2, with byte-pair types and with words. Limits: 5 seconds,
and 5 minutes with 2 GiB.
"""

import dataclasses
import json
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from aila_jax import presets
from aila_jax.config import Config, PartitionConfig, PartitionKind
from aila_jax.files import write_atomically
from aila_jax.provenance import versions
from benchmarks.record import Machine, commit, describe_machine, load
from benchmarks.worker import peak_resident_bytes

MAX_WORDS = 50_000  # more than WikiText-2 has


@dataclass(frozen=True)
class Cost:
    """One job.

    Attributes:
      what: in words, with its size.
      seconds, processor_seconds: the median where it ran several times.
      peak_resident_bytes: of its process, imports and reading the corpus included.
    """

    job: str
    what: str
    seconds: float
    processor_seconds: float
    peak_resident_bytes: int


def certificate_job(config: Config) -> tuple[Callable[[], Any], str]:
    """A certificate at λ = 1 with all that is read off it."""
    import jax

    from aila_jax.guarantees.certificates import certificate
    from aila_jax.inference.inputs import example_batch
    from aila_jax.model.network import Network
    from aila_jax.model.transformer import build_transformer
    from aila_jax.partition.build import build_partition

    network = Network(build_transformer(config, config.data.vocab_size), build_partition(config.partition))
    params = jax.jit(lambda key: network.init(example_batch(config), key))(jax.random.key(0))
    model = config.model

    def job() -> tuple[float, ...]:
        found = certificate(params, config, 1.0, 1.0)
        return (
            found.least_block_mass,
            found.largest_entropy_bits,
            found.mean_entropy_bits,
            found.required_margin(0.9) or 0.0,
        )

    return (
        job,
        f"{model.n_layers} layers, {model.n_heads} heads, width {model.d_model}, {model.length} positions",
    )


def recruitment_job(config: Config) -> tuple[Callable[[], Any], str]:
    """Recruitment until nothing pays."""
    from aila_jax.data.dataset import load_dataset
    from aila_jax.partition.fit import fit_recruitment

    dataset = load_dataset(config.data)
    train, types = dataset.splits["train"], dataset.tokenizer.vocab_size
    what = f"{len(train.tokens):,} tokens of {types:,} types"
    return (
        lambda: fit_recruitment(
            PartitionConfig(kind=PartitionKind.RECRUITED), dataset.tokenizer, train, quiet=True
        ),
        what,
    )


def measure(
    job: str, make: Callable[[Config], tuple[Callable[[], Any], str]], config: Config, rounds: int
) -> Cost:
    """Runs one job in a new process and waits for its record."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, job, make, config, rounds))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise RuntimeError(f"the job {job!r} ended without a result; what it printed stands above") from None
    finally:
        process.join()


def _measure(
    sender: Connection,
    job: str,
    make: Callable[[Config], tuple[Callable[[], Any], str]],
    config: Config,
    rounds: int,
) -> None:
    run, what = make(config)
    wall, processor = [], []
    for _ in range(rounds):
        started = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - started[0])
        processor.append(time.process_time() - started[1])
    sender.send(Cost(job, what, float(np.median(wall)), float(np.median(processor)), peak_resident_bytes()))
    sender.close()


def table(costs: list[Cost], machine: Machine) -> str:
    """Markdown, a row for each job."""
    lines = [
        (
            f"{machine.processor}, {machine.cores} cores, load {machine.load_before:.1f} before and"
            f" {machine.load_after:.1f} after."
        ),
        "",
        "| | | seconds | processor seconds | peak memory (MiB) |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in costs:
        memory = f"{one.peak_resident_bytes / 2**20:,.0f}"
        lines.append(
            f"| {one.job} | {one.what} | {one.seconds:.2f} | {one.processor_seconds:.2f} | {memory} |"
        )
    return "\n".join(lines) + "\n"


def define_flags() -> None:
    """Not on import: other benchmarks have flags of these names."""
    flags.DEFINE_string("data_dir", None, "Folder with wiki.{train,valid,test}.tokens.", required=True)
    flags.DEFINE_integer(
        "rounds",
        3,
        "Certificates made one after the other in their process; the median counts.",
        lower_bound=1,
    )
    flags.DEFINE_string("out", "runs/costs", "Folder for costs.json and table.md.")


def main(argv: list[str]) -> None:
    """Measures, writes, prints."""
    if argv[1:]:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; give settings as --flag=value")
    values = flags.FLAGS
    machine = describe_machine("cpu")
    small = presets.with_data_dir(presets.small(), values.data_dir)
    words = dataclasses.replace(
        small, data=dataclasses.replace(small.data, tokenizer="word", vocab_size=MAX_WORDS)
    )
    costs = [
        measure("certificate, preset `paper`", certificate_job, presets.paper(), values.rounds),
        measure("recruitment, byte-pair types", recruitment_job, small, 1),
        measure("recruitment, words", recruitment_job, words, 1),
    ]
    machine = dataclasses.replace(machine, load_after=load())
    document = {
        "command": "python -m benchmarks.costs --data_dir=$WIKITEXT2",
        "commit": commit(),
        "versions": versions(),
        "machine": dataclasses.asdict(machine),
        "costs": [dataclasses.asdict(cost) for cost in costs],
    }
    out = Path(values.out)
    write_atomically(out / "costs.json", (json.dumps(document, indent=1) + "\n").encode())
    write_atomically(out / "table.md", table(costs, machine).encode())
    print(table(costs, machine))


if __name__ == "__main__":
    define_flags()
    app.run(main)
