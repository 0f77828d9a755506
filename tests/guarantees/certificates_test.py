"""Certificates as a whole: gaps from the configuration, positions, summaries, the margin required,
refusals.
"""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from aila_jax import presets
from aila_jax.config import Config, MarginConfig, PartitionConfig, RelationConfig
from aila_jax.guarantees.certificates import certificate, counts_of_texts
from aila_jax.guarantees.gaps import ScoreSource, guaranteed_gap
from aila_jax.guarantees.key_counts import counts_of
from aila_jax.model.margin import head_shares
from benchmarks.turns import rise
from tests.guarantees.score_bounds_test import random_layer
from tests.oracles import bounds as oracle
from tests.support.tight import config_of


def whole(partition: PartitionConfig | None = None, **options: Any) -> Config:
    return Config(model=config_of(**options), partition=partition or PartitionConfig(size=2))


QK = {"qk_norm": True, "g_max": 3.0, "margin": MarginConfig(nats=12.0)}


def test_every_number_is_that_of_the_formulas() -> None:
    config = whole(**QK)
    params = random_layer(config.model, 1)
    found = certificate(params, config, 0.7, 0.5)
    assert (found.gap.bound, found.gap.empirical, found.counts.worst) == ("qk_norm", False, False)
    for head, s in enumerate(found.gap.score_bound[0]):
        for t in range(4):
            n_in, n_out = t % 2 + 1, t - t % 2
            upper = oracle.mass_upper(n_in, n_out, 0.7 * 12.0, s, 0.5)
            np.testing.assert_allclose(1 - found.block_mass[0, head, t], upper, rtol=1e-4, atol=1e-12)
            np.testing.assert_allclose(
                found.entropy_bits[0, head, t], oracle.entropy_upper(n_in, n_out, upper), rtol=1e-4, atol=1e-9
            )
    assert found.least_block_mass == found.block_mass.min() == found.block_mass[0, :, 2].min()
    assert found.least_block_mass_accompanied == found.block_mass[0, :, 3].min() > found.least_block_mass
    np.testing.assert_allclose(found.mean_block_mass, found.block_mass.mean(), rtol=1e-12)
    np.testing.assert_allclose(found.mean_entropy_bits, found.entropy_bits.mean(), rtol=1e-12)
    np.testing.assert_allclose(found.head_block_mass, found.block_mass.mean(axis=-1), rtol=1e-12)
    assert found.largest_entropy_bits == found.entropy_bits.max()
    assert found.share_said == 1.0


def test_a_guarantee_no_better_than_uniform_attention_says_nothing() -> None:
    config = whole(**QK)
    params = random_layer(config.model, 1)
    found = certificate(params, config, 0.0, 1.0)
    assert found.share_said == 0.0
    assert not found.gap.says_something(1.0)
    counts = found.counts
    assert (found.block_mass <= counts.n_in / (counts.n_in + counts.n_out)).all()
    np.testing.assert_allclose(
        found.entropy_bits, np.log2(counts.n_in + counts.n_out)[:, None] + 0 * found.block_mass, atol=1e-12
    )
    scales = found.gap.score_bound[0]
    half = certificate(
        params,
        replace(config, model=replace(config.model, margin=MarginConfig(nats=float(scales.sum())))),
        1.0,
        1.0,
    )
    assert half.share_said == 0.5


def test_each_layer_has_its_share_of_the_margin() -> None:
    model = replace(
        config_of(margin=MarginConfig(nats=10.0, power=2.0, linear=0.25)), n_layers=3, layer_beta=1.0
    )
    lam_3 = 0.9 * np.array([1, 2, 3]) / 3
    shares = head_shares(model, 0.9)
    np.testing.assert_allclose(
        shares, np.repeat(0.25 * lam_3 + 0.75 * lam_3**2, model.n_heads).reshape(3, -1), rtol=1e-6
    )
    one = random_layer(model, 0)["layer_0"]
    gap = guaranteed_gap({f"layer_{i}": one for i in range(3)}, model, 0.9)
    np.testing.assert_allclose(gap.nats, shares * 10 - 2 * gap.score_bound, atol=1e-4)
    assert (head_shares(model, 1.0)[-1] == 1.0).all()


