"""What made a result: the training run's record, and the versions, commit and device of the evaluation."""

from typing import Any

from aila_jax.config import Solver
from aila_jax.data.dataset import Dataset
from aila_jax.inference.language_model import LanguageModel
from aila_jax.loss.group_sparsity import sparsity
from aila_jax.provenance import git_commit, versions
from aila_jax.training.sharding import describe_devices


def sweep_meta(model: LanguageModel, dataset: Dataset) -> dict[str, Any]:
    """What made a sweep: the training run's record, and this evaluation's versions, commit and device."""
    return {
        "training": model.meta,
        "checkpoint_step": model.step,
        "data": {"name": dataset.name, "fingerprint": dataset.fingerprint},
        "versions": versions(),
        "commit": git_commit(),
        "device": describe_devices(),
        **sparsity_meta(model),
    }


def sparsity_meta(model: LanguageModel) -> dict[str, Any]:
    """What the group-sparsity penalty left of the query and key weights; nothing for a model trained without
    it.

    It belongs to the checkpoint and not to a cell: no λ or τ of the dial changes it.
    """
    config = model.config
    if config.penalty.solver == Solver.NONE:
        return {}
    counts = sparsity(model.params, config.feature_groups)
    return {
        "sparsity": {
            "groups": config.feature_groups,
            "zero_query": float(counts.zero_query),
            "zero_key": float(counts.zero_key),
            "dead_heads": int(counts.dead_heads),
            "heads": config.model.n_layers * config.model.n_heads,
        }
    }
