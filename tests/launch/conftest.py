"""Stand-ins for `aila_jax.runs`, so that the command line is tested without training anything."""

import dataclasses
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aila_jax
from aila_jax.config import Config, to_dict
from aila_jax.config.options import Options, PromptOptions
from aila_jax.evaluation.blocks import BlockReport
from aila_jax.evaluation.origin import PartitionOrigin
from aila_jax.evaluation.rows import CellRow
from aila_jax.inference.generation import Continuation
from aila_jax.partition.classes.recruitment import Recruitment, RecruitmentStep
from aila_jax.partition.listing import BlockListing
from aila_jax.partition.statistics import BlockStatistics
from aila_jax.presets import tiny
from aila_jax.reporting.recruitment_files import RecruitmentReport
from aila_jax.thresholds.rows import ThresholdMeta, ThresholdResult, ThresholdRow


class FakeNonFiniteError(RuntimeError):
    pass


class FakeSaveError(OSError):
    pass


ORIGIN = PartitionOrigin(config=to_dict(tiny()), seed=0, commit="c", versions={}, data="0")


@dataclasses.dataclass(frozen=True)
class FakeRun:
    """What was opened, and how."""

    place: str
    window: int | None = None
    data_dir: str = ""
    fallback: bool = False
    config: Config | None = None
    step: str = ""
    relation: str | None = None


