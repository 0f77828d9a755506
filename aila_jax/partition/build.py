"""From the configuration, and a table of token types where the kind needs one, to a partition."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Int

from aila_jax.cards import Card, Shown, shape
from aila_jax.config import PartitionConfig, PartitionKind
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.partition.kinds import Classes, Given, Segments, Windows
from aila_jax.types import Array, Batch


class Partition(Protocol):
    """A semantic partition: a pure, jittable function from a batch to the block id of every position.

    Attention depends on it only through "same block", and a token after t never changes a block id at or
    before t.
    """

    def __call__(self, batch: Batch) -> Int[Array, "B L"]: ...


@dataclass(frozen=True, eq=False, repr=False)
class FittedTable(Shown):
    """What a partition that was fitted to a corpus knows of each of V token types; kept in the checkpoint.

    Attributes:
      values: whether the type closes a segment (bool), or its class, from 0 (int).
      vocabulary: fingerprint of the tokenizer whose types these are.
      names: of the classes; empty for segments.
      note: a line for people on where classes come from.
    """

    values: Bool[np.ndarray, " V"] | Int[np.ndarray, " V"]
    vocabulary: str
    names: tuple[str, ...] = ()
    note: str = ""

    def card(self) -> Card:
        facts = {
            "classes": len(self.names) or "none",
            "note": self.note or "none",
            "vocabulary": self.vocabulary[:12],
        }
        return Card(f"FittedTable {shape(self.values)}", facts)


def build_partition(config: PartitionConfig, table: FittedTable | None = None) -> Partition:
    """The partition that `config` names; kinds that are fitted to a corpus are made of their `table`.

    Raises:
      ValueError: a fitted kind without a table, or another kind with one.
    """
    if table is None:
        if config.fitted:
            raise ValueError(
                f"partition.kind is {config.kind!r}, which is fitted to a corpus, and no table is given. Fix:"
                " use what aila_jax.fit_partition(config, tokenizer, train) returns, or load a checkpoint"
                " that was trained with it"
            )
        return (
            Windows(config.size, config.global_first)
            if config.kind == PartitionKind.WINDOWS
            else Given(config.global_first)
        )
    values = np.asarray(table.values)
    if not config.fitted or (values.dtype == bool) != config.makes_segments:
        wanted = (
            "no table"
            if not config.fitted
            else "a table of boundaries (bool)"
            if config.makes_segments
            else "a table of classes (int)"
        )
        raise ValueError(
            f"the partition's table is {values.dtype}{list(values.shape)}; partition.kind {config.kind!r}"
            f" needs {wanted}. Fix: use the table that fit_partition made for this configuration"
        )
    if config.makes_segments:
        return Segments(values, config.global_first, table.vocabulary)
    return Classes(values.astype(np.int32), config.global_first, table.names, table.vocabulary, table.note)


def table_of(partition: Partition) -> FittedTable | None:
    """The table that `build_partition` would make this partition of; None for windows and given ids."""
    if isinstance(partition, Segments):
        return FittedTable(np.asarray(partition.boundary), partition.vocabulary)
    if isinstance(partition, Classes):
        return FittedTable(np.asarray(partition.table), partition.vocabulary, partition.names, partition.note)
    return None


def check_vocabulary(partition: Any, tokenizer: Tokenizer) -> None:
    """Raises ValueError where a partition's table is over other token types than the tokenizer's."""
    table = table_of(partition)
    if table is None:
        return
    fix = "Fix: fit it with this tokenizer: aila_jax.fit_partition(config, tokenizer, train)"
    if len(table.values) != tokenizer.vocab_size:
        raise ValueError(
            f"the partition's table has {len(table.values)} types; the vocabulary has {tokenizer.vocab_size}."
            f" {fix}"
        )
    if table.vocabulary and table.vocabulary != tokenizer.fingerprint:
        raise ValueError(
            f"the partition was fitted to the vocabulary {table.vocabulary[:12]}; this one is"
            f" {tokenizer.fingerprint[:12]}: as many types, but others. {fix}"
        )
