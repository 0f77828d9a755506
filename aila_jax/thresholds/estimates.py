"""What the threshold formula takes from a trained model, and where it applies."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from aila_jax.config import Config
from aila_jax.config.relation import relation_line
from aila_jax.evaluation.evaluator import Evaluation, evaluate
from aila_jax.inference.language_model import LanguageModel
from aila_jax.metrics.sums import summarize
from aila_jax.model.interface import Dial
from aila_jax.model.network import Network
from aila_jax.progress import Progress
from aila_jax.thresholds.formula import BlockSums, InputEstimates
from aila_jax.training.sharding import batch_sharding
from aila_jax.types import Batch

LAYER = 0  # the formula is about the layer whose inputs are the embeddings
_inputs = jax.jit(Network.attention_inputs, static_argnames=("layer", "hard"))


def formula_undefined(config: Config) -> str:
    """Why the formula says nothing of a model; empty where group i is block i of the first layer."""
    if not config.relation.plain:
        return (
            f"the relation is {relation_line(config.relation)}: keys inside are not those of the query's block, which"
            " the formula's σ and ρ are of"
        )
    if not config.model.localist:
        return "positions are not localist, so that group i is not block i"
    blocks = -(-config.model.length // config.partition.size)
    if config.feature_groups != blocks:
        return f"there are {config.feature_groups} groups for {blocks} blocks"
    return "hard attention has no key outside the block" if config.model.hard else ""


def input_estimates(model: LanguageModel, batches: Sequence[Batch], quiet: bool = False) -> InputEstimates:
    """σ_X,i, |X_i| and ρ_max of the first layer's inputs at λ = 0."""
    dial = Dial(jnp.float32(0.0), jnp.float32(1.0))
    sums = BlockSums(model.config.feature_groups, model.config.model.d_model)
    with Progress(len(batches), "batch", quiet=quiet) as progress:
        for batch in batches:
            inputs = _inputs(model.network, model.params, batch, dial, layer=LAYER)
            sums.add(np.asarray(inputs), np.asarray(model.partition(batch)))
            progress.advance()
        progress.report("inputs read")
    return sums.estimates()


def score_gap(model: LanguageModel, batches: Sequence[Batch]) -> Float[np.ndarray, "H"] | None:
    """δ of each head of the first layer at λ = 0, τ = 1: mean over queries of min in-block − max out-of-block
    score.
    """
    rows = len(batches[0].tokens)
    sums = evaluate(
        model.network,
        model.params,
        batches,
        Dial(np.zeros(rows, np.float32), np.ones(rows, np.float32)),
        batch_sharding(rows, "sweep.batch_size"),
        Evaluation(loss_chunk=model.config.train.loss_chunk, delta=True),
    )
    delta = summarize(sums).delta_measured
    return None if delta is None else delta[LAYER]


def spread_batches(batch: Batch, rows: int, count: int) -> list[Batch]:
    """`count` batches of `rows` windows, spread evenly over the split; fewer where there are not so many
    windows.
    """
    windows = len(batch.tokens)
    count = max(min(count, windows // rows), 1)
    chosen = np.linspace(0, windows - 1, min(count * rows, windows)).astype(int)
    return [jax.tree.map(lambda x, part=part: x[part], batch) for part in np.split(chosen, count)]
