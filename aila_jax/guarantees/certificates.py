"""Certificates: what λ, τ, the margin and the gate guarantee of a model's attention, at every layer, head and
position.

The guarantee is over all that is inside: own block, pointers and sinks together, none on the own block alone.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from jaxtyping import Bool, Float

from aila_jax import formats
from aila_jax.cards import Card, Shown
from aila_jax.columns import Column, to_pandas
from aila_jax.config import Config, check_tau, require
from aila_jax.config.checks import check_flag, plain, real, whole
from aila_jax.guarantees.bounds import block_mass_bound, entropy_bound, out_mass_bound, required_margin
from aila_jax.guarantees.gaps import BY_THE_MODEL, Gap, ScoreSource, guaranteed_gap
from aila_jax.guarantees.key_counts import KeyCounts, counts_of_every_text

# A weight of e^−104 of the largest is 0 in float32, whether a device keeps denormal numbers or not. Kernels
# that merge partial sums divide by sums of up to L weights, which costs ln L more: 120 is enough up to e^16
# keys.
HARD_NATS = 120.0

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class CertificateRow:
    """What is guaranteed at one layer, head and position.

    Attributes:
      layer: counted from 0.
      head: counted from 0.
      position: place of the query among those of the certificate, from 0.
      n_in: keys inside: in its block, sinks and pointers.
      n_out: keys outside.
      block_mass: attention inside, at least.
      entropy_bits: entropy, at most.
    """

    layer: int
    head: int
    position: int
    n_in: int
    n_out: int
    block_mass: Annotated[float, Column("block mass", formats.at_least, help="at least")]
    entropy_bits: Annotated[float, Column("entropy (bits)", formats.at_most, unit="bits", help="at most")]


@dataclass(frozen=True, eq=False, repr=False)
class Certificate(Shown):
    """What is guaranteed at one setting of the dial, of attention in one layer at a time (not of influence:
    docs/certificates.md).

    Attributes:
      gap: what the margin guarantees in nats, with λ, S and where S comes from.
      tau: τ.
      counts: keys inside and outside of each position t = 0 … L − 1, or of the distinct kinds of queries of
        some text.
    """

    gap: Gap
    tau: float
    counts: KeyCounts

    @cached_property
    def nats(self) -> Float[np.ndarray, "N H"]:
        """The least by which scores inside lead at τ: by the margin, and by the gate; +∞ where nothing is
        left outside.
        """
        return self.gap.at(self.tau)

    @cached_property
    def is_hard(self) -> Bool[np.ndarray, "N H"]:
        """Where attention outside is exactly 0, for every text: then nothing outside is attended to in that
        layer and head.

        By `hard`, by the gate where all of it is imposed, or by a gap of at least `HARD_NATS` · τ, unless it
        rests on scores seen.
        """
        proven = np.zeros_like(self.nats) if self.gap.empirical else self.nats
        return np.isposinf(self.nats) | (proven >= HARD_NATS * self.tau)

    @property
    def non_interfering(self) -> bool:
        """Whether attention outside is exactly 0 in every layer and head."""
        return bool(self.is_hard.all())

    @cached_property
    def block_mass(self) -> Float[np.ndarray, "N H T"]:
        """Guaranteed attention inside, in [0, 1]."""
        return self._mass(self.counts)

    def _mass(self, counts: KeyCounts) -> Float[np.ndarray, "N H T"]:
        n_in, n_out = counts.n_in[:, None], counts.n_out[:, None]
        return np.asarray(block_mass_bound(n_in, n_out, self.nats[:, :, None], self.tau))

    @property
    def out_mass(self) -> Float[np.ndarray, "N H T"]:
        """The most attention outside, 1 − `block_mass` without the cancellation."""
        n_in, n_out = self.counts.n_in[:, None], self.counts.n_out[:, None]
        return np.asarray(out_mass_bound(n_in, n_out, self.nats[:, :, None], self.tau))

    @cached_property
    def entropy_bits(self) -> Float[np.ndarray, "N H T"]:
        """Largest entropy. Where blocks depend on the tokens and no text is given, any block may hold every
        key: then log2(n_in + n_out).
        """
        n_in, n_out = self.counts.n_in[:, None], self.counts.n_out[:, None]
        if self.counts.worst:
            return np.broadcast_to(np.log2(n_in + n_out), self.block_mass.shape)
        return np.asarray(entropy_bound(n_in, n_out, self.out_mass))

    @property
    def least_block_mass(self) -> float:
        """Over all layers, heads and positions."""
        return float(self.block_mass.min())

    @property
    def mean_block_mass(self) -> float:
        """Over layers, heads and queries."""
        return float(self._over_queries(self.block_mass).mean())

    @property
    def largest_entropy_bits(self) -> float:
        """Over all layers, heads and positions."""
        return float(self.entropy_bits.max())

    @property
    def mean_entropy_bits(self) -> float:
        """Over layers, heads and queries."""
        return float(self._over_queries(self.entropy_bits).mean())

    @property
    def least_block_mass_accompanied(self) -> float | None:
        """Over positions with a key inside besides themselves; None where there is no such position."""
        counts = self.counts
        if not counts.accompanied.any():
            return None
        accompanied = counts.accompanied[:, None]
        return float(self._mass(counts.with_company()).min(where=accompanied, initial=1.0))

    @property
    def share_said(self) -> float:
        """Share of (layer, head, query) where more is guaranteed than uniform attention has, of those with
        keys outside.

        That is where the gap is above 0, so all queries of a head or none. 1 where no query has keys outside.
        """
        with_keys_M = np.where(self.counts.n_out > 0, self.counts.queries, 0).sum(axis=-1)
        if not with_keys_M.any():
            return 1.0
        said = (self.nats > 0.0) * with_keys_M[:, None]
        return float(said.sum() / np.broadcast_to(with_keys_M[:, None], self.nats.shape).sum())

    @property
    def head_block_mass(self) -> Float[np.ndarray, "N H"]:
        """Guaranteed block mass of each head, mean over queries."""
        return self._over_queries(self.block_mass)

    @property
    def head_entropy_bits(self) -> Float[np.ndarray, "N H"]:
        """Largest entropy of each head, mean over queries."""
        return self._over_queries(self.entropy_bits)

    def rows(self) -> list[CertificateRow]:
        """A row for every layer, head and position."""
        layers = len(self.counts.n_in)
        n_in, n_out = self.counts.n_in.tolist(), self.counts.n_out.tolist()
        return [
            CertificateRow(
                layer,
                head,
                position,
                n_in[layer % layers][position],
                n_out[layer % layers][position],
                float(self.block_mass[layer, head, position]),
                float(self.entropy_bits[layer, head, position]),
            )
            for layer, head, position in np.ndindex(self.block_mass.shape)
        ]

    def to_pandas(self) -> "DataFrame":
        """The rows as a data frame."""
        return to_pandas(CertificateRow, self.rows())

    def required_margin(self, target_mass: float, accompanied: bool = True) -> float | None:
        """The setting `model.margin.nats` (`m0`, for the self-scaling form) that guarantees `target_mass` at
        this λ, τ and S.

        At least 0, and 0 where the gate leaves nothing outside; None where no position has a key inside
        besides itself (with `accompanied`). Settings end at 10,000.

        Training with another margin changes an S that comes from the weights, but neither the most that
        QK-normalisation allows (g_max) nor, from λc = 1 on, the self-scaling margin's guarantee.

        Args:
          target_mass: above 0 and below 1.
          accompanied: at positions with a key inside besides themselves; else at all.

        Raises:
          ValueError: a target outside its limits, λ = 0, or hard attention, which has no margin.
        """
        target_mass = plain(target_mass)
        require(real(target_mass), "target_mass", target_mass, "a number above 0 and below 1", "0.9, say")
        accompanied = check_flag("accompanied", accompanied)
        gap, fix = self.gap, "ask at λ = 1, without hard attention"
        require(gap.bound != "hard", "bound", gap.bound, "one with a margin", fix)
        require(
            bool((gap.share > 0.0).all()),
            "lam",
            gap.lam,
            "such that every head has some margin, however large: none has at λ = 0",
            fix,
        )
        counts, asked = self.counts, np.ones_like(self.counts.accompanied)
        if accompanied:
            counts, asked = counts.with_company(), counts.accompanied
        if not asked.any():
            return None
        # nats = share · margin − rest, so the rest takes the place of 2S, less what the gate adds; of it only
        # the rounding grows with the margin.
        rest = gap.share * gap.margin - self.nats
        needed = required_margin(
            target_mass, counts.n_in[:, None], counts.n_out[:, None], rest[:, :, None] / 2.0, self.tau
        ).max(axis=-1, where=asked[:, None], initial=0.0)
        return float(((1.0 + 2.0 * gap.rounding) * needed / gap.share).max())

    def _over_queries(self, values: Float[np.ndarray, "N H T"]) -> Float[np.ndarray, "N H"]:
        return np.average(values, axis=-1, weights=self.counts.queries)

    def card(self) -> Card:
        facts = {"guarantees": "no key outside has any weight in any layer and head (non-interference)"}
        if not self.non_interfering:
            alone, mass = self.least_block_mass_accompanied, self.least_block_mass
            hard = f"; exactly hard in {self.is_hard.mean():.0%}" if self.is_hard.any() else ""
            facts = {
                "guarantees": f"{self.share_said:.0%} of (layer, head, query) more than uniform attention has{hard}",
                "least block mass": f"{_down(mass)}, with a second key inside"
                f" {'–' if alone is None else _down(alone)}",
                "mean block mass": _down(self.mean_block_mass),
            }
        facts["largest entropy"] = f"{-math.floor(-1000 * self.largest_entropy_bits) / 1000:.3f} bits"
        facts["queries"] = self.counts.card().title.removeprefix("KeyCounts: ")
        gap = self.gap.card()
        title = gap.title.removeprefix("Gap at ").replace(",", f", τ = {self.tau:g},", 1)
        return Card(f"Certificate at {title}", {**facts, **gap.facts})


def _down(value: float) -> str:
    """A lower bound, rounded down: what is guaranteed is not overstated by its last digit."""
    return f"{math.floor(1000 * value) / 1000:.3f}"


def certificate(
    params: Any,
    config: Config,
    lam: float,
    tau: float,
    *,
    counts: KeyCounts | None = None,
    hard: bool = False,
    scores: ScoreSource = BY_THE_MODEL,
    layer_scale: Any = None,
) -> Certificate:
    """The certificate of a model with these parameters.

    Args:
      lam: λ.
      tau: τ.
      counts: of the text certified; those of every text of the model's length by default.
      hard: see `guaranteed_gap`, and so for `scores` and `layer_scale`.

    Raises:
      ValueError: an argument outside its limits, or a bound that the model's logits do not have.
    """
    check_tau(tau)
    counts = counts_of_texts(config) if counts is None else counts
    gap = guaranteed_gap(params, config.model, lam, hard=hard, scores=scores, layer_scale=layer_scale)
    return Certificate(gap, float(tau), counts)


def counts_of_texts(config: Config, length: int | None = None) -> KeyCounts:
    """Keys of the queries of every text of `length` tokens, from 1 to the model's length, which is the
    default. ValueError for another.
    """
    most = config.model.length
    length = most if length is None else length
    limit = f"a whole number from 1 to the model's length ({most})"
    require(whole(length) and 1 <= length <= most, "length", length, limit, f"length={most}, or leave it out")
    return counts_of_every_text(config, length)
