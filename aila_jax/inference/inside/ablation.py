"""Head ablation: what each head is worth, by a pass without it."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from aila_jax import formats
from aila_jax.cards import Card, Shown, count, span
from aila_jax.columns import Column, to_pandas
from aila_jax.config import require
from aila_jax.config.checks import check_whole, one_of
from aila_jax.inference.inside.capture import matching
from aila_jax.inference.inside.cases import (
    Case,
    Grid,
    Outcomes,
    Question,
    cases_memory,
    one_token,
    run_cases,
)
from aila_jax.inference.inside.reading import Read, Setting, read
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.tap import Watch
from aila_jax.model.tapped import apply_tapped
from aila_jax.types import PADDING_ID, Array, Batch

if TYPE_CHECKING:
    from pandas import DataFrame

    from aila_jax.inference.language_model import LanguageModel

HEADS = "layer_*.attention.heads"
TO = ("zero", "mean")


@dataclass(frozen=True)
class AblationRow:
    """One head that was taken out.

    Attributes:
      layer: its layer.
      head: its number.
      loss: mean over the tokens of all texts without it, nats.
      change: by how much that is above the whole model's.
      value: the log-probability or logit difference that was asked for, mean over texts; None without one.
      value_change: by how much that is above the whole model's.
    """

    layer: int
    head: int
    loss: Annotated[float, Column("loss", formats.four, unit="nats")]
    change: Annotated[float, Column("change", formats.four, unit="nats", help="above the whole model's loss")]
    value: Annotated[float | None, Column(format=formats.four, unit="nats", optional=True)]
    value_change: Annotated[float | None, Column("change of value", formats.four, unit="nats", optional=True)]


@dataclass(frozen=True, eq=False, repr=False)
class HeadAblation(Shown):
    """The loss of some texts without each of a model's heads, one at a time.

    Attributes:
      losses: mean over their tokens, nats.
      loss: of the whole model.
      values: what was asked for of the last token of each text, mean over texts; None without an answer.
      value: of the whole model.
      measure: what `values` are; empty without an answer.
      to: what stands in place of a head's output: `zero`, or its `mean` over the tokens of the texts.
      tokens: targets that the loss is the mean of.
      source: the model in words, run and step.
    """

    losses: Float[np.ndarray, "N H"]
    loss: float
    values: Float[np.ndarray, "N H"] | None
    value: float | None
    measure: str
    to: str
    tokens: int
    source: str = ""

    @property
    def changes(self) -> Float[np.ndarray, "N H"]:
        """How much the loss rises without each head, nats."""
        return self.losses - self.loss

    def rows(self) -> list[AblationRow]:
        """A row for every head."""
        found = []
        for (layer, head), loss in np.ndenumerate(self.losses):
            value = None if self.values is None else float(self.values[layer, head])
            found.append(
                AblationRow(
                    layer=layer,
                    head=head,
                    loss=float(loss),
                    change=float(loss - self.loss),
                    value=value,
                    value_change=None if value is None or self.value is None else value - self.value,
                )
            )
        return found

    def to_pandas(self) -> "DataFrame":
        """The rows as a data frame."""
        return to_pandas(AblationRow, self.rows())

    def card(self) -> Card:
        of = f" of {self.source}" if self.source else ""
        facts = {
            "loss": f"{self.loss:.4f} nats, mean of {count(self.tokens, 'token')}",
            "rises by": span(self.changes, 4),
        }
        if self.values is not None:
            facts[self.measure] = f"{self.value:.4f} nats"
        heads = self.losses.shape[1]
        table = [
            ("rises most without", "by"),
            *(
                (f"layer {index // heads}, head {index % heads}", f"{self.changes.ravel()[index]:.4f}")
                for index in np.argsort(-self.changes.ravel())[:4]
            ),
        ]
        title = f"HeadAblation{of}: {count(self.losses.size, 'head')}, to {self.to}"
        return Card(title, facts, table)


@dataclass(frozen=True)
class Ablating:
    """Which passes an ablation makes.

    Attributes:
      to: `zero` or `mean`.
      answer: a token whose logit after the last token of each text is asked for; None for the loss alone.
      other: the one beside it; None for its log-probability.
      batch_size: passes at once.
    """

    to: str = "zero"
    answer: Any = None
    other: Any = None
    batch_size: int = 8


def ablate_heads(model: "LanguageModel", texts: Any, ablating: Ablating, setting: Setting) -> HeadAblation:
    """One pass for each head and text; see `LanguageModel.ablate_heads`."""
    config = model.config.model
    one_of("to", ablating.to, TO)
    batch_size = check_whole("batch_size", ablating.batch_size, 1)
    fix = "ablate in a causal model; a bidirectional one sees its targets"
    require(not config.bidirectional, "model.bidirectional", True, "False to have a loss", fix)
    asked = _question(model, ablating)
    found = read(model, texts, setting)
    weights = np.asarray(found.batch.weights, np.float64)
    fix = "take a text of two tokens or more"
    require(bool(weights.any()), "texts", found.lengths, "at least one token with one after it", fix)
    names = matching(config, HEADS)
    grid = Grid(found, _values(model, found, names, ablating.to), True, tuple(n - 1 for n in found.lengths))
    cases_memory(model, grid, batch_size, True, setting).allowed("ablate_heads", setting.quiet)
    rows = range(len(found.lengths))
    cases = [Case(text) for text in rows]
    cases += [Case(text, name, head) for name in names for head in range(config.n_heads) for text in rows]
    sums = _Sums(weights, asked, [case.text for case in cases])
    measured = run_cases(model, grid, cases, batch_size, sums, True, setting.quiet)
    shape = (1 + config.n_layers * config.n_heads, len(found.lengths))
    losses = measured[:, 0].reshape(shape).sum(axis=1) / weights.sum()
    values = None if asked is None else measured[:, 1].reshape(shape).mean(axis=1)
    heads = (config.n_layers, config.n_heads)
    return HeadAblation(
        losses=losses[1:].reshape(heads),
        loss=float(losses[0]),
        values=None if values is None else values[1:].reshape(heads),
        value=None if values is None else float(values[0]),
        measure="" if asked is None else asked.measure,
        to=ablating.to,
        tokens=int(weights.sum()),
        source=f"{model.run}, step {model.step}",
    )


class _Sums:
    """Of cases, in their order: the loss summed over the text's targets, and what is asked for."""

    def __init__(self, weights: Float[np.ndarray, "B L"], asked: Question | None, texts: list[int]):
        self.weights, self.asked, self.texts, self.done = weights, asked, texts, 0

    def __call__(self, found: Outcomes) -> Float[np.ndarray, "C 2"]:
        texts = self.texts[self.done : self.done + len(found.logits)]
        self.done += len(texts)
        assert found.losses is not None, "the passes were asked for losses"
        losses = (found.losses * self.weights[texts]).sum(axis=1)
        values = np.zeros(len(texts)) if self.asked is None else self.asked.values(found.logits)
        return np.stack([losses, values], axis=1)


