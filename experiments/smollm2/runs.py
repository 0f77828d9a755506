"""The runs of SmolLM2 with a dial: its relations, untrained and localised, and the control."""

from dataclasses import dataclass, replace

from aila_jax import presets
from aila_jax.config import (
    Config,
    DialMode,
    LayerBlocks,
    LocalityConfig,
    PartitionConfig,
    PartitionKind,
    PointerKind,
    RelationConfig,
)

LENGTH = 256
LAMS = (0.0, 0.25, 0.5, 0.75, 1.0)
TOKENS = 300_000  # of training
SENTENCES = PartitionConfig(kind=PartitionKind.SEGMENTS, unit="sentence")


@dataclass(frozen=True)
class Blocks:
    """Blocks of a pretrained model.

    Attributes:
      partition: the blocks.
      relation: what is inside beside them; a sink always.
    """

    partition: PartitionConfig
    relation: RelationConfig


def relations(layers: int) -> dict[str, Blocks]:
    """The relations by name, for a model of so many layers."""
    lower = ("own",) * (layers // 2) + ("all",) * (layers - layers // 2)
    return {
        "sentences": Blocks(SENTENCES, RelationConfig(sink=True)),
        "sentences-ends": Blocks(SENTENCES, RelationConfig(sink=True, pointers=PointerKind.ENDS)),
        "windows32-shift16": Blocks(PartitionConfig(size=32), RelationConfig(sink=True, shift=16)),
        "sentences-lower": Blocks(SENTENCES, RelationConfig(sink=True, layers=lower)),
    }


LOCALISED = ("sentences", "sentences-ends")  # those that are trained
CONTROL = "control"


def localised_runs(base: Config) -> dict[str, Config]:
    """`localised-RELATION`, and the control: the same adapters on the same text, always on, where nothing is
    outside.
    """
    own = presets.localised(base, length=LENGTH, tokens=TOKENS)
    named = relations(base.model.n_layers)
    runs = {
        f"localised-{name}": replace(own, partition=named[name].partition, relation=named[name].relation)
        for name in LOCALISED
    }
    everything = RelationConfig(layers=(LayerBlocks.ALL,) * base.model.n_layers)
    always = LocalityConfig(mode=DialMode.FIXED, lam=1.0, taught=own.locality.taught)
    runs[CONTROL] = replace(own, relation=everything, locality=always)
    return runs
