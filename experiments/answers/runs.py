"""A cell from beginning to end: how long it will take, then every question; and its result file."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aila_jax
from aila_jax.answering.prompts import ISOLATED
from aila_jax.config import Config, require, saved_config, to_dict
from aila_jax.data.questions.examples import Example
from aila_jax.files import write_atomically
from aila_jax.inference.language_model import LanguageModel
from aila_jax.pretrained.places import is_elsewhere
from aila_jax.progress import Progress
from aila_jax.provenance import git_commit, versions
from aila_jax.reporting.results import portable, read_document
from aila_jax.reporting.tables import json_rows, json_text, rows_from
from experiments.answers.attack import attacked, attacks
from experiments.answers.cells import READINGS, Cell
from experiments.answers.measure import Asking, answer_row
from experiments.answers.reading import Form, Reader, capacity_of
from experiments.answers.rows import AnswerRow, AttackRow, CreditRow, OrderRow
from experiments.answers.shares import Share, shares_of

FORM = "aila-answers-1"


@dataclass(frozen=True)
class Counts:
    """How much of a cell is measured.

    Attributes:
      questions: that are answered.
      credited: of them, with their sources and another order.
      attacked: questions whose passages are replaced.
    """

    questions: int = 200
    credited: int = 50
    attacked: int = 100

    def __post_init__(self) -> None:
        for name in ("questions", "credited", "attacked"):
            value = getattr(self, name)
            least = 0 if name == "credited" else 1
            require(value >= least, f"--{name}", value, f"at least {least}", f"--{name}={least}")


@dataclass(frozen=True)
class Plan:
    """What a cell will take, from its first question.

    Attributes:
      first: seconds of the first question, compilation included.
      full: of a question with sources and orders, or with attacks.
      plain: of a question that is answered alone.
      seconds: of all questions.
    """

    first: float
    full: float
    plain: float
    seconds: float

    def line(self, name: str) -> str:
        return (
            f"{name}: {self.full:.1f} s a question in full and {self.plain:.1f} s for its answer alone, after"
            f" {self.first:.0f} s for the first; about {self.seconds / 60:.0f} minutes in all"
        )


@dataclass(frozen=True)
class CellResult:
    """One cell.

    Attributes:
      model: the name that the model is given in tables.
      source: the model's own name and step.
      cell: what was asked, and how it was read.
      seed: of questions, orders and attacks.
      form: how questions became text.
      capacity: positions of every passage; 0 where passages follow each other.
      commit: of the code.
      versions: of Python and packages.
      plan: what it was said to take.
      seconds: what it took.
      shares: means and shares with their 95 % intervals.
      answers: of each question.
      credits: of the first questions.
      orders: of the same ones.
      attacks: where the task is `injected`.
      config: of the model.
    """

    model: str
    source: str
    cell: Cell
    seed: int
    form: Form
    capacity: int
    commit: str
    versions: Mapping[str, str]
    plan: Plan
    seconds: float
    shares: tuple[Share, ...]
    answers: tuple[AnswerRow, ...]
    credits: tuple[CreditRow, ...]
    orders: tuple[OrderRow, ...]
    attacks: tuple[AttackRow, ...]
    config: Config

    @property
    def violations(self) -> int:
        """Attacks that changed an answer which was certified against them."""
        return sum(row.violated for row in self.attacks)


class Run:
    """A cell of a model, ready to be measured."""

    def __init__(
        self, model: LanguageModel, form: Form, cell: Cell, counts: Counts, seed: int, capacity: int = 0
    ):
        """Makes the questions, settles the positions of every passage (`capacity_of`), and refuses what does
        not fit.
        """
        self.model, self.form, self.cell, self.seed = model, form, cell, seed
        reading = READINGS[cell.reading]
        self.reader = Reader(model, form, reading)
        self.injects = cell.task == "injected"
        self.examples = cell.examples(counts.attacked if self.injects else counts.questions, seed)
        # What nobody reads has no source, and no order.
        full = len(self.examples) if self.injects else counts.credited if reading.passages else 0
        self.full = min(full, len(self.examples))
        prompts = [
            self.reader.prompt(example.question, passages)
            for number, example in enumerate(self.examples)
            for passages in self._sets(number, example)
        ]
        isolated = reading.mode == ISOLATED
        self.capacity = capacity_of(model, capacity, prompts) if isolated else 0
        self.reader.check(prompts, self.capacity)

    def _sets(self, number: int, example: Example) -> list[Sequence[str]]:
        more = attacks(example, number, self.seed) if self.injects else []
        return [example.passages, *(one.passages for one in more)]

    def plan(self) -> Plan:
        """Measures the first question, and what compiles for it apart."""
        asking = Asking(self.reader, self.capacity, self.seed)
        first, full, plain = 0.0, 0.0, 0.0
        if self.full:
            first, full = (self._seconds(lambda: self._measure(asking, 0, True)) for _ in range(2))
        if self.full < len(self.examples):
            first += self._seconds(lambda: asking.answer(0, self.examples[0]))
            plain = self._seconds(lambda: asking.answer(0, self.examples[0]))
        rest = len(self.examples) - self.full
        return Plan(first, full, plain, self.full * full + rest * plain)

    @staticmethod
    def _seconds(call: Callable[[], object]) -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    def _measure(self, asking: Asking, number: int, full: bool) -> "Rows":
        example = self.examples[number]
        if self.injects:
            said, found = attacked(self.reader, number, example, self.capacity, self.seed)
            return Rows((answer_row(number, example, said),), attacks=found)
        if not full:
            return Rows((asking.answer(number, example),))
        answer, credit, order = asking.sources(number, example)
        return Rows((answer,), (credit,), (order,))

    def measure(self, name: str, plan: Plan, quiet: bool = False) -> CellResult:
        """Every question."""
        asking, rows = Asking(self.reader, self.capacity, self.seed), Rows()
        began = time.perf_counter()
        with Progress(len(self.examples), "question", quiet=quiet) as progress:
            for number in range(len(self.examples)):
                rows += self._measure(asking, number, number < self.full)
                progress.advance()
        return CellResult(
            model=name,
            source=f"{self.model.run}, step {self.model.step}",
            cell=self.cell,
            seed=self.seed,
            form=self.form,
            capacity=self.capacity,
            commit=git_commit(),
            versions=versions(),
            plan=plan,
            seconds=time.perf_counter() - began,
            shares=shares_of(rows.answers, rows.credits, rows.orders, rows.attacks, self.seed),
            answers=rows.answers,
            credits=rows.credits,
            orders=rows.orders,
            attacks=rows.attacks,
            config=portable(self.model.config),
        )


@dataclass(frozen=True)
class Rows:
    """What is found of some questions."""

    answers: tuple[AnswerRow, ...] = ()
    credits: tuple[CreditRow, ...] = ()
    orders: tuple[OrderRow, ...] = ()
    attacks: tuple[AttackRow, ...] = ()

    def __add__(self, other: "Rows") -> "Rows":
        return Rows(
            self.answers + other.answers,
            self.credits + other.credits,
            self.orders + other.orders,
            self.attacks + other.attacks,
        )


def write_result(result: CellResult, directory: Path) -> None:
    """Writes NAME-CELL-seedS.json."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = {
        name: json_rows(getattr(result, name))
        for name in ("shares", "answers", "credits", "orders", "attacks")
    }
    facts = {
        name: getattr(result, name)
        for name in ("model", "source", "seed", "capacity", "commit", "versions", "seconds")
    }
    parts = {name: asdict(getattr(result, name)) for name in ("cell", "form", "plan")}
    document = {"format": FORM, **facts, **parts, **rows, "config": to_dict(result.config)}
    write_atomically(
        directory / stem_of(result.model, result.cell, result.seed), json_text(document, indent=None).encode()
    )