def test_a_staggered_head_is_certified_from_where_it_is_turned() -> None:
    """Two heads, σ = .5: the first turns up to λ = .5, the second from there; each is then certified as at λ
    = 1.
    """
    config = whole(score_cap=2.0, margin=MarginConfig(nats=9.0, stagger=0.5))
    params = random_layer(config.model, 1)
    half, whole_dial = (certificate(params, config, lam, 1.0) for lam in (0.5, 1.0))
    np.testing.assert_allclose(half.gap.share, [[1.0, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(half.gap.nats, [[9.0 - 4.0, -4.0]], atol=1e-4)
    np.testing.assert_allclose(half.block_mass[:, 0], whole_dial.block_mass[:, 0], rtol=1e-4)
    assert half.share_said == 0.5
    with pytest.raises(ValueError, match=r"lam is 0\.5; it must be such that every head has some margin"):
        half.required_margin(0.9)
    later = certificate(params, config, 0.75, 1.0)
    enough = later.required_margin(0.9)
    assert enough is not None
    raised = replace(config, model=replace(config.model, margin=MarginConfig(nats=enough, stagger=0.5)))
    reached = certificate(params, raised, 0.75, 1.0).least_block_mass_accompanied
    assert reached is not None
    assert 0.9 <= reached < 0.9001


def test_a_score_cap_bounds_scores_whatever_the_weights() -> None:
    """S = c: λm − 2c nats are guaranteed, and the other bounds are cut at it too."""
    config = whole(score_cap=3.0, margin=MarginConfig(nats=10.0))
    huge = jax.tree.map(lambda x: 100 * x, random_layer(config.model, 1))
    for params in (random_layer(config.model, 1), huge):
        gap = certificate(params, config, 0.9, 1.0).gap
        assert gap.bound == "score_cap"
        np.testing.assert_allclose(gap.nats, 9.0 - 6.0, rtol=1e-5)
        assert (gap.nats < 3.0).all()
    tiny = jax.tree.map(lambda x: 0.1 * x, random_layer(config.model, 1))
    for params, expected in ((huge, 3.0), (tiny, None)):
        bounded = certificate(params, config, 0.9, 1.0, scores=ScoreSource("parameters")).gap.score_bound
        if expected is None:
            free = certificate(
                params, whole(margin=MarginConfig(nats=10.0)), 0.9, 1.0, scores=ScoreSource("parameters")
            ).gap.score_bound
            assert (free < 3.0).all()
            np.testing.assert_array_equal(bounded, free)
        else:
            np.testing.assert_allclose(bounded, expected, rtol=1e-5)


def test_self_scaling_needs_scores_only_below_a_full_margin() -> None:
    margin = MarginConfig(form="self_scaling", c=2.0, m0=5.0)
    config = whole(margin=margin)
    params = random_layer(config.model, 2)
    for lam in (0.5, 0.8, 1.0):
        gap = certificate(params, config, lam, 1.0).gap
        assert gap.bound == "self_scaling"
        np.testing.assert_allclose(gap.nats, lam * 5.0, atol=1e-3)
    low = certificate(params, config, 0.2, 1.0).gap
    np.testing.assert_allclose(low.nats, 0.2 * 5.0 - 0.6 * 2 * low.score_bound, atol=1e-3)
    bent = replace(config, model=replace(config.model, margin=replace(margin, power=2.0, range_bend=3.0)))
    gap = certificate(params, bent, 0.8, 1.0).gap  # λ^(p·b) · c = .8⁶ · 2 = .524
    np.testing.assert_allclose(gap.nats, 0.64 * 5.0 - (1 - 2 * 0.8**6) * 2 * gap.score_bound, atol=1e-3)
    norms = replace(config, model=replace(config.model, margin=replace(margin, range="norms")))
    np.testing.assert_array_equal(certificate(params, norms, 0.2, 1.0).gap.nats, low.nats)


def test_hard_attention_is_certain() -> None:
    config = whole()
    found = certificate(random_layer(config.model, 0), config, 1.0, 1.0, hard=True)
    assert found.gap.bound == "hard"
    assert (found.block_mass == 1.0).all()
    assert found.entropy_bits[0, 0].tolist() == [0.0, 1.0, 0.0, 1.0]
    assert found.share_said == 1.0


def test_blocks_that_depend_on_tokens_are_certified_at_their_worst_or_for_one_text() -> None:
    config = whole(PartitionConfig(kind="given"), **QK)
    params = random_layer(config.model, 1)
    worst = certificate(params, config, 1.0, 1.0)
    text = certificate(params, config, 1.0, 1.0, counts=counts_of(np.array([[5, 5, 9, 5]], np.int32)))
    np.testing.assert_allclose(
        1 - worst.block_mass[0, 0, 3],
        oracle.mass_upper(1, 3, 12.0, worst.gap.score_bound[0, 0], 1.0),
        rtol=1e-4,
    )
    np.testing.assert_allclose(
        worst.entropy_bits[0, 0], np.log2([1, 2, 3, 4]), rtol=1e-12
    )  # one block may hold all keys
    assert worst.least_block_mass_accompanied == pytest.approx(
        1 - oracle.mass_upper(2, 2, 12.0, worst.gap.score_bound.max(), 1.0), rel=1e-4
    )
    kinds = set(zip(text.counts.n_in[0].tolist(), text.counts.n_out[0].tolist(), strict=True))
    assert kinds == {(1, 0), (2, 0), (1, 2), (3, 1)}
    assert text.mean_block_mass > worst.mean_block_mass
    assert text.mean_entropy_bits < worst.mean_entropy_bits
    alone = certificate(params, whole(PartitionConfig(size=1), **QK), 1.0, 1.0)
    assert alone.least_block_mass_accompanied is None


@pytest.mark.parametrize(
    "options",
    [
        QK,
        {"margin": MarginConfig(nats=1.0)},
        {"margin": MarginConfig(form="self_scaling", m0=0.5)},
        {"margin": MarginConfig(form="self_scaling", c=0.5)},
        {**QK, "margin": MarginConfig(nats=12.0, power=30.0)},
    ],
    ids=["QK-norm", "parameters", "self-scaling", "self-scaling, c < 1", "a steep curve"],
)
@pytest.mark.parametrize("accompanied", [True, False])
def test_the_required_margin_brings_the_target_and_not_much_more(
    options: dict[str, Any], accompanied: bool
) -> None:
    config = whole(**options)
    params = random_layer(config.model, 3)
    needed = certificate(params, config, 0.9, 0.7).required_margin(0.95, accompanied)
    name = "nats" if config.model.margin.form == "fixed" else "m0"

    def least(nats: float) -> float:
        model = replace(config.model, margin=replace(config.model.margin, **{name: nats}))
        found = certificate(params, replace(config, model=model), 0.9, 0.7)
        return found.least_block_mass_accompanied if accompanied else found.least_block_mass

    assert 0.95 <= least(needed) < 0.9501
    assert least(needed * 0.99) < 0.95


def test_the_required_margin_is_none_of_what_needs_none() -> None:
    """One block for all keys, one position, and a target that uniform attention reaches under these scores;
    then nobody accompanied.
    """
    config = whole(**QK)
    params = random_layer(config.model, 3)

    def required(
        target: float, config: Config = config, length: int | None = None, **which: bool
    ) -> float | None:
        found = certificate(params, config, 1.0, 1.0, counts=counts_of_texts(config, length))
        return found.required_margin(target, **which)

    one_block = whole(PartitionConfig(size=config.model.length), **QK)
    assert required(0.9, one_block) == required(0.9, length=1, accompanied=False) == 0.0
    assert required(1e-6) == 0.0 < required(0.5) < required(0.6)
    assert required(0.9, whole(PartitionConfig(size=1), **QK)) is None
    assert required(0.9, length=np.int64(4)) == required(0.9)


@pytest.mark.parametrize(
    ("options", "call", "message"),
    [
        (
            {},
            {"scores": ScoreSource(bound="qk_norm")},
            (
                r"bound is 'qk_norm'; it must be one that bounds this model's logits: it has"
                r" model\.qk_norm=false\. Fix: train"
            ),
        ),
        (
            QK,
            {"scores": ScoreSource(bound="parameters")},
            (
                r"bound is 'parameters'; .*with model\.qk_norm=true weights do not\. Fix: ask for"
                r" bound='qk_norm'"
            ),
        ),
        (
            {},
            {"scores": ScoreSource(bound="score_cap")},
            r"bound is 'score_cap'; .*it has model\.score_cap=0\. Fix: train",
        ),
        (
            {},
            {"scores": ScoreSource(bound="self_scaling")},
            r"bound is 'self_scaling'; .*model\.margin\.form='fixed', which weights can outgrow\. Fix: train",
        ),
        (
            {},
            {"scores": ScoreSource(bound="empirical")},
            r"largest_score is None; it must be the largest \|s\|.* Fix: measure it",
        ),
        (
            {},
            {"scores": ScoreSource(bound="weights")},
            r"bound is 'weights'; it must be one of auto, parameters",
        ),
        (
            {"bidirectional": True},
            {},
            r"model\.bidirectional is True; it must be false for a certificate\. Fix: certify a causal model",
        ),
        ({}, {"lam": 1.5}, r"lam is 1\.5; it must be a number in \[0, 1\]"),
        ({}, {"tau": 0.0}, r"tau is 0\.0; it must be a number from 1e-06 to 1e"),
        (
            {},
            {"scores": ScoreSource(arithmetic="tf32")},
            (
                r"arithmetic is 'tf32'; it must be float32 or bfloat16 with model\.dtype=float32\. Fix: take"
                r" bfloat16"
            ),
        ),
        (
            {"dtype": "bfloat16"},
            {"scores": ScoreSource(arithmetic="float32")},
            r"arithmetic is 'float32'; it must be bfloat16 with model\.dtype=bfloat16",
        ),
        ({}, {"hard": True, "lam": 0.5}, r"lam is 0\.5; it must be 1 with hard attention"),
        (
            {},
            {"hard": True, "lam": 1.0, "scores": ScoreSource(bound="parameters")},
            r"bound is 'parameters'; it must be 'auto' with hard attention",
        ),
    ],
)
def test_what_cannot_be_certified_is_refused(
    options: dict[str, Any], call: dict[str, Any], message: str
) -> None:
    config = whole(**options)
    with pytest.raises(ValueError, match=message):
        certificate(random_layer(config.model, 0), config, **{"lam": 0.5, "tau": 1.0} | call)


@pytest.mark.parametrize("length", [5, 0, True])
def test_a_length_that_the_model_does_not_have_is_refused(length: int) -> None:
    message = (
        rf"length is {length}; it must be a whole number from 1 to the model's length \(4\)\. Fix: length=4"
    )
    with pytest.raises(ValueError, match=message):
        counts_of_texts(whole(), length)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, True),
        (QK, True),
        ({"margin": MarginConfig(form="self_scaling")}, True),
        ({"score_cap": 2.0}, False),
    ],
    ids=["parameters", "QK-norm", "self-scaling", "score cap"],
)
def test_a_certificate_names_the_arithmetic_that_it_allows_for(options: dict[str, Any], named: bool) -> None:
    config = whole(**options)
    params = random_layer(config.model, 0)
    here, fine, coarse = (
        certificate(params, config, 0.9, 1.0, scores=ScoreSource(arithmetic=name)).gap
        for name in (None, "float32", "bfloat16")
    )
    assert [gap.arithmetic for gap in (here, fine, coarse)] == (
        ["float32", "float32", "bfloat16"] if named else [None] * 3
    )
    np.testing.assert_array_equal(here.nats, fine.nats)  # of a model in float32, on this machine
    assert (coarse.nats < fine.nats).all() if named else (coarse.nats == fine.nats).all()
    assert certificate(params, whole(dtype="bfloat16", **options), 0.9, 1.0).gap.arithmetic == (
        "bfloat16" if named else None
    )
    assert certificate(params, config, 1.0, 1.0, hard=True).gap.arithmetic is None
    seen = certificate(params, config, 1.0, 1.0, scores=ScoreSource("empirical", np.ones((1, 2))))
    assert seen.gap.arithmetic is None


