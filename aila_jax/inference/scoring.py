"""Surprisal of every token of texts at any setting of the dial, long ones in windows that overlap."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Float, Int

from aila_jax.config import require
from aila_jax.config.options import ScoreOptions
from aila_jax.inference.dial import check_hard, dial_values
from aila_jax.inference.inputs import begin_ids, read_texts
from aila_jax.inference.scores import UNITS, Scores, TextScore
from aila_jax.inference.spans import text_tokens
from aila_jax.loss.cross_entropy import TargetScores
from aila_jax.loss.scores import scores_of
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.progress import Progress
from aila_jax.types import GLOBAL_ID, PADDING_ID, Batch

if TYPE_CHECKING:
    from aila_jax.inference.language_model import LanguageModel

REPORT_SECONDS = 10.0


@partial(jax.jit, static_argnames=("hard", "loss_chunk", "top"))
def _scores(
    network: Network, params: Any, batch: Batch, dial: Dial, hard: bool, loss_chunk: int, top: int
) -> TargetScores:
    output = network(params, batch, dial, Request(logits=loss_chunk == 0, hard=hard))
    return scores_of(output, params, batch, loss_chunk, top)


@dataclass(frozen=True)
class Texts:
    """Texts as they are read.

    Attributes:
      given: as they came: texts, or token ids.
      ids: token ids of each, a line end first where one is read before them.
      blocks: block of each token, for the partition `given`; None for others.
      prefix: tokens at the beginning that are read and are not the text's: a line end, with a begin token
        before it where there is one.
      begin: the begin token, which every window of a text has first whose first token it is; None for none.
    """

    given: tuple[Any, ...]
    ids: tuple[list[int], ...]
    blocks: tuple[list[int], ...] | None
    prefix: int
    begin: int | None

    def begun(self, text: int) -> bool:
        """Whether a text has the begin token first."""
        return self.begin is not None and self.ids[text][:1] == [self.begin]


@dataclass(frozen=True)
class Stretch:
    """One window of a text.

    Attributes:
      text: which.
      start: its first input token; the model reads `start` to `end` − 1 and predicts each one's successor.
      end: the last token that it predicts.
      first: the first token that it scores; those before were scored in the window before.
      begun: the begin token stands before `start`, and predicts it.
    """

    text: int
    start: int
    end: int
    first: int
    begun: bool = False

    @property
    def before(self) -> int:
        """What of the text its first position predicts, less 1: its own place, or that before it."""
        return self.start - int(self.begun)


def stretches(tokens: int, length: int, stride: int, text: int = 0, begun: bool = False) -> list[Stretch]:
    """The windows of a text of so many tokens: every token but the first is scored once, with all tokens
    before it, or at least length − stride + 1 of them.

    With `begun` the first token is a begin token. Every window has it first, and so length − 1 others.
    """
    found: list[Stretch] = []
    last, lead = tokens - 1, int(begun)
    while (found[-1].end if found else 0) < last:
        start = lead + len(found) * stride
        end = min(start + length - lead, last)
        found.append(Stretch(text, start, end, found[-1].end + 1 if found else 1, begun))
    return found


def score_texts(
    model: "LanguageModel",
    texts: Any,
    options: ScoreOptions,
    block_ids: Any = None,
    names: Sequence[str | int] | None = None,
    quiet: bool = False,
) -> Scores:
    """The surprisal of every token of some texts at every λ and τ; one compilation serves the dial.

    Args:
      model: a causal model.
      texts: a text or its token ids, or a list of them.
      options: the dial, windows and unit.
      block_ids: for the partition `given`, one id per token; of a list of texts, a list of them.
      names: of the texts; their places by default.
      quiet: no progress.

    Raises:
      ValueError: a value outside its limits, no text, blocks that a text by itself does not show, or a model
        that sees its targets.
    """
    hard, stride = _checked(model, options)
    read = _read(model, texts, block_ids, options.line_start)
    batches = _batches(read, model.config.model.length, stride, options.batch_size)
    tokens = [
        text_tokens(model.tokenizer, given if isinstance(given, str) else None, ids[read.prefix :])
        for given, ids in zip(read.given, read.ids, strict=True)
    ]
    context = [values[read.prefix :] for values in _context(read, batches.windows)]
    grid = [(lam, tau) for lam in _several(options.lam) for tau in _several(options.tau)]
    items = []
    with Progress(len(grid) * len(batches.windows), "window", quiet=quiet) as progress:
        for lam, tau in grid:
            read_at = _read_at(model, read, batches, Reading(lam, tau, hard, options.top), progress)
            for number, values in enumerate(read_at):
                own = values.nats[read.prefix :]
                finite = bool(np.isfinite(own[context[number] > 0]).all())
                fix = "load a checkpoint from before training diverged"
                require(finite, f"surprisal at λ = {lam:g}, τ = {tau:g}", "not finite", "finite", fix)
                items.append(
                    TextScore(
                        place=number,
                        id=number if names is None else names[number],
                        tokens=tokens[number],
                        lam=lam,
                        tau=tau,
                        unit=options.unit,
                        surprisal=own / UNITS[options.unit],
                        context=context[number],
                        top_ids=values.top_ids[read.prefix :],
                        top_surprisal=values.top_nats[read.prefix :] / UNITS[options.unit],
                        top_pieces={
                            token: model.tokenizer.token_text(token)
                            for token in np.unique(values.top_ids).tolist()
                        },
                    )
                )
    return Scores(tuple(items), f"{model.run}, step {model.step}")


def _checked(model: "LanguageModel", options: ScoreOptions) -> tuple[bool, int]:
    """Whether blocks are hard, and the stride; ValueError for what this model cannot be asked for."""
    shape = model.config.model
    require(
        not shape.bidirectional,
        "model.bidirectional",
        True,
        "False to score a text",
        "train a causal model; a bidirectional one sees its targets",
    )
    hard = shape.hard if options.hard is None else options.hard
    for lam in _several(options.lam):
        check_hard(hard, lam)
    types = model.tokenizer.vocab_size
    require(options.top <= types, "top", options.top, f"at most {types}, the model's tokens", "lower it")
    stride = max(shape.length // 2, 1) if options.stride is None else options.stride
    begun = len(begin_ids(model))
    limit = f"at most {shape.length - begun}, what the model reads at once{' after a begin token' * begun}"
    require(stride <= shape.length - begun, "stride", stride, limit, "lower it")
    return hard, stride


def _several(values: float | Sequence[float]) -> list[float]:
    return [float(value) for value in np.atleast_1d(values)]


@dataclass(frozen=True)
class _Batches:
    """All windows, as batches of one shape.

    Attributes:
      windows: in order.
      rows: windows a batch.
      batches: the last one filled up with padding.
    """

    windows: list[Stretch]
    rows: int
    batches: list[Batch]


def _batches(read: Texts, length: int, stride: int, most: int) -> _Batches:
    """At most `most` windows a batch; for fewer windows the next power of two, so that few shapes are
    compiled.
    """
    windows = [
        window
        for number, ids in enumerate(read.ids)
        for window in stretches(len(ids), length, stride, number, read.begun(number))
    ]
    rows = min(most, 1 << max(len(windows) - 1, 0).bit_length())
    starts = range(0, len(windows), rows)
    return _Batches(windows, rows, [_batch(read, windows[at : at + rows], rows, length) for at in starts])


@dataclass(frozen=True)
class Reading:
    """One setting, at which texts are read.

    Attributes:
      lam: λ.
      tau: τ.
      hard: hard block attention.
      top: likeliest tokens that are kept.
    """

    lam: float
    tau: float
    hard: bool
    top: int


@dataclass(frozen=True)
class _Nats:
    """One text as it was read; NaN, and token 0, where a token is not scored.

    Attributes:
      nats: of each token.
      top_nats: of the likeliest in its place.
      top_ids: these tokens.
    """

    nats: Float[np.ndarray, "T"]
    top_nats: Float[np.ndarray, "T K"]
    top_ids: Int[np.ndarray, "T K"]

    @classmethod
    def unread(cls, tokens: int, top: int) -> "_Nats":
        nothing = np.full((tokens, top), np.nan)
        return cls(np.full(tokens, np.nan), nothing, np.zeros((tokens, top), np.int64))


def _read_at(
    model: "LanguageModel", read: Texts, batches: _Batches, reading: Reading, progress: Progress
) -> list[_Nats]:
    """Each text at one setting of the dial."""
    rows, chunk, top = batches.rows, model.config.train.loss_chunk, reading.top
    lam, tau = reading.lam, reading.tau
    dial = Dial(dial_values(lam, "lam", rows), dial_values(tau, "tau", rows))
    found = [_Nats.unread(len(ids), top) for ids in read.ids]
    began = time.monotonic()
    for index, batch in enumerate(batches.batches):
        scores = jax.device_get(_scores(model.network, model.params, batch, dial, reading.hard, chunk, top))
        own = batches.windows[index * rows : (index + 1) * rows]
        for row, window in enumerate(own):  # the last batch has rows of padding
            scored = slice(window.first - window.before - 1, window.end - window.before)
            text, places = found[window.text], slice(window.first, window.end + 1)
            text.nats[places] = scores.losses[row, scored]
            if top:
                text.top_nats[places] = scores.top_losses[row, scored]
                text.top_ids[places] = scores.top_ids[row, scored]
        progress.advance(len(own))
        if time.monotonic() - began > REPORT_SECONDS:
            progress.report(f"λ {lam:g}, τ {tau:g}")
            began = time.monotonic()
    return found


def _read(model: "LanguageModel", texts: Any, block_ids: Any, line_start: bool) -> Texts:
    """The tokens and blocks of each text, with a line end before them where one is asked for."""
    some = isinstance(texts, str) or not isinstance(texts, list | tuple) or len(texts) > 0
    require(some, "texts", texts, "a text, or a list of at least one", "texts=['Return a new list'], say")
    given, ids, blocks = read_texts(model, texts, block_ids, empty=True)
    begins = begin_ids(model)
    begin = begins[0] if begins else None
    if not line_start:
        return Texts(given, ids, blocks, 0, begin)
    # In training a line end belongs to the block before; here that is one of its own, 0.
    before = [*begins, model.tokenizer.eos_id]
    own = [row[len(begins) :] if row[:1] == begins else row for row in ids]
    shifted = None
    if blocks is not None:
        rows = (block[len(block) - len(row) :] for block, row in zip(blocks, own, strict=True))
        shifted = tuple([*[0] * len(before), *(_after(block) for block in row)] for row in rows)
    return Texts(given, tuple([*before, *row] for row in own), shifted, len(before), begin)


def _after(block: int) -> int:
    return block if block in (GLOBAL_ID, PADDING_ID) else block + 1


def _batch(texts: Texts, windows: Sequence[Stretch], rows: int, length: int) -> Batch:
    """Windows as rows of one batch, filled up with padding."""
    tokens, targets = np.zeros((2, rows, length), np.int32)
    doc_ids, given = np.full((2, rows, length), PADDING_ID, np.int32)
    for row, window in enumerate(windows):
        used = window.end - window.before
        ids = texts.ids[window.text][window.start : window.end + 1]
        if window.begun:
            ids = [texts.ids[window.text][0], *ids]
        tokens[row, :used], targets[row, :used] = ids[:-1], ids[1:]
        doc_ids[row, :used] = 0
        if texts.blocks is not None:
            blocks = texts.blocks[window.text][window.start : window.end]
            first = texts.blocks[window.text][0 if window.start == 1 else window.start]
            given[row, :used] = [first, *blocks] if window.begun else blocks
        else:
            given[row, :used] = 0
    positions = np.broadcast_to(np.arange(length, dtype=np.int32), tokens.shape)
    batch = Batch.from_tokens(tokens, given, doc_ids)
    return replace(batch, targets=targets, positions=positions)


def _context(texts: Texts, windows: Sequence[Stretch]) -> list[Int[np.ndarray, "T"]]:
    """How many tokens each token is scored after; 0 where it is not scored."""
    found = [np.zeros(len(ids), np.int64) for ids in texts.ids]
    for window in windows:
        scored = np.arange(window.first, window.end + 1)
        found[window.text][scored] = scored - window.before
    return found
