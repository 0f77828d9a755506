"""The exactly hard end: where attention outside is 0, by flag, by gate or by margin alone, and how it is
worded.
"""

import json
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax.config import MarginConfig, ModelConfig, PartitionConfig, RelationConfig
from aila_jax.guarantees.certificates import HARD_NATS, Certificate, certificate
from aila_jax.guarantees.gaps import ScoreSource, guaranteed_gap
from aila_jax.model.margin import head_shares, imposed_share
from aila_jax.reporting.certificate_files import (
    NON_INTERFERENCE,
    ONE_LAYER,
    describe_certificate,
    write_certificate,
)
from tests.guarantees.certificates_test import whole
from tests.guarantees.score_bounds_test import random_layer
from tests.support.tight import attack, config_of, tight_layer


def capped(nats: float, layers: int = 1, **options) -> Certificate:
    """At λ = 1 and τ = .5, scores of at most 4."""
    margin = MarginConfig(nats=nats, **{k: options.pop(k) for k in ("gate", "stagger") if k in options})
    config = whole(score_cap=4.0, margin=margin, **options)
    config = replace(config, model=replace(config.model, n_layers=layers))
    one = random_layer(config.model, 0)["layer_0"]
    return certificate({f"layer_{i}": one for i in range(layers)}, config, 1.0, 0.5)


def test_a_margin_is_hard_from_120_nats_of_tau_on() -> None:
    """(m − 2S)/τ = 120 at m = 68 with S = 4 and τ = .5; attention outside is then exactly 0, and at 90 it is
    not.
    """
    assert not capped(67.9).is_hard.any() and capped(68.1).non_interfering
    for nats, left in ((68.1, False), (8 + 0.5 * 80, True)):
        config = config_of(score_cap=4.0, margin=MarginConfig(nats=nats))
        params = tight_layer(config, 1.0, strength=30.0)
        found = attack(config, params, 1.0, 0.5, 50)
        assert bool((found > 0).any()) == left
    assert np.float32(np.exp(-104.0)) == 0.0 < np.float32(np.exp(-103.0)) and 104 + np.log(2**20) < HARD_NATS


def test_hardness_is_of_each_layer_and_head() -> None:
    """A progressive dial imposes (ℓ + 1)/N, of the gate's share too: only the last layer is hard."""
    for options in ({"gate": 1.0}, {}):
        found = capped(68.1 if not options else 1.0, layers=3, layer_beta=1.0, **options)
        assert found.is_hard.tolist() == [[False] * 2] * 2 + [[True] * 2]
        assert not found.non_interfering
    config = whole(margin=MarginConfig(nats=1.0, gate=1.0, stagger=0.5))
    half = certificate(random_layer(config.model, 0), config, 0.6, 1.0)
    assert not half.is_hard.any()  # the first head is turned, less a rounding: no claim
    assert certificate(random_layer(config.model, 0), config, 1.0, 1.0).non_interfering


def test_what_was_seen_on_a_corpus_makes_no_margin_hard_but_a_gate_is() -> None:
    seen = ScoreSource("empirical", np.ones((1, 2)))
    for gate, hard in ((0.0, False), (1.0, True)):
        config = whole(margin=MarginConfig(nats=500.0, gate=gate))
        found = certificate(random_layer(config.model, 0), config, 1.0, 1.0, scores=seen)
        assert found.non_interfering == hard


