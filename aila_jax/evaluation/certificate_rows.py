"""A certificate as rows, one for each layer and head, beside what a sweep measured there."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from aila_jax import formats
from aila_jax.columns import Column
from aila_jax.evaluation.rows import HeadRow
from aila_jax.guarantees.certificates import Certificate

Heads = Mapping[tuple[int, int], HeadRow]


@dataclass(frozen=True)
class HeadCertificate:
    """What is guaranteed of one layer and head, over the positions of a certificate.

    Attributes:
      layer: counted from 0.
      head: counted from 0.
      score_bound: S, what no score exceeds in size.
      gap: guaranteed difference of scores inside and outside, the gate's part included; None where it is
        infinite.
      least_block_mass: guaranteed at every position.
      mean_block_mass: mean over positions of what is guaranteed.
      measured_block_mass: of the sweep; None where there is none.
      mean_entropy_bits: mean over positions of the largest entropy.
      measured_entropy_bits: of the sweep; None where there is none.
    """

    layer: int
    head: int
    score_bound: Annotated[float, Column("S", formats.three, unit="nats")]
    gap: Annotated[float | None, Column("gap (nats)", formats.three, unit="nats", missing="∞")]
    least_block_mass: Annotated[float, Column("least mass", formats.at_least)]
    mean_block_mass: Annotated[float, Column("mean mass", formats.at_least)]
    measured_block_mass: Annotated[float | None, Column("measured", formats.fixed)]
    mean_entropy_bits: Annotated[float, Column("mean entropy", formats.at_most, unit="bits")]
    measured_entropy_bits: Annotated[float | None, Column("measured", formats.fixed, unit="bits")]


def head_certificates(found: Certificate, measured: Heads | None = None) -> tuple[HeadCertificate, ...]:
    """A row for every layer and head."""
    gap, rows = found.gap, []
    for at in np.ndindex(found.nats.shape):
        seen = None if measured is None else measured.get((at[0], at[1]))
        nats = float(found.nats[at])
        rows.append(
            HeadCertificate(
                layer=at[0],
                head=at[1],
                score_bound=float(gap.score_bound[at]),
                gap=nats if math.isfinite(nats) else None,
                least_block_mass=float(found.block_mass[at].min()),
                mean_block_mass=float(found.head_block_mass[at]),
                measured_block_mass=None if seen is None else seen.block_mass,
                mean_entropy_bits=float(found.head_entropy_bits[at]),
                measured_entropy_bits=None if seen is None else seen.entropy_bits,
            )
        )
    return tuple(rows)
