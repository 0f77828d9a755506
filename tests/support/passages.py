"""Tiny models of several families, and prompts of tokens, for tests of answers from passages; and one run
over a whole prompt, without any of what is kept.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

import aila_jax as aila
from aila_jax.answering.passages import Passage
from aila_jax.answering.prompts import Prompt
from aila_jax.config import AdapterConfig, MarginConfig, ModelConfig, RotaryConfig
from aila_jax.data.prompts import Laid
from aila_jax.inference.inputs import example_batch
from aila_jax.inference.language_model import LanguageModel
from aila_jax.model.interface import Dial, ModelOutput, Request
from aila_jax.types import PADDING_ID, Batch
from tests.support.untrained import untrained_model

FILES = Path(__file__).parents[1] / "pretrained" / "files"
LENGTH, WHOLE = 64, 64  # of the models; of the whole run
SHAPE = ModelConfig(length=LENGTH, d_model=16, n_heads=4, d_ff=24, n_layers=2)
FORMS = {
    "learned": replace(SHAPE, film=True, margin=MarginConfig(gate=1.0, stagger=0.5), dial_weights="qkv"),
    "rotary": replace(
        SHAPE, rotary_base=100.0, learned_positions=False, norm="rms_norm", feed_forward="swiglu", tied=False,
        n_kv_heads=2, adapters=AdapterConfig(rank=2), margin=MarginConfig(form="self_scaling"),
        rotary=RotaryConfig(layout="interleaved"),
    ),
    "deep": replace(SHAPE, n_layers=6, n_kv_heads=1, rotary_base=100.0, parallel=True),
}  # fmt: skip


@cache
def model_of(form: str) -> LanguageModel:
    """A model of that form, with weights far from 0; or a pretrained one of the tests' files."""
    if form not in FORMS:
        return aila.from_pretrained(FILES / form, length=40)
    base = untrained_model()
    empty = replace(base, config=replace(base.config, model=FORMS[form]), params=None)
    params = jax.jit(lambda key: empty.network.init(example_batch(empty.config), key))(jax.random.key(1))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    drawn = [x + 0.3 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys, strict=True)]
    return replace(empty, params=jax.tree.unflatten(tree, drawn))


def prompt_of_tokens(
    lengths: Sequence[int] = (5, 3, 7), seed: int = 0, header: int = 3, ask: int = 4
) -> Prompt:
    """Random tokens: a header, passages of these lengths, a question."""
    draw = np.random.default_rng(seed)
    pieces = [tuple(draw.integers(0, 200, size).tolist()) for size in (header, ask, *lengths)]
    passages = tuple(Passage(str(number), "text") for number in range(len(lengths)))
    return Prompt("what?", passages, pieces[0], tuple(pieces[2:]), pieces[1])


@jax.jit
def _soft(network: Any, params: Any, batch: Batch, dial: Dial) -> ModelOutput:
    return network.on_blocks(batch.given_ids)(params, batch, dial, Request(weights=True))


@jax.jit
def _hard(network: Any, params: Any, batch: Batch, dial: Dial) -> ModelOutput:
    return network.on_blocks(batch.given_ids)(params, batch, dial, Request(hard=True, weights=True))


def whole_run(model: LanguageModel, laid: Laid, lam: float, hard: bool) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities after every token, and attention weights (mean of layers and heads), of one ordinary
    pass over a prompt.
    """
    used = len(laid.tokens)
    rows = np.zeros((2, 1, WHOLE), np.int32)
    rows[:, 0, :used] = laid.tokens, laid.positions
    ids = np.full((1, WHOLE), PADDING_ID, np.int32)
    ids[0, :used] = laid.block_ids
    docs = np.where(np.arange(WHOLE)[None] < used, 0, PADDING_ID).astype(np.int32)
    batch = Batch.from_tokens(rows[0], ids, docs).replace(positions=rows[1])
    run = _hard if hard else _soft
    output = run(model.network, model.params, batch, Dial(np.float32(lam), np.float32(1.0)))
    assert output.logits is not None and output.weights is not None
    logprobs = np.asarray(jax.nn.log_softmax(output.logits[0, :used], axis=-1), np.float64)
    return logprobs, np.asarray(output.weights, np.float64).mean(axis=(0, 2))[0, :used, :used]
