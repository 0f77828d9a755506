"""Activation patching: which results of one pass, put into another, bring its answer back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from jaxtyping import Float

from aila_jax import formats
from aila_jax.cards import Card, Shown, count, span
from aila_jax.columns import Column, to_pandas
from aila_jax.config import require
from aila_jax.config.checks import check_whole, one_of
from aila_jax.inference.inside.capture import matching, results
from aila_jax.inference.inside.cases import (
    Case,
    Grid,
    Question,
    cases_memory,
    one_token,
    run_cases,
)
from aila_jax.inference.inside.reading import Read, Setting, read
from aila_jax.inference.reach import check_positions
from aila_jax.model.arguments import any_array
from aila_jax.model.tap import site_of

if TYPE_CHECKING:
    from pandas import DataFrame

    from aila_jax.inference.language_model import LanguageModel

EACH = ("position", "head")


@dataclass(frozen=True)
class PatchRow:
    """One result that was put into the corrupted pass, at one position or of one head.

    Attributes:
      name: of the result.
      layer: of it.
      position: where it was put in; None for all positions.
      token: the corrupted text's there.
      clean_token: the clean text's.
      head: whose it is; None for all.
      value: the measure in the patched pass.
      recovery: (patched − corrupted) / (clean − corrupted).
    """

    name: str
    layer: int
    position: Annotated[int | None, Column(optional=True)]
    token: Annotated[str | None, Column(optional=True)]
    clean_token: Annotated[str | None, Column("clean token", optional=True)]
    head: Annotated[int | None, Column(optional=True)]
    value: Annotated[float, Column(format=formats.fixed)]
    recovery: Annotated[float, Column(format=formats.fixed, help="0 as corrupted, 1 as clean")]


@dataclass(frozen=True, eq=False, repr=False)
class Patching(Shown):
    """How far each result of a clean pass brings the clean answer back into a corrupted one.

    Attributes:
      names: of the S results.
      places: positions, or heads, of which there are P.
      each: `position` or `head`.
      values: the measure in each patched pass.
      clean: the measure in the clean pass.
      corrupted: in the corrupted one.
      measure: what is measured: a log-probability or a logit difference, nats.
      answer: the token whose it is.
      other: the token beside which it is; None for a log-probability.
      pieces: tokens of the clean text, and of the corrupted one.
      lam: λ of the clean pass, and of the corrupted one.
      source: the model in words, run and step.
    """

    names: tuple[str, ...]
    places: tuple[int, ...]
    each: str
    values: Float[np.ndarray, "S P"]
    clean: float
    corrupted: float
    measure: str
    answer: str
    other: str | None
    pieces: tuple[tuple[str, ...], tuple[str, ...]]
    lam: tuple[float, float]
    source: str = ""

    @property
    def recovery(self) -> Float[np.ndarray, "S P"]:
        """(patched − corrupted) / (clean − corrupted): 0 as the corrupted pass, 1 as the clean one."""
        return (self.values - self.corrupted) / (self.clean - self.corrupted)

    def rows(self) -> list[PatchRow]:
        """A row for every result and position, or head."""
        recovery, found = self.recovery, []
        for (number, place), value in np.ndenumerate(self.values):
            name, at = self.names[number], self.places[place]
            here = self.each == "position"
            found.append(
                PatchRow(
                    name=name,
                    layer=int(name.split(".")[0].removeprefix("layer_")),
                    position=at if here else None,
                    token=self.pieces[1][at] if here else None,
                    clean_token=self.pieces[0][at] if here else None,
                    head=None if here else at,
                    value=float(value),
                    recovery=float(recovery[number, place]),
                )
            )
        return found

    def to_pandas(self) -> "DataFrame":
        """The rows as a data frame."""
        return to_pandas(PatchRow, self.rows())

    def card(self) -> Card:
        of = f" of {self.source}" if self.source else ""
        beside = "" if self.other is None else f" beside {self.other!r}"
        facts = {
            f"{self.measure}": f"of {self.answer!r}{beside}",
            "clean, corrupted": f"{self.clean:.3f}, {self.corrupted:.3f}",
            "λ": f"{self.lam[0]:g}, {self.lam[1]:g}",
            "recovery": span(self.recovery),
        }
        table = [
            ("most by", self.each, "recovery"),
            *(
                (
                    self.names[index // len(self.places)],
                    str(self.places[index % len(self.places)]),
                    f"{one:.3f}",
                )
                for index in np.argsort(-self.recovery.ravel())[:4]
                for one in [self.recovery.ravel()[index]]
            ),
        ]
        passes = count(self.values.size, "pass", "passes")
        return Card(f"Patching{of}: {passes}", facts, table)


@dataclass(frozen=True)
class Sweep:
    """Which passes a sweep makes.

    Attributes:
      each: one for each `position` or each `head`.
      positions: of the sweep; None for all.
      at: position whose next token is asked for; None for the last.
      answer: the token that is expected; None for the likeliest of the clean pass.
      other: the one beside it; None for none.
      batch_size: passes at once.
    """

    each: str = "position"
    positions: Sequence[int] | None = None
    at: int | None = None
    answer: Any = None
    other: Any = None
    batch_size: int = 8


def patching(
    model: "LanguageModel",
    clean: Any,
    corrupted: Any,
    names: str | Sequence[str],
    sweep: Sweep,
    setting: Setting,
) -> Patching:
    """One patched pass for each result and position, or head; see `LanguageModel.patching`."""
    one_of("each", sweep.each, EACH)
    batch_size = check_whole("batch_size", sweep.batch_size, 1)
    wanted, by_head = matching(model.config.model, names), sweep.each == "head"
    for name in wanted:
        fix = "names='layer_*.residual', say"
        require(name.startswith("layer_"), "names", name, "a result of a layer", fix)
        fix = "names='layer_*.attention.heads', say"
        right = not by_head or site_of(name).heads_axis is not None
        require(right, "names", name, "a result of heads with each='head'", fix)
    texts = _pair(model, clean, corrupted, setting)
    places = _places(model, texts, sweep, by_head)
    at = _last(sweep.at, texts.lengths[0])
    source = results(model, texts.rows([0]), wanted, setting, {}, "patching, clean pass")
    grid = Grid(texts, dict(source.arrays), by_head, (at, at))
    plain, cases = [Case(0), Case(1)], [Case(1, name, place) for name in wanted for place in places]
    cases_memory(model, grid, batch_size, False, setting).allowed("patching", setting.quiet)
    first = run_cases(model, grid, plain, batch_size, lambda found: found.logits, False, True)
    asked = _question(model, sweep, first)
    both = asked.values(first)
    fix = "choose texts, an answer or λ between which they differ"
    differ = bool(np.isfinite(both).all()) and abs(both[0] - both[1]) > 1e-6
    require(
        differ, f"{asked.measure}, clean and corrupted", tuple(both.tolist()), "two different numbers", fix
    )
    values = run_cases(
        model,
        grid,
        cases,
        batch_size,
        lambda found: asked.values(found.logits)[:, None],
        False,
        setting.quiet,
    )
    return Patching(
        names=wanted,
        places=places,
        each=sweep.each,
        values=values.reshape(len(wanted), len(places)),
        clean=float(both[0]),
        corrupted=float(both[1]),
        measure=asked.measure,
        answer=model.tokenizer.token_text(asked.answer),
        other=None if asked.other is None else model.tokenizer.token_text(asked.other),
        pieces=(texts.pieces[0], texts.pieces[1]),
        lam=(float(texts.dial.lam[0]), float(texts.dial.lam[1])),
        source=f"{model.run}, step {model.step}",
    )


def _pair(model: "LanguageModel", clean: Any, corrupted: Any, setting: Setting) -> Read:
    """The two texts, as a batch of two.

    Raises:
      ValueError: of several lengths.
    """
    both = replace(setting, block_ids=_twice(setting.block_ids), doc_ids=_twice(setting.doc_ids))
    texts = read(model, [clean, corrupted], both)
    same = texts.lengths[0] == texts.lengths[1]
    fix = "word them so that they have as many tokens"
    require(same, "tokens of clean and corrupted", texts.lengths, "equal", fix)
    return texts


def _twice(ids: Any) -> Any:
    """Ids of one text as those of both."""
    array = None if ids is None else any_array(ids)
    return [ids, ids] if array is not None and array.ndim == 1 else ids


def _places(model: "LanguageModel", texts: Read, sweep: Sweep, by_head: bool) -> tuple[int, ...]:
    """Positions, or heads, in turn."""
    if by_head:
        fix = "each='position', or leave positions out"
        require(sweep.positions is None, "positions", sweep.positions, "left out with each='head'", fix)
        return tuple(range(model.config.model.n_heads))
    length = texts.lengths[0]
    if sweep.positions is None:
        return tuple(range(length))
    return tuple(np.flatnonzero(check_positions("positions", sweep.positions, length)).tolist())


def _last(at: int | None, length: int) -> int:
    """The position that is asked about: the last one by default."""
    if at is None:
        return length - 1
    at = check_whole("at", at, 0)
    require(at < length, "at", at, f"a position from 0 to {length - 1}", "leave it out for the last")
    return at


def _question(model: "LanguageModel", sweep: Sweep, logits: Float[np.ndarray, "2 V"]) -> Question:
    """What is measured: by default the logit of the clean pass's likeliest token beside that of the corrupted
    pass's, where they differ.
    """
    likeliest = logits.argmax(axis=1).tolist()
    if sweep.answer is None and sweep.other is None:
        return Question(likeliest[0], likeliest[1] if likeliest[1] != likeliest[0] else None)
    given = sweep.answer
    answer = likeliest[0] if given is None else one_token(model.tokenizer, "answer", given)
    other = None if sweep.other is None else one_token(model.tokenizer, "other", sweep.other)
    return Question(answer, other)
