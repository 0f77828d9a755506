"""Stand-ins for `aila_jax.runs`, so that the command line is tested without training anything."""

import dataclasses
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aila_jax
from aila_jax.config import Config, to_dict
from aila_jax.evaluation.blocks import BlockReport
from aila_jax.evaluation.rows import CellRow
from aila_jax.partition.classes.recruitment import Recruitment, RecruitmentStep
from aila_jax.partition.listing import BlockListing
from aila_jax.partition.statistics import BlockStatistics
from aila_jax.presets import tiny
from aila_jax.reporting.recruitment_files import RecruitmentReport
from aila_jax.thresholds.rows import ThresholdResult, ThresholdRow


class FakeNonFiniteError(RuntimeError):
    pass


class FakeRuns(types.ModuleType):
    """Records each call as (function, positional arguments, keyword arguments) in `calls`; raises `error` if
    one is set.
    """

    NonFiniteError = FakeNonFiniteError

    def __init__(self) -> None:
        super().__init__("aila_jax.runs")
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.error: BaseException | None = None

    def _called(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
        self.calls.append((name, args, kwargs))
        if self.error is not None:
            raise self.error
        return result

    def train(self, *args: Any, **kwargs: Any) -> Any:
        return self._called("train", args, kwargs, types.SimpleNamespace(step=7))

    def evaluate(self, *args: Any, **kwargs: Any) -> CellRow:
        row = {field.name: 0.25 for field in dataclasses.fields(CellRow)} | {
            "run": "r",
            "split": "test",
            "delta_share": None,
        }
        return self._called("evaluate", args, kwargs, CellRow(**row))

    def sweep(self, *args: Any, **kwargs: Any) -> str:
        return self._called("sweep", args, kwargs, "RESULT")

    def describe_sweep(self, result: Any) -> str:
        return f"table of {result}"

    def influence(self, *args: Any, **kwargs: Any) -> str:
        return self._called("influence", args, kwargs, "RESULT")

    def describe_influence(self, result: Any) -> str:
        return f"influence of {result}"

    def diagnose(self, *args: Any, **kwargs: Any) -> str:
        return self._called("diagnose", args, kwargs, "RESULT")

    def describe_diagnosis(self, diagnosis: Any) -> str:
        return f"diagnosis of {diagnosis}"

    def report(self, *args: Any, **kwargs: Any) -> Path:
        return self._called("report", args, kwargs, Path("page.html"))

    def attention(self, *args: Any, **kwargs: Any) -> list[Path]:
        return self._called("attention", args, kwargs, [Path("a.png"), Path("a.svg")])

    def blocks(self, *args: Any, **kwargs: Any) -> BlockReport:
        statistics = BlockStatistics(60, 3, 2.5, 2.5, 0.75, 4.0, 5.0, 5.0, 5)
        report = BlockReport(
            {"kind": "windows"}, "c", "train", statistics, None, BlockListing((), (), ("a ‖ b",)), {}
        )
        return self._called("blocks", args, kwargs, report)

    def recruit(self, *args: Any, **kwargs: Any) -> RecruitmentReport:
        steps = (RecruitmentStep(0, "start", 2, 0, 150.0, 30.0, 180.0, 0.5),)
        found = Recruitment(np.array([0, 1, 1]), steps, pairs=60, types_seen=9, most_classes=4, finished=True)
        return self._called(
            "recruit",
            args,
            kwargs,
            RecruitmentReport("the corpus", found, (), None, {"config": to_dict(tiny())}),
        )

    def threshold(self, *args: Any, **kwargs: Any) -> ThresholdResult:
        row = ThresholdRow(
            "r", 0, "c", None, 0, 0, "query", 0, 4, 1.0, None, None, None, None, 0.25, None, 0.25, None, None
        )
        meta = {
            "undefined": "positions are not localist",
            "rho": None,
            "targets": 60,
            "targets_at_zero": 20,
            "path": None,
        }
        return self._called("threshold", args, kwargs, ThresholdResult((row,), Config(), meta))

    def generate(self, *args: Any, **kwargs: Any) -> str:
        return self._called("generate", args, kwargs, "a λ continuation")

    def certify(self, *args: Any, **kwargs: Any) -> str:
        return self._called("certify", args, kwargs, "what is guaranteed")

    def demo(self, *args: Any, **kwargs: Any) -> None:
        return self._called("demo", args, kwargs, None)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    fake = FakeRuns()
    monkeypatch.setitem(sys.modules, "aila_jax.runs", fake)
    monkeypatch.setattr(aila_jax, "runs", fake, raising=False)
    return fake
