"""How a run is watched: the numbers of the evaluations during training."""

from typing import Any

import numpy as np

from aila_jax.config import Config
from aila_jax.evaluation.evaluator import evaluate as evaluate_batches
from aila_jax.metrics.sums import perplexity, summarize
from aila_jax.model.transformer import Transformer
from aila_jax.training.placement import Placement


def evaluated_lams(config: Config) -> tuple[float, ...]:
    """The λ at which training is watched: both ends of the dial for conditional training, its own λ
    otherwise.
    """
    return (0.0, 1.0) if config.locality.mode == "conditional" else (config.locality.lam,)


def eval_record(
    config: Config,
    module: Transformer,
    partition: Any,
    params: Any,
    batches: list[Any],
    placement: Placement,
    lam: float,
) -> dict[str, Any]:
    """The numbers of one evaluation during training, at λ and the run's τ (where that is drawn, its
    median).
    """
    batch_size = config.train.batch_size
    tau = config.locality.median_tau
    lams, taus = np.full(batch_size, lam, np.float32), np.full(batch_size, tau, np.float32)
    sums = evaluate_batches(
        module,
        partition,
        params,
        batches,
        lam=lams,
        tau=taus,
        placement=placement,
        hard=config.model.hard,
        loss_chunk=config.train.loss_chunk,
        answers=batches[0].pointers is not None,
    )
    summary = summarize(sums)
    pointed = summary.pointers
    answers = {}
    if pointed is not None:
        answers = {
            "pointer_fidelity": float(pointed.fidelity.mean()),
            "accuracy_determined": pointed.accuracy_determined,
        }
    return {
        "lam": lam,
        "tau": tau,
        "loss": summary.loss,
        "perplexity": perplexity(summary.loss),
        "accuracy": summary.accuracy,
        "entropy_bits": float(summary.entropy_bits.mean()),
        "block_mass": float(summary.block_mass.mean()),
        "targets": summary.targets,
        **answers,
    }