def stem_of(model: str, cell: Cell, seed: int) -> str:
    """The name of a cell's file."""
    return f"{model}-{cell.name}-seed{seed}.json"


def read_result(path: Path) -> CellResult:
    """Reads it back; ValueError for another file."""
    return read_document(path, "answers", FORM, _parse)


def _parse(document: Mapping[str, Any]) -> CellResult:
    return CellResult(
        model=document["model"],
        source=document["source"],
        cell=Cell(*(document["cell"][name] for name in ("task", "kind", "passages", "reading"))),
        seed=document["seed"],
        form=Form(*(document["form"][name] for name in ("chat", "header", "begun", "max_tokens"))),
        capacity=document["capacity"],
        commit=document["commit"],
        versions=document["versions"],
        plan=Plan(*(document["plan"][name] for name in ("first", "full", "plain", "seconds"))),
        seconds=document["seconds"],
        shares=rows_from(Share, document["shares"], "shares"),
        answers=rows_from(AnswerRow, document["answers"], "answers"),
        credits=rows_from(CreditRow, document["credits"], "credits"),
        orders=rows_from(OrderRow, document["orders"], "orders"),
        attacks=rows_from(AttackRow, document["attacks"], "attacks"),
        config=saved_config(document["config"]),
    )


def open_model(path: str) -> LanguageModel:
    """A run, or a pretrained model; ValueError where there is none."""
    require(
        bool(path),
        "--model",
        path,
        "a run, a folder or a GGUF file",
        "--model=runs/questions/questions-seed0",
    )
    return aila_jax.from_pretrained(path) if is_elsewhere(path) else aila_jax.load(path)
