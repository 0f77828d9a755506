"""Inputs of all kinds, right ones and wrong ones, given to whatever takes any: each is served, or refused by
a ValueError that says how to mend it.
"""

import contextlib
import dataclasses
import io
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import aila_jax as aila
from aila_jax.config import Config, DataConfig, from_dict, options, to_dict
from aila_jax.data.dataset import load_dataset
from aila_jax.inference.language_model import LanguageModel

LONG = 60.0  # seconds: a call that takes longer hangs
FAMILIES = ("options", "settings", "calls", "grids", "prompts", "corpora")
COMPUTED = ("calls", "grids", "prompts", "corpora")  # what is served there has been computed
WORDS = "key0 key1 key7 value2 value15 unknown ? \n \t é 猫 🙂 \u202e".split(" ")


@dataclass
class Inputs:
    """What was found.

    Attributes:
      served: cases by family.
      refused: likewise.
      wrong: what was neither: an error of another type, one without a fix, a call that hung.
    """

    served: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        return self.served.total() + self.refused.total() + len(self.wrong)

    @property
    def computed(self) -> float:
        """Share of the cases that reached computation and were served."""
        return sum(self.served[family] for family in COMPUTED) / max(self.cases, 1)


def given(run: Path, folder: Path, count: int, seed: int, families: Sequence[str] = FAMILIES) -> Inputs:
    """Gives so many cases, the families in turn.

    Args:
      run: a small trained run, whose corpus can be read.
      folder: a new one, for files.
      count: of cases.
      seed: of what is drawn.
      families: from `FAMILIES`.
    """
    folder.mkdir(parents=True)
    makers = _Makers(aila.load(run), folder, random.Random(seed))
    found = Inputs()
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        for index in range(count):
            family = families[index % len(families)]
            said, call = getattr(makers, family)()
            _try(family, said, call, found)
    return found


def _try(family: str, said: str, call: Callable[[], Any], found: Inputs) -> None:
    began = time.monotonic()
    try:
        call()
        found.served[family] += 1
    except ValueError as error:
        if "Fix" in str(error):
            found.refused[family] += 1
        else:
            found.wrong.append(f"{said}: no fix is named: {str(error)[:200]}")
    except Exception as error:  # whatever else it is, is a mistake of ours
        found.wrong.append(f"{said}: {type(error).__name__}: {str(error)[:200]}")
    if time.monotonic() - began > LONG:
        found.wrong.append(f"{said}: {time.monotonic() - began:.0f} s")


STRANGE: tuple[Callable[[random.Random], Any], ...] = (
    lambda draw: None,
    lambda draw: draw.choice((True, False)),
    lambda draw: draw.choice((-1, 0, 1, 2, 3, 7, 8, 10**6, 2**31, 2**63, 10**30)),
    lambda draw: draw.choice((-0.5, -0.0, 0.0, 0.25, 0.5, 1.0, 1.5, 1e-300, 1e300)),
    lambda draw: draw.choice((float("nan"), float("inf"), -float("inf"))),
    lambda draw: draw.choice(("", "x", "0.5", "test", "validation", "train", "\0", "\ud800", "a" * 10_000, "../..")),
    lambda draw: draw.choice((b"", b"x", [], (), {}, set(), object(), len, range(3), 1j)),
    lambda draw: draw.choice((np.float32(0.5), np.int64(1), np.array(0.5), np.zeros(3), np.zeros((2, 2)), np.nan)),
    lambda draw: [draw.choice((0.0, 0.5, 1.0, "x", None, float("nan")))],
)  # fmt: skip


