"""Logit lens: what the output layer would say of the residual stream before and after each layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from aila_jax import formats
from aila_jax.cards import Card, Shown, count
from aila_jax.columns import Column, to_pandas
from aila_jax.config import require
from aila_jax.config.checks import check_whole
from aila_jax.inference.inside.capture import memory_of
from aila_jax.inference.inside.cases import one_token
from aila_jax.inference.inside.reading import Memory, Read, Setting, read
from aila_jax.inference.reach import check_positions
from aila_jax.inner import inner
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.output import final_norm, output_of
from aila_jax.model.tap import Watch
from aila_jax.model.tapped import apply_tapped
from aila_jax.types import Array, Batch

if TYPE_CHECKING:
    from pandas import DataFrame

    from aila_jax.inference.language_model import LanguageModel


@dataclass(frozen=True)
class LensRow:
    """What one state says of the token after one position.

    Attributes:
      text: which text, from 0.
      name: of the state.
      layers: how many layers made it.
      position: of the last token that it has read.
      token: that token.
      best: the likeliest next token.
      best_probability: its probability.
      target: the token that is asked for; None where none is.
      probability: the target's; None where none is.
      rank: how many tokens are likelier than it.
      kl: KL(model ‖ state) of the next token, nats: 0 after the last layer.
    """

    text: int
    name: str
    layers: int
    position: int
    token: str
    best: str
    best_probability: Annotated[float, Column("its probability", formats.fixed)]
    target: str | None
    probability: Annotated[float | None, Column(format=formats.fixed)]
    rank: int | None
    kl: Annotated[float, Column("KL to the model", formats.fixed, unit="nats")]


@dataclass(frozen=True, eq=False, repr=False)
class LogitLens(Shown):
    """The next token by each of S = N + 1 states of the residual stream: before the first layer and after
    each.

    Attributes:
      names: of the states.
      positions: the P that were looked at.
      top: ids of the k likeliest tokens, likeliest first.
      top_probabilities: theirs.
      targets: id of the token that is asked for after each; −1 where none is.
      probabilities: of the targets; NaN where there is none.
      ranks: how many tokens are likelier than the target; −1 where there is none.
      kl: KL(model ‖ state), nats.
      real: whether a position is one of its text's, and no padding.
      pieces: the text of each token of each text alone.
      types: the text of each token of `top` and `targets`, by its id.
      lam: λ of each text.
      memory: what the call was to take.
      source: the model in words, run and step.
    """

    names: tuple[str, ...]
    positions: tuple[int, ...]
    top: Int[np.ndarray, "S B P k"]
    top_probabilities: Float[np.ndarray, "S B P k"]
    targets: Int[np.ndarray, "B P"]
    probabilities: Float[np.ndarray, "S B P"]
    ranks: Int[np.ndarray, "S B P"]
    kl: Float[np.ndarray, "S B P"]
    real: np.ndarray
    pieces: tuple[tuple[str, ...], ...]
    types: dict[int, str]
    lam: Float[np.ndarray, "B"]
    memory: Memory
    source: str = ""

    def rows(self) -> list[LensRow]:
        """A row for every text, state and position."""
        found = []
        for state, name in enumerate(self.names):
            for text, place in np.argwhere(self.real):
                at, target = self.positions[place], int(self.targets[text, place])
                spot = (state, text, place)
                found.append(
                    LensRow(
                        text=int(text),
                        name=name,
                        layers=state,
                        position=at,
                        token=self.pieces[text][at],
                        best=self.types[int(self.top[spot][0])],
                        best_probability=float(self.top_probabilities[spot][0]),
                        target=None if target < 0 else self.types[target],
                        probability=None if target < 0 else float(self.probabilities[spot]),
                        rank=None if target < 0 else int(self.ranks[spot]),
                        kl=float(self.kl[spot]),
                    )
                )
        return sorted(found, key=lambda row: row.text)

    def to_pandas(self) -> "DataFrame":
        """The rows as a data frame."""
        return to_pandas(LensRow, self.rows())

    def tokens(self, layers: int, position: int, text: int = 0) -> tuple[tuple[str, float], ...]:
        """The likeliest tokens after a position by the state that so many layers made, with probabilities."""
        place = self._place("position", position, self.positions)
        text = self._place("text", text, range(len(self.pieces)))
        layers = self._place("layers", layers, range(len(self.names)))
        ids, shares = self.top[layers, text, place], self.top_probabilities[layers, text, place]
        return tuple((self.types[int(one)], float(share)) for one, share in zip(ids, shares, strict=True))

    @staticmethod
    def _place(name: str, value: int, every: Sequence[int]) -> int:
        value = check_whole(name, value, 0)
        require(value in every, name, value, f"one of {list(every)}", f"{name}={every[-1]}")
        return every.index(value)

    def card(self) -> Card:
        of = f" of {self.source}" if self.source else ""
        text, place = np.argwhere(self.real)[-1]
        facts = {
            "texts": count(len(self.pieces), "text"),
            "after": repr("".join(self.pieces[text][: self.positions[place] + 1])[-60:]),
        }
        spots = [(state, text, place) for state in range(len(self.names))]
        table = [("layers", "likeliest", "probability", "KL to the model")]
        table += [
            (
                str(spot[0]),
                repr(self.types[int(self.top[spot][0])]),
                f"{self.top_probabilities[spot][0]:.3f}",
                f"{self.kl[spot]:.3f}",
            )
            for spot in spots
        ]
        lams = ", ".join(f"{one:g}" for one in np.unique(self.lam))
        return Card(f"LogitLens{of}: {count(len(self.names), 'state')}, λ = {lams}", facts, table)


@partial(jax.jit, static_argnames=("request", "names", "top"))
def _lens(
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    request: Request,
    names: tuple[str, ...],
    asked: tuple[Int[Array, "P"], Int[Array, "B P"]],
    top: int,
) -> tuple[Array, Array, Array, Array, Array]:
    """Ids and probabilities of the likeliest tokens, probability and rank of the targets, and KL: of each
    state, at the positions that are asked for.
    """
    at_P, targets_BxP = asked
    watch = Watch(frozenset(names), kept=lambda value: value[:, at_P])
    output = apply_tapped(network, params, batch, dial, request, watch)

    def log_probabilities(features: Array) -> Array:
        logits = output_of(features, params, Request(), None).logits
        assert logits is not None, "the request asks for logits"
        return jax.nn.log_softmax(logits, axis=-1)

    model_BxPxV = log_probabilities(output.features[:, at_P])

    def one(x_BxPxD: Array) -> tuple[Array, Array, Array, Array, Array]:
        logp = log_probabilities(final_norm(network.module.config, params, x_BxPxD, dial))
        best, ids = jax.lax.top_k(logp, top)
        target = jnp.take_along_axis(logp, jnp.maximum(targets_BxP, 0)[..., None], axis=-1)
        kl = inner(jnp.exp(model_BxPxV), model_BxPxV - logp)
        return ids, jnp.exp(best), jnp.exp(target[..., 0]), jnp.sum(logp > target, axis=-1), kl

    return jax.lax.map(one, jnp.stack([watch.found[name] for name in names]))


def logit_lens(
    model: "LanguageModel",
    texts: Any,
    positions: Sequence[int] | None,
    top: int,
    answer: Any,
    setting: Setting,
) -> LogitLens:
    """What every state says; see `LanguageModel.logit_lens`."""
    config, types = model.config.model, model.tokenizer.vocab_size
    top = check_whole("top", top, 1)
    require(top <= types, "top", top, f"at most the vocabulary's {types}", "top=5, say")
    found = read(model, texts, setting)
    length = found.batch.tokens.shape[1]
    at = np.arange(length)
    if positions is not None:
        at = np.flatnonzero(check_positions("positions", positions, length))
        fix = "leave it out for all"
        require(len(at) > 0, "positions", positions, "at least one", fix)
    lengths = np.asarray(found.lengths)[:, None]
    real = at[None] < lengths
    require(bool(real.any()), "positions", positions, f"below {lengths.max()}", "leave it out for all")
    scored = np.asarray(found.batch.weights)[:, at] > 0
    targets = np.where(scored, np.asarray(found.batch.targets)[:, at], -1)
    if answer is not None:
        targets = np.where(real, one_token(model.tokenizer, "answer", answer), -1)
    layers = range(config.n_layers)
    names = ("layer_0.residual_before", *(f"layer_{layer}.residual" for layer in layers))
    memory = _memory(model, found, names, len(at), setting.limit_mib).allowed("logit_lens", setting.quiet)
    asked = (at.astype(np.int32), targets.astype(np.int32))
    request = Request(logits=False, hard=found.hard)
    ids, best, probability, rank, kl = (
        np.asarray(one)
        for one in _lens(model.network, model.params, found.batch, found.dial, request, names, asked, top)
    )
    missing = targets < 0
    shown = np.union1d(np.unique(ids), np.unique(targets[~missing]))
    return LogitLens(
        names=names,
        positions=tuple(at.tolist()),
        top=ids,
        top_probabilities=best,
        targets=targets,
        probabilities=np.where(missing, np.nan, probability),
        ranks=np.where(missing, -1, rank),
        kl=kl,
        real=real,
        pieces=found.pieces,
        types={int(one): model.tokenizer.token_text(int(one)) for one in shown},
        lam=np.asarray(found.dial.lam),
        memory=memory,
        source=f"{model.run}, step {model.step}",
    )


def _memory(
    model: "LanguageModel", texts: Read, names: tuple[str, ...], positions: int, limit_mib: float
) -> Memory:
    """What the lens takes: states at the positions, and log-probabilities of one state and of the model."""
    rows, length = texts.batch.tokens.shape
    states = memory_of(model, texts, names, limit_mib)
    vocabulary = 4 * 4 * rows * positions * model.module.vocab_size
    return Memory(states.held * positions // length, states.working + vocabulary, limit_mib)
