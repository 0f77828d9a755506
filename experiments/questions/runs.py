"""A small model trained on generated questions, read together (λ = 0) and isolated (λ = 1) from one
checkpoint.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from aila_jax import presets
from aila_jax.config import Config
from aila_jax.config.questions import KINDS
from aila_jax.data.dataset import Dataset, load_dataset
from aila_jax.evaluation.answers import score_answers
from aila_jax.inference.language_model import LanguageModel
from aila_jax.metrics.answers import wilson
from aila_jax.progress import Progress
from experiments.results import read_row_file, write_row_files

FORMAT = "aila_jax questions, version 1"
PASSAGES = (4, 8)
QUESTIONS = 500  # of each kind
EXERCISES = ("repeats", "pairs", "keys", "sharper_keys", "rivals")  # presets, in their order


@dataclass(frozen=True)
class Mode:
    """How a checkpoint is read.

    Attributes:
      lam: λ.
      hard: passages cannot see each other.
      equal: passages have equal positions.
    """

    lam: float
    hard: bool
    equal: bool


MODES = {"together": Mode(0.0, False, False), "isolated": Mode(1.0, True, True)}


@dataclass(frozen=True)
class AnswerRow:
    """Held-out questions of one kind, with so many passages, in one mode.

    Attributes:
      run: as in `CellRow`, and so are seed, commit and split.
      mode: `together` or `isolated`.
      kind: of the questions.
      passages: in each prompt; more where more are planted.
      steps: optimizer steps it was trained for.
      questions: that were asked.
      accuracy: share of whole answers whose every token is ranked first.
      low: end of its 95 % interval (Wilson).
      high: likewise.
      log_prob: mean over answers of the whole answer's log-probability, nats.
    """

    run: str
    seed: int
    commit: str
    split: str
    mode: str
    kind: str
    passages: int
    steps: int
    questions: int
    accuracy: float
    low: float
    high: float
    log_prob: float


def question_runs(base: Config) -> dict[str, Config]:
    """The run by name: the preset as it is."""
    return {"questions": base}


def exercises(config: Config) -> dict[str, Config]:
    """What a run on questions starts from, each from the one before, with its model and seed, and prompts of
    its own length.
    """
    first = {name: presets.preset(name) for name in EXERCISES}
    return {
        name: replace(
            one,
            seed=config.seed,
            model=replace(config.model, length=one.model.length),
            locality=config.locality,
        )
        for name, one in first.items()
    }


def asked_set(model: LanguageModel, kind: str, passages: int, equal: bool, questions: int) -> Dataset:
    """Questions of one kind, with a fixed number of passages, whose positions are all of one sort; equal ones
    take the place that training gave them.
    """
    config = model.config.data
    asked = replace(
        config.questions,
        sequences=max(round(questions / config.test_fraction), 1),
        kinds=(kind,),
        least=passages,
        most=passages,
        asked=1,
        scored="answers",
        equal=float(equal),
    )
    return load_dataset(replace(config, questions=asked), model.tokenizer)


def measure(
    model: LanguageModel,
    passages: tuple[int, ...] = PASSAGES,
    questions: int = QUESTIONS,
    quiet: bool = False,
) -> list[AnswerRow]:
    """A row for each number of passages, kind and mode, on the test split.

    Kinds are those it was trained on, which its positions have room for.
    """
    config, rows = model.config, []
    kinds = [kind for kind in KINDS if kind in config.data.questions.kinds]
    with Progress(len(passages) * len(kinds) * len(MODES), "cell", quiet=quiet) as progress:
        for count in passages:
            for kind in kinds:
                for name, mode in MODES.items():
                    dataset = asked_set(model, kind, count, mode.equal, questions)
                    windows = dataset.windows("test", config.model.length, False, config.data.begin)
                    found = score_answers(model, windows, mode.lam, hard=mode.hard)
                    share = wilson(int(found.right.sum()), len(found.right))
                    rows.append(
                        AnswerRow(
                            run=model.run,
                            seed=config.seed,
                            commit=model.meta.get("commit", "unknown"),
                            split="test",
                            mode=name,
                            kind=kind,
                            passages=count,
                            steps=model.step,
                            questions=share.count,
                            accuracy=share.value,
                            low=share.low,
                            high=share.high,
                            log_prob=float(found.log_prob.mean()),
                        )
                    )
                    progress.advance()
                    progress.report(f"{name}, {kind}, {count} passages, accuracy {share.value:.3f}")
    return rows


def write_rows(
    rows: list[AnswerRow], model: LanguageModel, dataset: Dataset, path_without_suffix: Path
) -> None:
    """Writes `.csv` and `.json`: `write_row_files`."""
    write_row_files(rows, FORMAT, model, dataset, path_without_suffix)


def read_rows(path: Path) -> list[AnswerRow]:
    """The rows of a file that `write_rows` wrote; ValueError where it is not such a file."""
    return read_row_file(path, "questions", FORMAT, AnswerRow)
