"""From the configuration to a partition."""

from typing import Protocol

from jaxtyping import Int

from aila_jax.config import PartitionConfig
from aila_jax.partition.given import Given
from aila_jax.partition.windows import Windows
from aila_jax.types import Array, Batch


class Partition(Protocol):
    """A semantic partition: a pure, jittable function from a batch to the block id of every position.

    Attention depends on it only through "same block", and a token after t never changes a block id at or before t.
    """

    def __call__(self, batch: Batch) -> Int[Array, "B L"]: ...


def build_partition(config: PartitionConfig) -> Partition:
    """The partition that `config` names."""
    if config.kind == "windows":
        return Windows(config.size, config.global_first)
    return Given(config.global_first)
