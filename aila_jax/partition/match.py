"""Partitions of several families made comparable: the setting at which a query finds a given number of keys
in its block.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aila_jax.config import PartitionConfig, PartitionKind, require
from aila_jax.data.packing import TokenStream, Windows, pack
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.partition.boundaries import boundary_order, next_token_entropy
from aila_jax.partition.build import Partition
from aila_jax.partition.fit import fit_partition
from aila_jax.partition.relation_statistics import relation_statistics
from aila_jax.partition.rules import PLAIN, Rules
from aila_jax.partition.statistics import block_sums

MAX_CLASSES = 300  # that the search tries: exchange takes time in proportion to them
CLOSE = 0.02  # of the target: every number of classes that is tried is a fit of its own


@dataclass(frozen=True, eq=False)
class Matched:
    """What `match_n_in` found.

    Attributes:
      config: the family's configuration with its free setting chosen.
      partition: fitted.
      n_in: its mean over the training split.
      tried: settings that were measured, ascending, each with its mean n_in.
    """

    config: PartitionConfig
    partition: Partition
    n_in: float
    tried: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Setting:
    """A family's free setting.

    Attributes:
      name: in PartitionConfig.
      values: allowed ones, in the order in which mean n_in rises (or nearly so).
      close: a value whose n_in is within this share of the target will do; 0 looks for the nearest of all.
    """

    name: str
    values: tuple[Any, ...]
    close: float = 0.0


def mean_n_in(partition: Partition, windows: Windows, rules: Rules = PLAIN) -> float:
    """Mean number of keys in a query's block over all windows: causal, itself and global keys included. With
    the rules of a relation, of keys inside, mean over its layers.
    """
    if not rules.plain:
        return relation_statistics(rules, partition, [windows.batch], windows.document_mask).n_in
    doc_ids = np.asarray(windows.batch.doc_ids) if windows.document_mask else None
    return block_sums(np.asarray(partition(windows.batch)), doc_ids).statistics().n_in


def match_n_in(
    target: float,
    config: PartitionConfig,
    tokenizer: Tokenizer,
    train: TokenStream,
    *,
    length: int,
    document_mask: bool = False,
) -> Matched:
    """Chooses a family's free setting so that its mean n_in on the training split is nearest `target` (ours).

    Free are the size of `windows`, the mean length of `learned_segments`, the number of `induced_classes` (up
    to 300; within 2 % will do) and the largest number of `recruited` ones (the same). Everything else is as
    in `config`.

    Args:
      target: mean n_in, from 1 to (length + 1)/2, where every key before a query is in its block.
      length: tokens that the model reads at once.
      document_mask: whether it sees its own document alone.

    Raises:
      ValueError: a family without such a setting, or a target outside its limits.
    """
    most = (length + 1) / 2
    require(
        1.0 <= target <= most,
        "target (mean n_in)",
        target,
        f"from 1 to (length + 1)/2 ({most:g})",
        "choose a mean number of keys such as 3",
    )
    free = free_setting(config, tokenizer, train, length)
    windows = pack(train, length, document_mask)
    made: dict[int, tuple[PartitionConfig, Partition]] = {}

    def measure(index: int) -> float:
        chosen = replace(config, **{free.name: free.values[index]})
        made[index] = chosen, fit_partition(chosen, tokenizer, train)
        return mean_n_in(made[index][1], windows)

    tried = search(measure, len(free.values), target, free.close)
    best = min(sorted(tried), key=lambda index: abs(tried[index] - target))
    points = sorted((float(free.values[index]), n_in) for index, n_in in tried.items())
    return Matched(*made[best], tried[best], tuple(points))


def free_setting(config: PartitionConfig, tokenizer: Tokenizer, train: TokenStream, length: int) -> Setting:
    """The free setting of `config`'s family; ValueError where it has none."""
    if config.kind == PartitionKind.WINDOWS:
        return Setting("size", tuple(range(1, length + 1)))
    if config.kind == PartitionKind.LEARNED_SEGMENTS:
        _, means = boundary_order(train, next_token_entropy(train, tokenizer.vocab_size))
        return Setting("mean_length", tuple(float(mean) for mean in means[::-1] if mean >= 2.0) or (2.0,))
    if config.kind in ("induced_classes", "recruited"):
        name, least = (
            ("classes", 2)
            if config.kind == PartitionKind.INDUCED_CLASSES
            else ("max_classes", max(config.start, 2))
        )
        most = min(MAX_CLASSES, len(np.unique(train.tokens)))
        return Setting(name, tuple(range(max(most, least), least - 1, -1)), CLOSE)
    raise ValueError(
        f"partition.kind is {config.kind!r}, which has no setting that its mean n_in could be matched by; it"
        " must be one of windows, learned_segments, induced_classes, recruited. Fix: measure its n_in with"
        " mean_n_in, and match the others to it"
    )


def search(
    measure: Callable[[int], float], count: int, target: float, close: float = 0.0
) -> dict[int, float]:
    """Bisection over indices 0 … count − 1 of a rising function: what was measured, the index nearest
    `target` among it.

    Stops early where a measurement is within `close` · target.
    """
    tried: dict[int, float] = {}
    low, high = 0, count - 1
    while low <= high:
        middle = (low + high) // 2
        tried[middle] = measure(middle)
        if abs(tried[middle] - target) <= close * target:
            break
        if tried[middle] < target:
            low = middle + 1
        else:
            high = middle - 1
    return tried
