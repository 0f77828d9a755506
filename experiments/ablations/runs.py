"""Ablations: the size of the blocks, the partition, and penalty against margin, with everything else
equal.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

from aila_jax.config import (
    Config,
    DataConfig,
    DialMode,
    LocalityConfig,
    MarginConfig,
    MarginForm,
    PartitionConfig,
    PartitionKind,
    PenaltyConfig,
    Solver,
)
from aila_jax.data.dataset import Dataset, load_dataset
from aila_jax.evaluation.rows import SweepResult
from aila_jax.evaluation.sweep import sweep
from aila_jax.guarantees.score_bounds import parameter_bounds
from aila_jax.inference.language_model import LanguageModel
from aila_jax.partition.fit import fit_partition
from aila_jax.partition.match import match_n_in, mean_n_in

LAM = 0.6
STEPS = 400  # of `small`'s 4,096 tokens: 1.6M
SIZES = (3, 5, 10)
WINDOWS = PartitionConfig(size=5)
MARGIN = MarginConfig(form=MarginForm.FIXED, nats=8.0, power=1.0)
# Strong enough to empty groups within these steps; several times as much empties nearly all heads during
# warm-up (docs/method.md, section 3).
PENALTY = PenaltyConfig(solver=Solver.PROXIMAL, eta=1e-4)
# Families with a setting that n_in can be matched by, and families that are what they are.
MATCHED = {
    "segments-learned": PartitionConfig(kind=PartitionKind.LEARNED_SEGMENTS),
    "classes-induced": PartitionConfig(kind=PartitionKind.INDUCED_CLASSES),
    "classes-recruited": PartitionConfig(kind=PartitionKind.RECRUITED),
}
UNMATCHED = {
    "segments-clause": PartitionConfig(kind=PartitionKind.SEGMENTS, unit="clause"),
    "classes-pos": PartitionConfig(kind=PartitionKind.POS),
    "classes-recruited-all": PartitionConfig(kind=PartitionKind.RECRUITED),  # as many as pay
}


def at_lam(base: Config, steps: int) -> Config:
    """What all runs share: windows of 5, the fixed margin of 8 nats, and training at λ = 0.6, which the
    network is not shown.
    """
    train = replace(
        base.train,
        steps=steps,
        warmup_steps=min(base.train.warmup_steps, steps),
        eval_every=steps,
        checkpoint_every=steps,
    )
    model = replace(base.model, margin=MARGIN, film=False, dial_weights="none")
    return replace(
        base,
        model=model,
        partition=WINDOWS,
        locality=LocalityConfig(mode=DialMode.FIXED, lam=LAM),
        train=train,
    )


def windows_runs(base: Config, steps: int = STEPS) -> dict[str, Config]:
    """Windows of 3, 5 and 10 tokens."""
    return {
        f"windows{size}": replace(at_lam(base, steps), partition=PartitionConfig(size=size)) for size in SIZES
    }


def penalty_runs(base: Config, steps: int = STEPS) -> dict[str, Config]:
    """The group-sparsity penalty and the margin, each with and without the other; without a margin λ scales
    the penalty alone.
    """
    margin = at_lam(base, steps)
    neither = replace(margin, model=replace(margin.model, margin=replace(MARGIN, nats=0.0)))
    return {
        "neither": neither,
        "penalty-alone": replace(neither, penalty=PENALTY),
        "margin-alone": margin,
        "both": replace(margin, penalty=PENALTY),
    }


def partitions_runs(base: Config, steps: int = STEPS) -> dict[str, Config]:
    """One run for each of `matched_partitions`."""
    partitions = matched_partitions(base.data, base.model.length, base.model.document_mask)
    return {name: replace(at_lam(base, steps), partition=partition) for name, partition in partitions.items()}


@cache  # no seed changes it, and fitting classes takes minutes
def matched_partitions(data: DataConfig, length: int, document_mask: bool) -> dict[str, PartitionConfig]:
    """Windows of 5 and the other families at the same mean n_in; and families that are what they are, with
    windows at theirs.

    n_in is that of the training split, which the partitions are fitted to.
    """
    dataset = load_dataset(data)
    tokenizer, train = dataset.tokenizer, dataset.splits["train"]
    windows = dataset.windows("train", length, document_mask)
    match = partial(match_n_in, tokenizer=tokenizer, train=train, length=length, document_mask=document_mask)
    target = mean_n_in(fit_partition(WINDOWS, tokenizer, train), windows)
    partitions = {
        "windows5": WINDOWS,
        **{name: match(target, config=family).config for name, family in MATCHED.items()},
    }
    for name, family in UNMATCHED.items():
        partner = match(mean_n_in(fit_partition(family, tokenizer, train), windows), config=WINDOWS).config
        partitions |= {name: family, f"windows{partner.size}": partner}
    return partitions


ABLATIONS: dict[str, Callable[..., dict[str, Config]]] = {
    "windows": windows_runs,
    "partitions": partitions_runs,
    "penalty": penalty_runs,
}


def measure(model: LanguageModel, dataset: Dataset, quiet: bool = False) -> SweepResult:
    """A run read at the λ and τ of its training, with score gaps; `meta` gets mean n_in on the training split
    and each head's S.

    S bounds the head's scores for any text, from its weights: what the margin must outgrow for a certificate
    (docs/method.md).
    """
    config = model.config
    result = sweep(
        model, dataset, lams=(config.locality.lam,), taus=(config.locality.tau,), delta=True, quiet=quiet
    )
    n_in = mean_n_in(
        model.partition, dataset.windows("train", config.model.length, config.model.document_mask)
    )
    bounds = parameter_bounds(model.params, config.model, config.locality.lam).score
    found = {"n_in": n_in, "score_bounds": bounds.tolist()}
    return replace(result, meta=replace(result.meta, more=found))
