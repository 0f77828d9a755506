"""The result as frozen dataclasses and as JSON."""

import dataclasses
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from aila_jax.config import from_dict
from aila_jax.files import write_atomically
from aila_jax.provenance import git_commit

SCHEMA = 1


@dataclass(frozen=True)
class Quartiles:
    """Median and quartiles over the rounds."""

    median: float
    low: float
    high: float

    def shown(self, decimals: int) -> str:
        """The median, and the quartiles in brackets."""
        return f"{self.median:.{decimals}f} ({self.low:.{decimals}f} to {self.high:.{decimals}f})"


@dataclass(frozen=True)
class Measure:
    """One task of one contestant.

    Attributes:
      task: `train` or `sweep`.
      compile_seconds: once.
      seconds: of `steps` executions, one number a round.
      processor_seconds: of all threads of the contestant's process; on a GPU it says what the host did.
      tokens_per_second: by the wall's clock.
      versus_plain, processor_versus_plain: time divided by that of the fastest plain JAX form, round by
        round.
    """

    task: str
    compile_seconds: float
    seconds: tuple[float, ...]
    processor_seconds: tuple[float, ...]
    tokens_per_second: Quartiles
    versus_plain: Quartiles
    processor_versus_plain: Quartiles


@dataclass(frozen=True)
class Proof:
    """How far a contestant was from the reference before it was timed, at λ = 0 from the same weights.

    Attributes:
      what: `float32`, or the compute type of the timed program where that is another program.
      loss, reference_loss: of the first step, nats.
      gradient_norm, reference_gradient_norm: likewise, before clipping.
      loss_after, reference_loss_after: of the third step, after two updates by the optimizer. None without a
        training task.
      sweep_loss, reference_sweep_loss, accuracy, reference_accuracy: of an evaluation. None without a sweep
        task.
    """

    what: str
    loss: float | None
    reference_loss: float | None
    gradient_norm: float | None
    reference_gradient_norm: float | None
    loss_after: float | None
    reference_loss_after: float | None
    sweep_loss: float | None
    reference_sweep_loss: float | None
    accuracy: float | None
    reference_accuracy: float | None


@dataclass(frozen=True)
class Entry:
    """One contestant at one shape.

    Attributes:
      skipped: why it was not measured; empty where it was.
      peak_resident_bytes: of its own process, imports and compilation included.
      peak_device_bytes: None on a CPU.
    """

    name: str
    family: str
    about: str
    skipped: str
    proofs: tuple[Proof, ...]
    measures: tuple[Measure, ...]
    peak_resident_bytes: int | None
    peak_device_bytes: int | None


@dataclass(frozen=True)
class ShapeResult:
    """All contestants at one shape.

    Attributes:
      steps: executions a round and task.
      tokens: a step.
      plain: name of the fastest plain JAX form of each task.
    """

    name: str
    vocab_size: int
    d_model: int
    n_heads: int
    d_ff: int
    n_layers: int
    length: int
    batch_size: int
    dtype: str
    tokens: int
    loss_chunk: int
    rounds: int
    steps: int
    plain: dict
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Machine:
    """Where it ran.

    Attributes:
      cores: that this process may use.
      load_before, load_after: mean number of running processes over the last minute, this one's own included
        afterwards.
    """

    processor: str
    cores: int
    memory_bytes: int
    system: str
    device: str
    load_before: float | None
    load_after: float | None


@dataclass(frozen=True)
class Result:
    """One run of the benchmark."""

    schema: int
    command: str
    data: str
    commit: str
    versions: dict
    machine: Machine
    minutes: float
    shapes: tuple[ShapeResult, ...]


def write_result(result: Result, path: Path) -> None:
    """Writes `result` as JSON."""
    write_atomically(
        path, (json.dumps(dataclasses.asdict(result), indent=1, ensure_ascii=False) + "\n").encode()
    )


def read_result(path: Path) -> Result:
    """Reads what `write_result` wrote.

    Raises:
      ValueError: the file is not one of this schema.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{str(path)!r} is not JSON ({error}). Fix: give the benchmark.json of `python -m"
            " benchmarks.run`."
        ) from error
    schema = values.get("schema") if isinstance(values, dict) else None
    if schema != SCHEMA:
        raise ValueError(
            f"{str(path)!r} has schema {schema!r}; it must be {SCHEMA}. Fix: run the benchmark again."
        )
    return from_dict(Result, values)


def commit() -> str:
    """The commit of package and benchmark, with `-dirty` after changes to either; `unknown` outside git."""
    found = git_commit()
    if found == "unknown" or found.endswith("-dirty"):
        return found
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "status", "--porcelain", "--untracked-files=no", "."]
    changes = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    return f"{found}-dirty" if changes else found


def describe_machine(device: str) -> Machine:
    """This machine, with the load as it is now."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        _processor(), cores, pages, f"{platform.system()} {platform.machine()}", device, load(), None
    )


def load() -> float | None:
    """Running processes, averaged over the last minute; None where the system does not say."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _processor() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
