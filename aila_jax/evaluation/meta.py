"""What made a result: the training run's record, and the versions, commit and device of the evaluation."""

from aila_jax.config import Solver
from aila_jax.data.dataset import Dataset
from aila_jax.evaluation.origin import DataOrigin, Origin, Sparsity
from aila_jax.inference.language_model import LanguageModel
from aila_jax.loss.group_sparsity import sparsity
from aila_jax.provenance import git_commit, versions
from aila_jax.training.sharding import describe_devices


def origin_of(model: LanguageModel, dataset: Dataset) -> Origin:
    """What makes a result: the training run's record, and this evaluation's versions, commit and device."""
    relation = model.config.relation
    return Origin(
        training=model.meta,
        checkpoint_step=model.step,
        data=DataOrigin(name=dataset.name, fingerprint=dataset.fingerprint),
        versions=versions(),
        commit=git_commit(),
        device=describe_devices(),
        sparsity=sparsity_of(model),
        relation=None if relation.plain and "relation" not in model.meta else relation.settings,
    )


def sparsity_of(model: LanguageModel) -> Sparsity | None:
    """What the group-sparsity penalty left of the query and key weights; None for a model trained without
    it.
    """
    config = model.config
    if config.penalty.solver == Solver.NONE:
        return None
    counts = sparsity(model.params, config.feature_groups)
    return Sparsity(
        groups=config.feature_groups,
        zero_query=float(counts.zero_query),
        zero_key=float(counts.zero_key),
        dead_heads=int(counts.dead_heads),
        heads=config.model.n_layers * config.model.n_heads,
    )
