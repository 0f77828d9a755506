"""Relations of every kind over a vocabulary of six types, with the tables that they read: what tests of
counts, certificates and flow share.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import numpy as np

from aila_jax.config import Config, ModelConfig, PartitionConfig, RelationConfig
from aila_jax.partition.build import FittedTable, Partition, build_partition
from aila_jax.partition.rule_tables import RuleTables, build_rules, table_names
from aila_jax.partition.rules import Blocks
from aila_jax.types import Batch

TYPES = 6
BOUNDARY = np.array([False, False, True, False, False, True])
CLASS = np.array([0, 1, 2, 0, 1, 2])
LAYERS = 3

# Of windows, segments, given ids and classes: what combines with each.
STRETCHES: dict[str, dict[str, Any]] = {
    "plain": {},
    "sink": {"sink": True},
    "ends": {"pointers": "ends"},
    "ends, horizon 1": {"pointers": "ends", "horizon": 1},
    "ends, horizon 2, sink": {"pointers": "ends", "horizon": 2, "sink": True},
    "anchors": {"pointers": "anchors"},
    "two anchors, sink": {"pointers": "anchors", "anchors": 2, "sink": True},
    "anchors, sink": {"pointers": "anchors", "sink": True},
    "random, sink": {"pointers": "random", "seed": 3, "sink": True, "horizon": 3},
    "shifted": {"shift": 1},
    "shifted, ends, sink": {"shift": 1, "pointers": "ends", "sink": True},
    "by layer": {"layers": ("windows:3", "own", "all")},
    "by layer, ends, sink": {"layers": ("own", "clauses", "windows:4"), "pointers": "ends", "sink": True},
    "global below": {"layers": ("all", "own", "windows:2"), "sink": True},
}
KINDS: dict[str, tuple[str, ...]] = {
    "windows": tuple(STRETCHES),
    "sentences": (
        "plain",
        "two anchors, sink",
        "random, sink",
        "shifted, ends, sink",
        "by layer, ends, sink",
    ),
    "given": ("ends, horizon 1", "anchors, sink", "shifted", "global below"),
    "classes": ("plain", "sink"),
}
CASES = [(kind, name) for kind, names in KINDS.items() for name in names]


def config_of(kind: str, name: str, length: int = 12, **model: Any) -> Config:
    partition = {
        "windows": PartitionConfig(size=4),
        "sentences": PartitionConfig(kind="segments", unit="sentence"),
        "given": PartitionConfig(kind="given"),
        "classes": PartitionConfig(kind="induced_classes", classes=3),
    }[kind]
    shape = {"length": length, "d_model": 8, "n_heads": 2, "d_ff": 8, "n_layers": LAYERS, **model}
    return Config(partition=partition, relation=RelationConfig(**STRETCHES[name]), model=ModelConfig(**shape))


def partition_of(config: Config) -> Partition:
    """The partition, its table by the types above."""
    if not config.partition.fitted:
        return build_partition(config.partition)
    values = BOUNDARY if config.partition.makes_segments else CLASS
    names = () if config.partition.makes_segments else ("a", "b", "c")
    return build_partition(config.partition, FittedTable(values, "", names))


def tables_of(config: Config) -> RuleTables | None:
    """Tables of the six types for what the relation reads."""
    entropy = np.random.default_rng(1).permutation(TYPES).astype(np.float32)
    arrays = {name: entropy if name == "entropy" else BOUNDARY for name in table_names(config.relation)}
    return RuleTables.of("", arrays) if arrays else None


@cache
def compiled(kind: str, name: str) -> Callable[[Batch], Blocks]:
    """The blocks of a batch under the relation `name` on blocks of `kind`; one compilation for one shape."""
    return jax.jit(partial(blocks_of, config_of(kind, name)))


def blocks_of(config: Config, batch: Batch) -> Blocks:
    return build_rules(config, tables_of(config))(batch, partition_of(config))


def random_batch(config: Config, rows: int, seed: int, documents: bool = False) -> Batch:
    """Random texts with random given ids (stretches), of one document each, or of several and padding."""
    draw, length = np.random.default_rng(seed), config.model.length
    tokens = draw.integers(0, TYPES, (rows, length)).astype(np.int32)
    given = np.cumsum(draw.random((rows, length)) < draw.random((rows, 1)), axis=1).astype(np.int32)
    docs = np.zeros((rows, length), np.int32)
    if documents:
        docs = np.cumsum(draw.random((rows, length)) < 0.2, axis=1).astype(np.int32)
        given = np.cumsum(
            np.diff(docs, axis=1, prepend=0) + np.diff(given, axis=1, prepend=0) > 0, axis=1
        ).astype(np.int32)
        used = draw.integers(1, length + 1, (rows, 1))
        docs = np.where(np.arange(length) < used, docs, -1).astype(np.int32)
        given = np.where(docs < 0, -1, given).astype(np.int32)
    batch = Batch.from_tokens(tokens, given, docs)
    if config.model.document_mask:
        return batch
    return batch.replace(positions=np.broadcast_to(np.arange(length, dtype=np.int32), (rows, length)))
