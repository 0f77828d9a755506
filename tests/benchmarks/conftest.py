"""What the tests of the benchmark share."""

from dataclasses import dataclass

import pytest

from benchmarks.forms import SWEEP, TRAIN
from benchmarks.record import Entry, Machine, Measure, Proof, Quartiles, Result, ShapeResult


@dataclass(frozen=True)
class FakeRunner:
    """Costs nothing and computes what it is told."""

    loss: float
    device: int | None = None
    versions = {"fake": "1"}  # noqa: RUF012 (never changed)
    compile_seconds = {TRAIN: 0.5, SWEEP: 0.25}  # noqa: RUF012

    def train(self, index, ordinary=False):
        return self.loss, 2.0

    def evaluate(self, index, ordinary=False):
        return 12 * self.loss, 3

    def wait(self, value):
        pass

    def device_peak_bytes(self):
        return self.device


@dataclass(frozen=True)
class FakeForm:
    """A form that starts a FakeRunner, cannot, or dies."""

    family: str = "ours"
    loss: float = 5.0
    reason: str = ""
    fails: str = ""

    def start(self, shape, tokens, exact, tasks):
        if self.fails == "raises":
            raise ArithmeticError("no such kernel")
        if self.fails == "dies":
            raise SystemExit(3)
        return FakeRunner(self.loss)

    def missing(self, cpu):
        return self.reason


@pytest.fixture(scope="session")
def result() -> Result:
    """A result written by hand."""
    proof = Proof("full float32", 8.5, 8.5, 1.25, 1.25, 8.25, 8.25, 8.5, 8.5, 0.01, 0.01)
    train = Measure(
        TRAIN,
        4.5,
        (0.5, 0.25),
        (0.75, 0.5),
        Quartiles(24_576.0, 20_480.0, 28_672.0),
        Quartiles(1.25, 1.125, 1.375),
        Quartiles(1.5, 1.5, 1.5),
    )
    sweep = Measure(
        SWEEP,
        1.5,
        (0.125,) * 2,
        (0.25,) * 2,
        Quartiles(*(65_536.0,) * 3),
        Quartiles(1.0, 1.0, 1.0),
        Quartiles(1.0, 1.0, 1.0),
    )
    entries = (
        Entry("ours", "ours", "λ fixed", "", (proof,), (train, sweep), 3 * 2**20, None),
        Entry("plain-einsum", "plain JAX", "einsum", "", (proof,), (train,), 5 * 2**20, 7 * 2**20),
        Entry("torch-eager", "PyTorch", "SDPA", "PyTorch is not installed", (), (), None, None),
    )
    shape = ShapeResult(
        "small", 4096, 128, 4, 512, 2, 128, 32, "float32", 4096, 512, 2, 3, {TRAIN: "plain-einsum"}, entries
    )
    shape = ShapeResult(**{**vars(shape), "plain": {TRAIN: "plain-einsum", SWEEP: "ours"}})
    machine = Machine("Some CPU", 2, 8 * 2**30, "Linux x86_64", "1 × cpu (cpu)", 0.25, None)
    return Result(
        1, "python -m benchmarks.run --rounds=2", "random", "abc", {"jax": "0.10.2"}, machine, 1.5, (shape,)
    )