class FakeRuns(types.ModuleType):
    """Records each call as (function, positional arguments, settings) in `calls`; raises `error` if one is
    set. Settings are the options, how the run was opened, and where files go.
    """

    NonFiniteError = FakeNonFiniteError
    SaveError = FakeSaveError

    def __init__(self) -> None:
        super().__init__("aila_jax.runs")
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.error: BaseException | None = None
        self.began, self.prompt_tokens = 0, 8

    def open_run(
        self,
        path: str,
        window: int | None = None,
        data_dir: str = "",
        fallback: bool = False,
        step: str = "",
        relation: str | None = None,
    ) -> FakeRun:
        return FakeRun(path, window, data_dir, fallback, step=step, relation=relation)

    def open_source(self, path: str, config: Config | None, data_dir: str, fallback: bool) -> FakeRun:
        return FakeRun(path, None, data_dir, fallback, config)

    def _measured(self, name: str, run: FakeRun | str, options: Options, out: str, result: Any) -> Any:
        how = vars(run) if isinstance(run, FakeRun) else {"place": run}
        settings = {**how, **vars(options), "out": out}
        return self._called(name, (settings.pop("place"),), settings, result)

    def _called(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
        self.calls.append((name, args, kwargs))
        if self.error is not None:
            raise self.error
        return result

    def train(self, *args: Any, **kwargs: Any) -> Any:
        return self._called("train", args, kwargs, types.SimpleNamespace(step=7, began=self.began))

    def evaluate_cell(self, run: FakeRun, options: Options) -> CellRow:
        row = {field.name: 0.25 for field in dataclasses.fields(CellRow)} | {
            "run": "r",
            "split": "test",
            "delta_share": None,
        }
        return self._measured("evaluate", run, options, "", CellRow(**row))

    def sweep(self, run: FakeRun, options: Options, out: str) -> str:
        return self._measured("sweep", run, options, out, "RESULT")

    def describe_sweep(self, result: Any) -> str:
        return f"table of {result}"

    def influence(self, run: FakeRun, options: Options, out: str) -> str:
        return self._measured("influence", run, options, out, "RESULT")

    def describe_influence(self, result: Any) -> str:
        return f"influence of {result}"

    def diagnose(self, run: FakeRun, options: Options, out: str) -> str:
        return self._measured("diagnose", run, options, out, "RESULT")

    def describe_diagnosis(self, diagnosis: Any) -> str:
        return f"diagnosis of {diagnosis}"

    def report(self, run: str, options: Options, out: str) -> Path:
        return self._measured("report", run, options, out, Path("page.html"))

    def attention(self, run: FakeRun, options: Options, out: str) -> list[Path]:
        return self._measured("attention", run, options, out, [Path("a.png"), Path("a.svg")])

    def blocks(self, run: FakeRun, options: Options, out: str) -> BlockReport:
        statistics = BlockStatistics(60, 3, 2.5, 2.5, 0.75, 4.0, 5.0, 5.0, 5)
        listing = BlockListing((), (), ("a ‖ b",))
        report = BlockReport({"kind": "windows"}, "c", "train", statistics, None, listing, ORIGIN)
        return self._measured("blocks", run, options, out, report)

    def recruit_classes(self, run: FakeRun, options: Options, out: str) -> RecruitmentReport:
        steps = (RecruitmentStep(0, "start", 2, 0, 150.0, 30.0, 180.0, 0.5),)
        found = Recruitment(np.array([0, 1, 1]), steps, pairs=60, types_seen=9, most_classes=4, finished=True)
        return self._measured(
            "recruit",
            run,
            options,
            out,
            RecruitmentReport("the corpus", found, (), None, ORIGIN),
        )

    def threshold(self, run: FakeRun, options: Options, out: str) -> ThresholdResult:
        row = ThresholdRow(
            "r", 0, "c", None, 0, 0, "query", 0, 4, 1.0, None, None, None, None, 0.25, None, 0.25, None, None
        )
        meta = ThresholdMeta(
            settings={},
            undefined="positions are not localist",
            rho=None,
            inputs_read=0,
            targets=60,
            targets_at_zero=20,
            path=None,
        )
        return self._measured("threshold", run, options, out, ThresholdResult((row,), Config(), meta))

    def generate(
        self, run: FakeRun, options: PromptOptions, out: str
    ) -> tuple[tuple[Continuation, ...], ...]:
        found = tuple(
            Continuation("a λ continuation", self.prompt_tokens, 8, 16, options.prompt, options.seed + sample)
            for sample in range(options.samples)
        )
        return self._measured("generate", run, options, out, (found,))

    def stream(self, run: FakeRun, options: PromptOptions) -> Iterator[str]:
        return self._measured("stream", run, options, "", iter(("a λ ", "stream")))

    def describe_tokens(self, made: Continuation) -> str:
        return f"tokens of {made.text}"

    def continuation_lines(self, found: Any) -> str:
        return "".join(f"line of {one.text}\n" for of_prompt in found for one in of_prompt)

    def score(self, run: FakeRun, options: Options, out: str) -> Any:
        return self._measured(
            "score", run, options, out, types.SimpleNamespace(to_jsonl=lambda: '{"text": "t"}\n')
        )

    def describe_scores(self, scores: Any) -> str:
        return f"scores as {scores.to_jsonl()}".strip()

    def answer(self, run: FakeRun, options: Options, out: str) -> str:
        return self._measured("answer", run, options, out, "an answer")

    def describe_answer(self, found: str) -> str:
        return f"{found} and its sources"

    def certify(self, run: FakeRun, options: Options, out: str) -> str:
        return self._measured("certify", run, options, out, "what is guaranteed")

    def flow(self, run: FakeRun, options: Options, out: str) -> str:
        return self._measured("flow", run, options, out, "what can have influenced it")

    def demo(self, *args: Any, **kwargs: Any) -> None:
        return self._called("demo", args, kwargs, None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands run: with a checkpoint `c`, a sweep `s`, a log, data `d` and `my` texts, as far as paths
    say.
    """
    for name in ("c/checkpoints/8", "s", "d", "my", "empty"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("s/sweep.json", "m.jsonl", "my/one.txt", "a", "b"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, folder: Path) -> FakeRuns:
    fake = FakeRuns()
    monkeypatch.setitem(sys.modules, "aila_jax.runs", fake)
    monkeypatch.setattr(aila_jax, "runs", fake, raising=False)
    return fake
