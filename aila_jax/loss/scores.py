"""How a forward pass scores its targets, with or without all logits at once."""

from typing import Any

from aila_jax.loss.cross_entropy import TargetScores, linear_target_scores, target_scores
from aila_jax.model.interface import ModelOutput
from aila_jax.model.output import output_weights
from aila_jax.types import Batch


def scores_of(output: ModelOutput, params: Any, batch: Batch, loss_chunk: int, top: int = 0) -> TargetScores:
    """How the targets are scored: by the logits where `loss_chunk` is 0, else from the features, so many
    tokens' logits at once. `top`: likeliest tokens beside each target.
    """
    if loss_chunk == 0:
        assert output.logits is not None, "without chunks the request must ask for logits"
        return target_scores(output.logits, batch.targets, top)
    embedding = output_weights(params).astype(output.features.dtype)
    return linear_target_scores(output.features, embedding, batch.targets, loss_chunk, top=top)