def test_no_margin_brings_a_target_at_lambda_zero_or_where_none_is_imposed() -> None:
    config = whole()
    params = random_layer(config.model, 0)
    with pytest.raises(ValueError, match=r"lam is 0\.0; it must be such that every head has some margin"):
        certificate(params, config, 0.0, 1.0).required_margin(0.9)
    with pytest.raises(ValueError, match=r"bound is 'hard'; it must be one with a margin"):
        certificate(params, config, 1.0, 1.0, hard=True).required_margin(0.9)
    with pytest.raises(ValueError, match=r"target_mass is 1\.0; it must be above 0 and below 1"):
        certificate(params, config, 1.0, 1.0).required_margin(1.0)


@pytest.mark.parametrize(
    ("partition", "relation"),
    [
        (PartitionConfig(size=5), RelationConfig()),
        (PartitionConfig(kind="segments"), RelationConfig()),
        (PartitionConfig(size=5), RelationConfig(pointers="ends", horizon=9, sink=True, shift=2)),
    ],
    ids=["windows", "any text", "a relation"],
)
def test_memory_grows_with_the_length_and_not_with_its_square(
    partition: PartitionConfig, relation: RelationConfig
) -> None:
    length = 16_384
    config = whole(**QK)
    config = replace(
        config, model=replace(config.model, length=length), partition=partition, relation=relation
    )
    params = random_layer(config.model, 1)

    def certified() -> None:
        found = certificate(params, config, 1.0, 1.0)
        assert found.block_mass.shape == found.entropy_bits.shape == (1, config.model.n_heads, length)
        assert found.required_margin(0.9) is None or found.mean_block_mass > 0.0

    certified()  # what is compiled and kept is no part of it
    risen = rise(certified)
    if risen is None:
        pytest.skip("this system does not say what a process held")
    assert risen < length**2 / 8  # of even one bit for each pair of positions


