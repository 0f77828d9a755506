"""Certificates of a loaded model: for every text, for one text, or by the largest scores seen on a corpus."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from aila_jax.config import require
from aila_jax.config.options import CertifyOptions, Reading
from aila_jax.data.dataset import Dataset
from aila_jax.data.pipeline import eval_batches
from aila_jax.guarantees.certificates import Certificate, certificate, counts_of_texts
from aila_jax.guarantees.gaps import ScoreSource
from aila_jax.guarantees.key_counts import KeyCounts, counts_in_order, counts_of, merge_counts
from aila_jax.inference.corpus import windows_of
from aila_jax.inference.dial import dial_values
from aila_jax.inference.inputs import read_text
from aila_jax.inference.language_model import LanguageModel
from aila_jax.loading.models import as_model
from aila_jax.model.interface import Dial, Request
from aila_jax.model.margin import check_layer_scale
from aila_jax.model.network import Network
from aila_jax.model.stats import StatsRequest
from aila_jax.partition.rules import Blocks
from aila_jax.types import PADDING_ID, Array, Batch


def certify(
    model: LanguageModel | str | Path,
    lam: float = 1.0,
    tau: float = 1.0,
    length: int | None = None,
    *,
    bound: str = "auto",
    hard: bool | None = None,
    layer_scale: Any = None,
    arithmetic: str | None = None,
    text: str | Sequence[int] | None = None,
    block_ids: Sequence[int] | None = None,
    dataset: Dataset | None = None,
    split: str | None = None,
    batch_size: int | None = None,
    max_batches: int | None = None,
    part: str | None = None,
    fallback: bool = False,
) -> Certificate:
    """What λ, τ and the margin guarantee of every layer, head and position (docs/certificates.md).

    Without a text it holds for every text: with windows positions have the same keys in every one; with other
    partitions a query may be alone in its block, and no text's entropy is bounded. With a relation's sink and
    no document mask "every text" is every text of one document. The guarantee is over own block, pointers and
    sinks together. What it bounds is attention of one layer at a time; what can have influenced a prediction
    at an exactly hard end is `model.reach`.

    Args:
      model: a loaded checkpoint, or the path of one.
      lam: λ.
      tau: τ.
      length: positions, up to the model's length, which is the default.
      bound: what the scores are bounded by: `parameters`, `qk_norm`, `score_cap`, `self_scaling`, `empirical`
        (the largest score of `dataset`: no guarantee), or `auto`.
      hard: block attention only; the configuration's by default.
      layer_scale: factor of λ in each layer, as in `model.apply`; the configuration's by default.
      arithmetic: `float32` or `bfloat16`, the coarsest that the model's matrix products will be in where it
        serves; this machine's by default. Accelerators multiply float32 more coarsely (TF32, bfloat16): for
        them ask for `bfloat16`. `score_cap` and hard attention hold in any.
      text: certify the positions of this text alone, whose blocks are known: a text or its token ids.
      block_ids: its blocks, for the partition `given`; by default those it would have had in training (see
        `read_text`).
      dataset: `empirical` only: what is read.
      split: `empirical` only, as in `config.sweep` by default; so are batch_size, max_batches and part.
      fallback: of a path, where the newest checkpoint is damaged, take the newest whole one, and say so.

    Raises:
      ValueError: an argument outside its limits, or a bound that the model's logits do not have.
    """
    options = CertifyOptions(
        lam=lam,
        tau=tau,
        length=length,
        bound=bound,
        hard=hard,
        arithmetic=arithmetic,
        text=text,
        split=split,
        batch_size=batch_size,
        max_batches=max_batches,
        part=part,
    )
    model = as_model(model, fallback=fallback)
    return certify_by(model, options, dataset, layer_scale=layer_scale, block_ids=block_ids)


def certify_by(
    model: LanguageModel,
    options: CertifyOptions,
    dataset: Dataset | None = None,
    *,
    layer_scale: Any = None,
    block_ids: Sequence[int] | None = None,
) -> Certificate:
    """`certify`, by options."""
    options.check_read("dataset", dataset)
    if layer_scale is not None:
        layer_scale = check_layer_scale(layer_scale, model.config.model.n_layers)
    lam, tau, text = options.lam, options.tau, options.text
    fix = "pass the text, or its token ids"
    require(text is not None or block_ids is None, "block_ids", block_ids, "left out without a text", fix)
    largest = None
    if options.bound == "empirical":
        batches = scored_batches(model, dataset, options.reading(model.config))
        largest = largest_scores(model, batches, lam, tau, layer_scale)
    every = counts_of_texts(model.config, options.length)
    return certificate(
        model.params,
        model.config,
        lam,
        tau,
        counts=every if text is None else _text_counts(model, text, block_ids),
        hard=options.reading(model.config).hard,
        scores=ScoreSource(options.bound, largest, options.arithmetic),
        layer_scale=layer_scale,
    )


def scored_batches(model: LanguageModel, dataset: Dataset | None, reading: Reading) -> Iterable[Batch]:
    """The batches that a sweep of this model would score."""
    if dataset is None:
        raise ValueError(
            "dataset is None; it must be given for bound='empirical': S is the largest score seen on it. Fix:"
            " dataset=aila_jax.load_dataset(model.config.data, model.tokenizer), or another bound."
        )
    windows = windows_of(model, dataset, reading.split)
    return eval_batches(windows, reading.batch_size, reading.max_batches, reading.part)


@jax.jit
def _largest(network: Network, params: Any, batch: Batch, dial: Dial) -> Float[Array, "N H"]:
    output = network(params, batch, dial, Request(logits=False, stats=StatsRequest(largest=True)))
    assert output.stats is not None and output.stats.largest_score is not None, "asked for above"
    real = (jnp.asarray(batch.doc_ids) != PADDING_ID)[None, :, None, :]
    return jnp.max(output.stats.largest_score, axis=(1, 3), where=real, initial=0.0)


def largest_scores(
    model: LanguageModel, batches: Iterable[Batch], lam: float, tau: float, layer_scale: Any = None
) -> Float[np.ndarray, "N H"]:
    """The largest |s| of every layer and head over all queries of `batches`, at λ and τ: later layers' scores
    depend on the dial.
    """
    most = np.zeros((model.config.model.n_layers, model.config.model.n_heads))
    for batch in batches:
        rows = batch.tokens.shape[0]
        dial = Dial(dial_values(lam, "lam", rows), dial_values(tau, "tau", rows), layer_scale=layer_scale)
        most = np.maximum(most, np.asarray(_largest(model.network, model.params, batch, dial), np.float64))
    return most


def key_counts(model: LanguageModel, batches: Iterable[Batch]) -> KeyCounts:
    """Keys inside and outside of all real queries of `batches`, layer by layer."""
    return merge_counts([counts_of(*_blocks_of(model, batch)) for batch in batches])


def _blocks_of(model: LanguageModel, batch: Batch) -> tuple[Blocks, Int[Array, "B L"] | None]:
    """What its layers read of a batch's blocks, and its documents where the model parts them."""
    return _blocks(model.network, batch), batch.doc_ids if model.config.model.document_mask else None


@jax.jit
def _blocks(network: Network, batch: Batch) -> Blocks:
    return network.blocks(batch)


def _text_counts(
    model: LanguageModel, text: str | Sequence[int], block_ids: Sequence[int] | None
) -> KeyCounts:
    tokens, ids = read_text(model, text, block_ids)
    row_ids = None if ids is None else np.asarray(ids, np.int32)[None]
    batch = model.batch(np.asarray(tokens, np.int32)[None], row_ids)
    return counts_in_order(*_blocks_of(model, batch))