@given(st.floats(0, 1), st.floats(0.1, 50), st.floats(1e-3, 10), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_the_gate_is_never_overstated(linear: float, power: float, kappa: float, lam: float) -> None:
    """What float32 makes of −κ · ln(1 − share) is at least what the gap says; at λ = 1 both are infinite."""
    margin = MarginConfig(nats=1.0, gate=kappa, linear=linear, power=power)
    model = ModelConfig(length=4, d_model=8, n_heads=2, d_ff=8, n_layers=1, score_cap=1.0, margin=margin)
    for value in (lam, 1.0 - 1e-6 * lam, 1.0):
        share = jnp.asarray(imposed_share(model, 0, jnp.float32(value), jnp.float32(1.0)))
        computed = np.float64(-(kappa * jnp.log1p(-share)))
        claimed = guaranteed_gap({}, model, value).gate
        # (A share below 1e-37 is no normal number of float32.)
        assert (claimed <= computed * (1 + 2**-22) + 1e-36).all(), (value, computed, claimed)
        if value < 0.999:
            exact = -kappa * np.log1p(-head_shares(model, value))
            assert np.allclose(claimed, exact, rtol=1e-2, atol=1e-5 * kappa)
    assert np.isposinf(computed) and np.isposinf(claimed).all()


def test_the_gate_multiplies_weights_outside() -> None:
    """Uniform scores: the bound is (1 − λ)^κ e^(−λm/τ) n_out against n_in, attained; a larger τ does not
    shrink the gate.
    """
    config = whole(score_cap=1e-9, margin=MarginConfig(nats=3.0, gate=2.0))
    for tau in (0.5, 2.0):
        found = certificate(random_layer(config.model, 0), config, 0.75, tau)
        outside = 2 * 0.25**2 * np.exp(-0.75 * 3.0 / tau)
        np.testing.assert_allclose(found.out_mass[0, 0, 3], outside / (2 + outside), rtol=1e-4)
        np.testing.assert_allclose(found.nats, 2.25 + tau * 2 * np.log(4), rtol=1e-5)


def test_the_required_margin_takes_off_what_the_gate_does() -> None:
    plain, gated = (
        certificate(random_layer(config.model, 3), config, 0.75, 2.0)
        for config in (whole(score_cap=2.0), whole(score_cap=2.0, margin=MarginConfig(nats=8.0, gate=1.0)))
    )
    without, beside = plain.required_margin(0.95), gated.required_margin(0.95)
    assert without is not None and beside is not None
    np.testing.assert_allclose(without - beside, 2.0 * np.log(4) / 0.75, rtol=1e-4)
    assert capped(1.0, gate=1.0).required_margin(0.999) == 0.0


def test_layers_have_counts_of_their_own() -> None:
    """Windows of 2 below, a global layer last: there all keys are inside, and nothing is to be guaranteed."""
    config = whole(score_cap=2.0)
    config = replace(
        config,
        relation=RelationConfig(layers=("own", "all")),
        model=replace(config.model, n_layers=2, margin=MarginConfig(nats=14.0)),
    )
    one = random_layer(config.model, 0)["layer_0"]
    found = certificate({"layer_0": one, "layer_1": one}, config, 1.0, 1.0)
    assert found.counts.n_in.tolist() == [[1, 2, 1, 2], [1, 2, 3, 4]]
    assert (found.block_mass[1] == 1.0).all() and (found.block_mass[0, :, 2] < 1.0).all()
    assert [row.n_in for row in found.rows() if row.layer == 1 and row.head == 0] == [1, 2, 3, 4]
    assert found.share_said == 1.0
    plain = certificate({"layer_0": one}, whole(score_cap=2.0, margin=MarginConfig(nats=14.0)), 1.0, 1.0)
    np.testing.assert_array_equal(found.block_mass[0], plain.block_mass[0])
    assert found.required_margin(0.9) == plain.required_margin(0.9)


def test_an_exactly_hard_end_is_worded_as_non_interference(tmp_path: Path) -> None:
    soft, hard = capped(20.0), capped(1.0, gate=1.0)
    for found in (soft, hard):
        text = describe_certificate(found, "x", 0.9)
        path = write_certificate(found, tmp_path, meta={}, target_mass=0.9)[1]
        document = json.loads(path.read_text(encoding="utf-8"))
        exactly = found is hard
        assert (NON_INTERFERENCE in text) == ("at least" not in text) == ("margin for" not in text) == exactly
        assert ONE_LAYER in text  # a mass bound is no flow bound, and neither is its hard end
        assert document["claim"] == (
            "non-interference in each layer" if exactly else "attention inside, by layer"
        )
        assert document["hard"] == [[exactly] * 2]
        assert ("non-interference" in str(found)) == exactly
    assert document["margin_required"] is None


def test_every_text_is_one_document_where_a_sink_could_stand_in_mid_window() -> None:
    config = whole(PartitionConfig(size=2), score_cap=2.0)
    sunk = replace(config, relation=RelationConfig(sink=True))
    masked = replace(sunk, model=replace(sunk.model, document_mask=True))
    found = [certificate(random_layer(c.model, 0), c, 1.0, 1.0) for c in (config, sunk, masked)]
    assert [one.counts.one_document for one in found] == [False, True, False]
    assert ["of one document" in str(one) for one in found] == [False, True, False]
    assert ["is one of one document" in describe_certificate(one, "x", 0.9) for one in found] == [
        False,
        True,
        False,
    ]
    assert found[1].counts.n_in.tolist() == [[1, 2, 2, 3]]