def test_the_paper_preset_with_random_weights_is_vacuous_and_says_so() -> None:
    """Weights as at initialisation: S of about 24 before any training, against a margin of 8. Timed in
    docs/results/costs.
    """
    config = presets.paper()
    model, draw = config.model, np.random.default_rng(0)
    kernel = (model.d_model, model.n_heads, model.d_model // model.n_heads)
    layer = {
        "attention": {
            name: {"kernel": (0.02 * draw.standard_normal(kernel)).astype(np.float32)}
            for name in ("query", "key")
        },
        "attention_norm": dict.fromkeys(("film_scale", "film_shift"), np.zeros(model.d_model, np.float32)),
    }
    found = certificate({"layer_0": layer, "layer_1": layer}, config, 1.0, 1.0)
    assert found.block_mass.shape == (2, 8, 256)
    assert 15 < found.gap.score_bound.mean() < 30
    assert found.share_said == 0.0


def test_a_cap_and_its_margin_guarantee_nine_tenths_in_windows_of_5_with_any_weights() -> None:
    """No score is above 4, so the gap at λ = 1 is 14.5 − 8 nats. At position 126, the second of its block,
    n_in = 2 and n_out = 125 (of the last block, positions 125 to 127): 1 − sigmoid(ln(125/2) − 6.5) = .914.
    """
    config = presets.certified_windows5()
    found = certificate({}, config, 1.0, 1.0)
    assert found.gap.bound == "score_cap"
    accompanied = found.least_block_mass_accompanied
    assert accompanied is not None
    np.testing.assert_allclose(accompanied, 1 / (1 + 125 / 2 * np.exp(-6.5)), rtol=1e-3)
    assert accompanied >= 0.9
    assert found.share_said == 1.0
    # Up to λ = 8/14.5 = .5517 the margin is no larger than the range of the scores, and nothing is
    # guaranteed.
    assert certificate({}, config, 0.551, 1.0).share_said == 0.0
    assert certificate({}, config, 0.552, 1.0).share_said == 1.0


def test_the_certified_preset_is_exactly_hard_and_guarantees_nearly_all_without_its_gate() -> None:
    """Without the gate: windows of 40 to 128 tokens, from 0 or, in the second layer, from −20. Least n_in = 2
    and most n_out with it: at the second position of the last window, 121 of the first layer, n_out = 120.
    """
    config = presets.certified()
    assert certificate({}, config, 1.0, 1.0).least_block_mass == 1.0
    soft = replace(config, model=replace(config.model, margin=replace(config.model.margin, gate=0.0)))
    found = certificate({}, soft, 1.0, 1.0)
    np.testing.assert_allclose(
        found.least_block_mass_accompanied, 1 / (1 + 120 / 2 * np.exp(-6.5)), rtol=1e-3
    )
    assert found.mean_block_mass > 0.99


def test_auto_takes_what_bounds_scores_most() -> None:
    """A cap that QK-normalisation keeps scores far below says nothing at this margin; with both bounds S is
    the smaller.
    """
    config = whole(qk_norm=True, g_max=2.0, score_cap=50.0, margin=MarginConfig(nats=20.0))
    params = random_layer(config.model, 0)
    both = certificate(params, config, 1.0, 1.0)
    assert both.gap.bound == "qk_norm"
    assert both.share_said == 1.0
    assert certificate(params, config, 1.0, 1.0, scores=ScoreSource("score_cap")).share_said == 0.0
    low = replace(config, model=replace(config.model, score_cap=0.5))
    np.testing.assert_allclose(certificate(params, low, 1.0, 1.0).gap.score_bound, 0.5, rtol=1e-5)


def test_the_certified_dial_gives_every_layer_the_whole_margin() -> None:
    base = presets.small()
    config = presets.certified_dial(replace(base, model=replace(base.model, layer_beta=2.0)))
    assert (
        certificate({}, config, 1.0, 1.0).least_block_mass_accompanied
        == certificate({}, presets.certified_windows5(), 1.0, 1.0).least_block_mass_accompanied
    )


@pytest.mark.parametrize(
    "base", [presets.tiny(), presets.small(), presets.paper()], ids=lambda config: str(config.model.length)
)
@pytest.mark.parametrize("size", [2, 5, 30])
def test_the_certified_dial_guarantees_nine_tenths_at_every_length(base: Config, size: int) -> None:
    config = replace(presets.certified_dial(base), partition=PartitionConfig(size=size))
    accompanied = certificate({}, config, 1.0, 1.0).least_block_mass_accompanied
    assert accompanied is not None
    assert 0.9 <= accompanied < 0.96  # and no more than it takes
