"""`aila_jax.score`: how surprising texts are to a model, at any setting of the dial."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aila_jax.inference.language_model import LanguageModel
from aila_jax.inference.scores import Scores
from aila_jax.loading.models import as_model


def score(
    model: LanguageModel | str | Path,
    texts: str | Sequence[Any],
    *,
    lam: float | Sequence[float] = 0.0,
    tau: float | Sequence[float] = 1.0,
    stride: int | None = None,
    line_start: bool = False,
    unit: str = "nats",
    hard: bool | None = None,
    batch_size: int = 8,
    top: int = 0,
    block_ids: Any = None,
    fallback: bool = False,
) -> Scores:
    """Surprisal of every token, and perplexity, of texts at every λ and τ (docs/howto/score.md).

    The surprisal of token t is −log p(token t | the tokens before it). The first token has none before it and
    is not scored, unless `line_start` reads a line end first. A text that is longer than the model reads at
    once is read in windows that begin `stride` tokens apart; each token is scored once, after all tokens
    before it, or at least length − stride + 1 of them. With a stride of the length windows are those of
    `evaluate`.

    Args:
      model: a loaded checkpoint, or the path of one.
      texts: a text or its token ids, or a list of them. One without a token has no perplexity (None).
      lam: λ, or several; other values never recompile.
      tau: τ, or several.
      stride: tokens from one window to the next, from 1 to the model's length; half of it by default.
      line_start: read a line end before each text, as before every line but the first in training; blocks
        then begin at that line end.
      unit: of surprisal, `nats` or `bits`.
      hard: block attention only; needs λ = 1. The configuration's by default.
      batch_size: windows that are read at once.
      top: likeliest tokens that are kept beside each token (`TextScore.top`), from 0 to the model's types.
      block_ids: for the partition `given`, one id per token; of a list of texts a list of them. By default
        those that the text would have had in training (`LanguageModel.attention`).
      fallback: of a path, where the newest checkpoint is damaged, take the newest whole one, and say so.

    Raises:
      ValueError: a value outside its limits, no text, blocks that a text by itself does not show, or a model
        that sees its targets.

    Example:
      >>> scores = aila.score("runs/tiny", ["Return a new list", "list new a Return"], lam=(0, 1))
      >>> scores.to_pandas(by="text")[["text", "λ", "perplexity"]]
    """
    found = as_model(model, fallback=fallback)
    return found.score(
        texts,
        lam=lam,
        tau=tau,
        stride=stride,
        line_start=line_start,
        unit=unit,
        hard=hard,
        batch_size=batch_size,
        top=top,
        block_ids=block_ids,
    )
