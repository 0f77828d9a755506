"""Many forward passes that differ in what is replaced: one program, several at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from aila_jax.config import require
from aila_jax.config.checks import plain, whole
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.inference.inside.capture import memory_of
from aila_jax.inference.inside.reading import Memory, Read, Setting
from aila_jax.loss.cross_entropy import linear_target_scores
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.output import output_of, output_weights
from aila_jax.model.tap import Edit, Watch, site_of
from aila_jax.model.tapped import apply_tapped
from aila_jax.progress import Progress
from aila_jax.types import Array, Batch

if TYPE_CHECKING:
    from aila_jax.inference.language_model import LanguageModel

LOSS_CHUNK = 256  # tokens whose logits are there at once


@partial(jax.jit, static_argnames=("request", "losses"))
def _outcomes(
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    request: Request,
    edits: dict[str, Edit],
    at_R: Int[Array, "R"],
    losses: bool,
) -> tuple[Float[Array, "R V"], Float[Array, "R L"] | None]:
    """Logits after position `at_R` of each row, and the loss at every position."""
    features = apply_tapped(network, params, batch, dial, request, Watch(frozenset(), edits)).features
    last = jnp.take_along_axis(features, at_R[:, None, None], axis=1)
    logits = output_of(last, params, Request(), None).logits
    assert logits is not None, "the request asks for logits"
    if not losses:
        return logits[:, 0], None
    weights = output_weights(params).astype(features.dtype)
    return logits[:, 0], linear_target_scores(features, weights, batch.targets, LOSS_CHUNK).losses


@dataclass(frozen=True)
class Case:
    """One pass over one text.

    Attributes:
      text: its place.
      name: the result that is replaced; None for none.
      index: of the position or head at which it is.
    """

    text: int
    name: str | None = None
    index: int = 0


@dataclass(frozen=True, eq=False)
class Grid:
    """Passes that are to be made.

    Attributes:
      texts: what is read.
      values: what stands in the place of each result that any case replaces; broadcasts to it.
      by_head: cases are heads, at all positions; otherwise positions.
      at: of each text the position whose next token is asked for.
    """

    texts: Read
    values: dict[str, Array]
    by_head: bool
    at: tuple[int, ...]

    def edits(self, cases: Sequence[Case], size: int) -> dict[str, Edit]:
        """What is replaced in each row of a batch; the cases are its rows."""
        found = {}
        for name, value in self.values.items():
            site = site_of(name)
            axis = site.heads_axis if self.by_head else site.positions_axis
            assert axis is not None, "only results of heads are replaced by head"
            mask = np.zeros((len(cases), size), bool)
            for row, case in enumerate(cases):
                mask[row, case.index] = case.name == name
            shape = [1] * len(site.axes)
            shape[0], shape[axis] = len(cases), size
            found[name] = Edit(value, mask.reshape(shape))
        return found


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What came of each of C cases.

    Attributes:
      logits: after the position that is asked for, float64.
      losses: the loss at every position, nats; None where it is not asked for.
    """

    logits: Float[np.ndarray, "C V"]
    losses: Float[np.ndarray, "C L"] | None


def run_cases(
    model: "LanguageModel",
    grid: Grid,
    cases: Sequence[Case],
    batch_size: int,
    measure: Callable[[Outcomes], Float[np.ndarray, "C M"]],
    losses: bool,
    quiet: bool,
) -> Float[np.ndarray, "C M"]:
    """The measures of every case, `batch_size` cases at a time.

    Args:
      model: what reads.
      grid: what is replaced.
      cases: the passes.
      batch_size: how many at once.
      measure: gives the M measures of some cases.
      losses: it reads losses.
      quiet: show no progress.
    """
    size = model.config.model.n_heads if grid.by_head else grid.texts.batch.tokens.shape[1]
    request, found = Request(logits=False, hard=grid.texts.hard), []
    with Progress(len(cases), "case", quiet=quiet) as progress:
        for start in range(0, len(cases), batch_size):
            own = list(cases[start : start + batch_size])
            filled = own + [Case(own[0].text)] * (batch_size - len(own))  # one shape, one program
            rows = grid.texts.rows([case.text for case in filled])
            at_R = np.asarray([grid.at[case.text] for case in filled], np.int32)
            edits = grid.edits(filled, size)
            logits, nats = _outcomes(
                model.network, model.params, rows.batch, rows.dial, request, edits, at_R, losses
            )
            kept = slice(len(own))
            wide = None if nats is None else np.asarray(nats, np.float64)[kept]
            found.append(measure(Outcomes(np.asarray(logits, np.float64)[kept], wide)))
            progress.advance(len(own))
    return np.concatenate(found)


def cases_memory(
    model: "LanguageModel", grid: Grid, batch_size: int, losses: bool, setting: Setting
) -> Memory:
    """What `run_cases` takes: the values that it puts in, and so many passes at once."""
    rows = grid.texts.rows([0] * batch_size)
    one = memory_of(model, rows, (), setting.limit_mib)
    types, length = model.module.vocab_size, rows.batch.tokens.shape[1]
    logits = 4 * types * (batch_size + (3 * min(LOSS_CHUNK, batch_size * length) if losses else 0))
    held = sum(value.nbytes for value in grid.values.values())
    return Memory(held, one.working + logits, setting.limit_mib)


@dataclass(frozen=True)
class Question:
    """What is asked of the logits after a position.

    Attributes:
      answer: id of the token that is expected.
      other: id of the one beside which it is; None for its log-probability.
    """

    answer: int
    other: int | None = None

    @property
    def measure(self) -> str:
        """What `values` are, in words."""
        return "log-probability" if self.other is None else "logit difference"

    def values(self, logits: Float[np.ndarray, "C V"]) -> Float[np.ndarray, "C"]:
        """logit(answer) − logit(other), or log p(answer), nats."""
        own = logits[:, self.answer]
        if self.other is not None:
            return own - logits[:, self.other]
        most = logits.max(axis=1)
        return own - most - np.log(np.exp(logits - most[:, None]).sum(axis=1))


def one_token(tokenizer: Tokenizer, name: str, value: Any) -> int:
    """A token by its id, or by a text that is a single token.

    Raises:
      ValueError: neither.
    """
    value = plain(value)
    if isinstance(value, str):
        ids = tokenizer.encode(value)
        pieces = [tokenizer.token_text(one) for one in ids]
        limit = f"a single token (this is {len(ids)}: {pieces})"
        require(len(ids) == 1, name, value, limit, "mind the space before a word, or pass a token id")
        return ids[0]
    right = whole(value) and 0 <= value < tokenizer.vocab_size
    limit = f"a text of one token, or an id from 0 to {tokenizer.vocab_size - 1}"
    require(right, name, value, limit, f"{name}=' the', say")
    return int(value)