@dataclass
class _Makers:
    """Makes a case of each family: what it is in words, and the call.

    Attributes:
      model: what is called.
      folder: for files.
      draw: what all is drawn by.
    """

    model: LanguageModel
    folder: Path
    draw: random.Random
    _number: int = 0

    def strange(self) -> Any:
        return self.draw.choice(STRANGE)(self.draw)

    def options(self) -> tuple[str, Callable[[], Any]]:
        """The options of a command, one or two of them strange."""
        known = [
            one
            for one in vars(options).values()
            if isinstance(one, type) and issubclass(one, options.Options) and one is not options.Options
        ]
        kind = self.draw.choice(known)
        names = [one.name for one in dataclasses.fields(kind)]
        values = {
            name: self.strange() for name in self.draw.sample(names, min(len(names), self.draw.randint(1, 2)))
        }
        for one in dataclasses.fields(kind):  # what must be given
            missing = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
            if missing and one.name not in values:
                values[one.name] = "x"
        return f"{kind.__name__}({_shown(values)})", partial(kind, **values)

    def settings(self) -> tuple[str, Callable[[], Any]]:
        """A configuration, one setting of it strange."""
        values = to_dict(self.model.config)
        inside, path = values, []
        while True:
            name = self.draw.choice(list(inside))
            path.append(name)
            if not isinstance(inside[name], dict) or not inside[name] or self.draw.random() < 0.1:
                break
            inside = inside[name]
        inside[name] = self.strange()
        return f"config {'.'.join(path)} = {inside[name]!r:.80}", partial(from_dict, Config, values)

    def calls(self) -> tuple[str, Callable[[], Any]]:
        """A call with right values, but for one at most."""
        draw, model = self.draw, self.model
        right: dict[str, Callable[[], Any]] = {
            "lam": lambda: draw.choice((0.0, 0.3, 1, np.float32(0.5))),
            "tau": lambda: draw.choice((0.5, 1, 2.0)),
        }
        known: list[tuple[str, dict[str, Any]]] = (
            [
                ("evaluate", {"split": "test", "max_batches": 1, "batch_size": 8, "quiet": True}),
                ("score", {"texts": self.text(), "batch_size": 1}),
                ("attention", {"text": self.text()}),
                ("generate", {"prompt": self.text(), "max_tokens": 2, "seed": draw.randint(0, 9), "samples": 1}),
                ("reach", {"text": self.text()}),
                ("attention_weights", {"text": self.text(), "layers": [0]}),
            ]
        )  # fmt: skip
        name, values = draw.choice(known)
        values |= {name: make() for name, make in right.items()}
        if draw.random() < 0.25:
            values[draw.choice(list(values))] = self.strange()
        for counted in ("samples", "max_tokens"):  # a million of them is no mistake, and takes its time
            if isinstance(values.get(counted), int | np.integer) and values[counted] > 8:
                values[counted] = 8
        call = partial(aila.evaluate, model) if name == "evaluate" else getattr(model, name)
        first = [values.pop(key) for key in ("texts", "text", "prompt") if key in values]
        return f"{name}({_shown({'first': first, **values})})", partial(call, *first, **values)

    def grids(self) -> tuple[str, Callable[[], Any]]:
        """λ and τ of a sweep."""
        draw = self.draw
        lams = [draw.choice((0, 0.1, 0.5, 1.0)) for _ in range(draw.randint(0, 2))]
        taus = [draw.choice((0.5, 1.0)) for _ in range(draw.randint(1, 2))]
        if draw.random() < 0.25:
            lams = draw.choice((self.strange(), [*lams, self.strange()]))
        if draw.random() < 0.2:
            taus = draw.choice((self.strange(), [*taus, self.strange()]))
        values = {
            "lams": lams,
            "taus": taus,
            "max_batches": 1,
            "batch_size": 8,
            "split": "test",
            "quiet": True,
        }
        return f"sweep({_shown(values)})", partial(aila.sweep, self.model, **values)

    def prompts(self) -> tuple[str, Callable[[], Any]]:
        """Any text, and lists of token ids."""
        draw = self.draw
        text = draw.choice((self.text, self.noise, self.ids))()
        call = draw.choice((
            partial(self.model.score, text, batch_size=1),
            partial(self.model.generate, text, max_tokens=1),
            partial(self.model.attention, text),
        ))  # fmt: skip
        return f"{call.func.__name__}({text!r:.200})", call

    def corpora(self) -> tuple[str, Callable[[], Any]]:
        """A file of text, of JSON lines or of questions: bytes of all kinds."""
        draw = self.draw
        self._number += 1
        suffix, corpus = draw.choice((("txt", "text"), ("jsonl", "text"), ("jsonl", "question_files")))
        path = self.folder / f"{self._number}.{suffix}"
        lines = [
            self._line(corpus, suffix).encode("utf-8", "surrogatepass")
            for _ in range(draw.choice((0, 1, 40, 120)))
        ]
        content = b"\n".join(lines)
        if draw.random() < 0.3:
            at = draw.randint(0, len(content))
            content = content[:at] + draw.randbytes(draw.randint(1, 20)) + content[at:]
        path.write_bytes(content)
        data = DataConfig(corpus=corpus, files=(str(path),), cache_dir=str(self.folder / "cache"))
        return f"{corpus}, {suffix}, of {content[:80]!r}", partial(load_dataset, data, self.model.tokenizer)

    def text(self) -> str:
        return " ".join(self.draw.choices(WORDS, k=self.draw.randint(1, 8)))

    def noise(self) -> str:
        return "".join(chr(self.draw.choice((self.draw.randint(0, 0x2FF), self.draw.randint(0, 0x10FFFF))))
                       for _ in range(self.draw.randint(0, 12)))  # fmt: skip

    def ids(self) -> list[Any]:
        size = self.model.tokenizer.vocab_size
        return [self.draw.choice((self.draw.randrange(size), self.draw.randrange(size), -1, size, 2**40))
                for _ in range(self.draw.randint(0, 4))]  # fmt: skip

    def _line(self, corpus: str, suffix: str) -> str:
        import json

        if suffix == "txt":
            return self.draw.choice((self.text, self.text, self.noise))()
        record: dict[str, Any] = {"text": self.text()}
        if corpus == "question_files":
            record = {
                "question": self.text(),
                "passages": [self.text(), self.text()],
                "answer": "value2",
                "rationale": [0],
            }
        if self.draw.random() < 0.02:
            record[self.draw.choice(list(record))] = self.draw.choice(
                (None, 3, [], {}, "", [None], [7], "\0")
            )
        return json.dumps(record)


def _shown(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r:.80}" for name, value in values.items())