def _question(model: "LanguageModel", ablating: Ablating) -> Question | None:
    if ablating.answer is None:
        fix = "pass answer too"
        require(ablating.other is None, "other", ablating.other, "left out without an answer", fix)
        return None
    other = None if ablating.other is None else one_token(model.tokenizer, "other", ablating.other)
    return Question(one_token(model.tokenizer, "answer", ablating.answer), other)


def _values(model: "LanguageModel", texts: Read, names: tuple[str, ...], to: str) -> dict[str, Array]:
    """What stands in place of each layer's heads."""
    if to == "zero":
        return {name: np.zeros((1, 1, 1, 1), np.float32) for name in names}
    request = Request(logits=False, hard=texts.hard)
    found: dict[str, Array] = _means(model.network, model.params, texts.batch, texts.dial, request, names)
    return found


@partial(jax.jit, static_argnames=("request", "names"))
def _means(
    network: Network, params: Any, batch: Batch, dial: Dial, request: Request, names: tuple[str, ...]
) -> dict[str, Float[Array, "1 1 H K"]]:
    """The mean of each result over all tokens that are no padding."""
    real = (jnp.asarray(batch.doc_ids) != PADDING_ID).astype(jnp.float32)

    def mean(value: Array) -> Array:
        total = jnp.einsum("bl,bl...->...", real, value.astype(jnp.float32), precision="highest")
        return (total / real.sum())[None, None]

    watch = Watch(frozenset(names), kept=mean)
    apply_tapped(network, params, batch, dial, request, watch)
    return watch.found
