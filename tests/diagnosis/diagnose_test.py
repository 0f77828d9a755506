"""The diagnosis as a pure function: each signature on facts made to show it, none on healthy ones, and
nothing guessed.
"""

import math
from dataclasses import replace

import numpy as np
import pytest

from aila_jax.config import MarginConfig
from aila_jax.diagnosis import signatures
from aila_jax.diagnosis.diagnose import diagnose
from aila_jax.diagnosis.facts import (
    BlockFacts,
    DialPoint,
    Facts,
    PenaltyFacts,
    ScoreFacts,
    TrainingFacts,
)
from aila_jax.diagnosis.measure import SplitLoss

LAMS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def dial(
    perplexity=(50, 51, 52, 53, 54, 55),
    entropy=(3.0, 2.5, 2.0, 1.5, 1.0, 0.6),
    mass=(0.2, 0.4, 0.55, 0.7, 0.85, 0.99),
):
    return tuple(DialPoint(*values) for values in zip(LAMS, perplexity, entropy, mass, strict=True))


HEALTHY = Facts(
    run="healthy",
    dial=dial(),
    scores=ScoreFacts(
        MarginConfig(form="self_scaling"), (1.0, 1.0), 6.0, 24.0, "self_scaling", 0.92, -3.0, 7.5, 0.99
    ),
    blocks=BlockFacts(1.38, 0.4),
    penalty=PenaltyFacts(0, 8),
    training=TrainingFacts(
        "conditional", 0.0, 8.0, ((0.1, 8.0), (2.0, 5.0), (4.0, 4.2), (6.0, 4.0), (8.0, 3.6)), 0, 40.0, 44.0
    ),
    attention_cost=((0.0, 1.4), (1.0, 0.5)),
)
FIXED = ScoreFacts(MarginConfig(), (1.0, 1.0), 9.3, 40.0, "parameters", 1e-9, -6.0, 1.2, 0.55)


def only(facts):
    """The single finding; everything else passed."""
    found = diagnose(facts)
    assert len(found.findings) == 1
    assert len(found.passed) == len(signatures.CHECKS) - 1
    assert found.not_assessed == ()
    return found.findings[0]


def test_a_healthy_run_is_silent():
    found = diagnose(HEALTHY)
    assert found.findings == ()
    assert found.passed == tuple(signatures.CHECKS)
    assert found.not_assessed == ()


def test_entropy_that_stays_high_is_put_down_to_the_margin():
    mass = (0.2, 0.3, 0.38, 0.45, 0.52, 0.59)
    finding = only(
        replace(HEALTHY, dial=dial(mass=mass, entropy=(2.66, 2.4, 2.2, 1.9, 1.7, 1.45)), scores=FIXED)
    )
    assert finding.name == signatures.STAYS_HIGH
    assert (
        "At λ = 1 attention has 1.45 bits of entropy (λ = 0: 2.66) and 0.59 of its mass inside the block,"
        " below 0.9." in finding.seen
    )
    assert "could have 1.38 bits at most" in finding.seen
    causes, notes = " ".join(finding.causes), " ".join(finding.notes)
    assert (
        "m = 8 nats, while scores reach |s| = 9.3, so that a key outside may lead by up to 18.6 nats, and 127"
        " such keys" in causes
    )
    assert "in-block keys lead by 1.2 nats on average, and lead for 55% of the queries" in causes
    assert len(finding.causes) == 1
    assert "exceed S = 40.0 (bound: parameters), which guarantees a block mass of 1e-09 at least" in notes
    assert "in-block keys trail by 6.0 nats (δ at λ = 0)" in notes
    assert "Coherence of the blocks, for the record: ρ_max = 0.40." in notes
    assert "model.score_cap=4 and model.margin.nats=16" in finding.changes[0]  # 2 · 4 + ln(127 · 9)
    assert "model.margin.form=self_scaling and model.margin.m0=8" in finding.changes[0]
    assert "would have to be 26 nats" in finding.changes[0]  # 2 · 9.3 + ln(127 · 9)


def test_a_margin_that_scores_do_not_outweigh_may_still_be_too_small_for_the_number_of_keys_outside():
    """Scores within ±0.8 and a margin of 2 nats: 1.6 nats of lead, and ln(127 · 9) = 7.04 for nine tenths of
    attention against 127 keys. From 8.64 on it is not the margin.
    """
    mass = (0.25, 0.3, 0.4, 0.5, 0.6, 0.65)
    small = replace(FIXED, margin=MarginConfig(nats=2.0), largest=0.8)
    finding = only(replace(HEALTHY, dial=dial(mass=mass), scores=small))
    assert "m = 2 nats, while scores reach |s| = 0.8" in finding.causes[0]
    assert (
        "lead by up to 1.6 nats, and 127 such keys for one inside count as 4.8 nats more" in finding.causes[0]
    )
    assert "a fixed margin alone would have to be 9 nats" in finding.changes[0]  # 1.6 + ln(127 · 9)
    enough = replace(small, margin=MarginConfig(nats=8.7))
    assert not any(
        "margin is too small" in cause
        for cause in only(replace(HEALTHY, dial=dial(mass=mass), scores=enough)).causes
    )


def test_with_a_score_cap_the_margin_that_would_do_is_named():
    """2 · 5 nats between capped scores, and ln(127 · 9) = 7.04 beyond: 18."""
    mass = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    finding = only(
        replace(
            HEALTHY,
            dial=dial(mass=mass),
            scores=replace(FIXED, largest=4.9, limit=5.0, limit_name="model.score_cap"),
        )
    )
    assert "m = 8 nats, while scores reach |s| = 4.9" in finding.causes[0]
    assert finding.changes[0].startswith("raise model.margin.nats to 18, or lower model.score_cap (5)")
    normed = replace(FIXED, largest=5.9, limit=6.0, limit_name="model.g_max", keys_outside=255)
    finding = only(replace(HEALTHY, dial=dial(mass=mass), scores=normed))
    assert "and 255 such keys for one inside count as 5.5 nats more" in finding.causes[0]
    assert finding.changes[0].startswith(
        "raise model.margin.nats to 20, or lower model.g_max (6)"
    )  # 12 + ln(255 · 9)
    assert "outgrow" not in finding.changes[0]


def test_entropy_above_what_blocks_allow_is_enough():
    finding = only(replace(HEALTHY, dial=dial(entropy=(3.0, 2.7, 2.4, 2.1, 1.8, 1.5))))
    assert finding.name == signatures.STAYS_HIGH
    assert "below 0.9" not in finding.seen
    uniform_inside = dial(
        entropy=(3.0, 2.5, 2.2, 2.0, 1.7, 1.381)
    )  # as dead heads have it, the rest of the window at e^−12
    assert diagnose(replace(HEALTHY, dial=uniform_inside)).findings == ()


@pytest.mark.parametrize(
    ("scores", "blocks", "cause", "change"),
    [
        (
            replace(FIXED, largest=0.4),
            BlockFacts(1.38, 0.95),
            "Blocks are incoherent: ρ_max = 0.95",
            "another partition",
        ),
        (
            replace(FIXED, largest=0.4, shares=(0.25, 1.0)),
            BlockFacts(1.38, 0.4),
            "a layer gets only 0.25 of the margin",
            "layer_beta=0",
        ),
        (
            replace(FIXED, margin=MarginConfig("self_scaling", c=0.5)),
            BlockFacts(1.38),
            "has c = 0.5 below 1",
            "model.margin.c=1",
        ),
        (
            replace(FIXED, margin=MarginConfig("self_scaling", m0=7.0)),
            BlockFacts(1.38),
            "has m0 = 7 nats",
            "raise model.margin.m0 to 8",
        ),
        (None, BlockFacts(1.38, None, "there are 2 blocks"), "ρ_max is undefined (there are 2 blocks)", None),
    ],
)
def test_other_causes_of_attention_outside(scores, blocks, cause, change):
    finding = only(
        replace(HEALTHY, dial=dial(mass=(0.2, 0.3, 0.4, 0.5, 0.6, 0.7)), scores=scores, blocks=blocks)
    )
    assert any(cause in text for text in (finding.causes if change else finding.notes))
    assert "The margin is too small" not in " ".join(finding.causes)
    assert any(change in text for text in finding.changes) if change else finding.changes == ()


@pytest.mark.parametrize(
    ("training", "cause", "change"),
    [
        (TrainingFacts("fixed", 1.0, 8.0), "trained at λ = 1 alone", "locality.mode=conditional"),
        (TrainingFacts("curriculum", 0.6, 8.0), "last at λ = 0.6 (curriculum)", "locality.mode=conditional"),
        (TrainingFacts("conditional", 0.0, 8.0), "drew too rarely", "draw these λ more often"),
    ],
)
def test_quality_that_collapses_on_the_dial_is_put_down_to_training(training, cause, change):
    training = replace(HEALTHY.training, mode=training.mode, lam=training.lam)
    finding = only(replace(HEALTHY, dial=dial(perplexity=(123, 88, 70, 61.5, 58.3, 57.7)), training=training))
    assert finding.name == signatures.COLLAPSES
    assert (
        "57.7 at λ = 1 and 123 at λ = 0, 2.13 times as much; it is above 1.3 times the best, rising to 1.8 "
        in finding.seen
    )
    assert "inside the blocks, at λ = 0, 0.2." in finding.seen
    assert cause in finding.causes[0]
    assert change in finding.changes[0]


def test_dead_heads_and_the_penalty_that_killed_them_are_named():
    """Living heads have higher thresholds than those that died, so λη has to go far below what it was,
    whatever their median.
    """
    killed = PenaltyFacts(3, 8, "proximal", 0.02, stationarity=0.004, share_above=0.75, predicted=7.1)
    found = diagnose(
        replace(
            HEALTHY,
            penalty=killed,
            attention_cost=((0.0, 0.02), (1.0, -0.01)),
            dial=dial(perplexity=(50, 60, 70, 80, 90, 99)),
        )
    )
    assert [finding.name for finding in found.findings] == [
        signatures.COLLAPSES,
        signatures.UNUSED,
        signatures.DEAD_HEADS,
    ]
    for finding in found.findings:
        causes = " ".join(finding.causes)
        assert ("3 of 8 heads are dead." in causes) == (
            finding.name != signatures.DEAD_HEADS
        )  # which has seen just that
        assert "λη = 0.02 (proximal). A zero group stays zero from λη = 0.004 on" in causes
        assert (
            "at or above it for 75% of the groups in heads that live. The papers' formula puts the threshold"
            " at 7.1." in causes
        )
        assert finding.changes == (
            "lower penalty.eta, so that λη stays far below 0.02, and keep penalty.ramp=true",
        )
    assert (
        "changes perplexity by +2.0 % at λ = 0 and −1.0 % at λ = 1; at least +10% is expected"
        in found.findings[1].seen
    )
    weak_now = replace(killed, level=1e-4, stationarity=0.00158, share_above=0.0)
    assert (
        "far below 0.0001" in only(replace(HEALTHY, penalty=weak_now)).changes[0]
    )  # and not below 0.00158, 16 times what it was


def test_a_penalty_above_the_thresholds_of_living_heads_is_to_go_below_them():
    strong = PenaltyFacts(0, 8, "proximal", 0.02, stationarity=0.004, share_above=0.75)
    finding = only(replace(HEALTHY, penalty=strong, dial=dial(perplexity=(50, 60, 70, 80, 90, 99))))
    assert finding.changes == ("lower penalty.eta, so that λη stays below 0.004, and keep penalty.ramp=true",)


@pytest.mark.parametrize(
    ("penalty", "note"),
    [
        (
            PenaltyFacts(0, 8, "proximal", 0.001, stationarity=0.004, share_above=0.0),
            "at or above it for 0% of the groups",
        ),
        (
            PenaltyFacts(0, 8, "subgradient", 1e-6),
            "Whether that is above its thresholds is not known.",
        ),  # scale-free
        (
            PenaltyFacts(0, 8, "proximal", 0.0, stationarity=0.004, share_above=0.0),
            None,
        ),  # that of the values alone, or at λ = 0
    ],
)
def test_a_penalty_that_is_weak_or_of_unknown_strength_hides_no_other_cause(penalty, note):
    finding = only(replace(HEALTHY, penalty=penalty, dial=dial(perplexity=(50, 60, 70, 80, 90, 99))))
    assert "drew too rarely" in finding.causes[0] and len(finding.causes) == 1
    assert "draw these λ more often" in finding.changes[0] and len(finding.changes) == 1
    assert note is None or note in finding.notes[0]
    assert (note is None) == (finding.notes == ())
    unused = only(replace(HEALTHY, penalty=penalty, attention_cost=((0.0, 0.02), (1.0, 0.01))))
    assert "too little training" in unused.causes[0]


def test_flat_heads_are_named_with_the_penalty_or_the_lack_of_training():
    """Weights near 0, but not 0: the stationarity threshold of such heads is near 0 too, and no mark to stay
    below.
    """
    flat = PenaltyFacts(1, 8, "subgradient", 0.02, stationarity=1e-9, share_above=1.0, flat_heads=6)
    high = dial(entropy=(3.0, 2.7, 2.4, 2.1, 1.8, 1.5))
    still = replace(HEALTHY.scores, largest=0.01, delta_zero=-0.01)
    found = {
        one.name: one for one in diagnose(replace(HEALTHY, penalty=flat, dial=high, scores=still)).findings
    }
    assert set(found) == {signatures.STAYS_HIGH, signatures.DEAD_HEADS}
    finding = found[signatures.DEAD_HEADS]
    assert finding.seen.startswith("1 of 8 heads has W_Q = W_K = 0")
    assert "6 of 8 heads have no score that reaches 0.1 nats on the text read" in finding.seen
    assert finding.changes == (
        "lower penalty.eta, so that λη stays far below 0.02, and keep penalty.ramp=true",
    )
    spread = found[signatures.STAYS_HIGH]
    said = " ".join(spread.causes)
    assert (
        "6 of 8 heads score all keys alike (no score reaches 0.1 nats), and 1 of 8 heads is dead; such heads"
        " spread" in said
    )
    assert "λη = 0.02 (subgradient)" in said
    assert "ρ_max = 0.40" in " ".join(spread.notes) and "not the cause" not in " ".join(spread.notes)
    assert "trail" not in said + " ".join(spread.notes)
    assert spread.changes == finding.changes


@pytest.mark.parametrize(
    ("penalty", "cause", "change"),
    [
        (
            PenaltyFacts(0, 8, flat_heads=8),
            "too little training",
            "train longer, with a higher learning rate",
        ),
        (
            PenaltyFacts(0, 8, "subgradient", 1e-9, 0.002, 0.0, flat_heads=1),
            "too little training",
            "train longer, with a higher learning rate",
        ),
        (
            PenaltyFacts(0, 8, "subgradient", 0.1, flat_heads=1),
            "too little training",
            "or with a lower penalty.eta",
        ),
        (PenaltyFacts(1, 8), "Why heads are dead is not known", "train again from the start"),
    ],
)
def test_idle_heads_that_no_penalty_explains(penalty, cause, change):
    finding = only(replace(HEALTHY, penalty=penalty))
    assert len(finding.causes) == len(finding.changes) == 1
    assert cause in finding.causes[0] and change in finding.changes[0]


def test_a_few_idle_heads_do_not_explain_attention_outside_or_a_collapse():
    """Their attention is the most local there is under a margin of 8 nats: .9 of it inside, against 127 keys
    outside.
    """
    few = PenaltyFacts(0, 8, flat_heads=1)
    found = diagnose(
        replace(HEALTHY, penalty=few, scores=FIXED, dial=dial(mass=(0.2, 0.3, 0.4, 0.5, 0.55, 0.59)))
    ).findings
    spread = next(one for one in found if one.name == signatures.STAYS_HIGH)
    assert len(spread.causes) == len(spread.changes) == 1 and "margin" in spread.causes[0]
    found = diagnose(replace(HEALTHY, penalty=few, dial=dial(perplexity=(50, 60, 70, 80, 90, 99)))).findings
    collapse = next(one for one in found if one.name == signatures.COLLAPSES)
    assert "drew too rarely" in collapse.causes[0] and collapse.changes
    assert collapse.notes == ("1 of 8 heads scores all keys alike (no score reaches 0.1 nats).",)


def test_tiny_blocks_are_asked_for_their_mass_alone():
    """A query that has hardly a key but itself: .97 of attention inside is local, whatever the rest adds to
    an entropy of nearly 0.
    """
    tiny = BlockFacts(0.1, 0.99)
    facts = replace(
        HEALTHY,
        blocks=tiny,
        dial=dial(entropy=(3.0, 2.4, 1.9, 1.4, 0.9, 0.35), mass=(0.1, 0.3, 0.5, 0.7, 0.85, 0.97)),
    )
    assert diagnose(facts).findings == ()
    finding = only(replace(facts, attention_cost=((0.0, 1.4), (1.0, 0.01))))
    assert finding.causes == ("Inside its block a query has hardly a key but itself: 1.1 (geometric mean).",)
    assert "larger blocks" in finding.changes[0]
    unused_everywhere = only(replace(facts, attention_cost=((0.0, 0.05), (1.0, 0.01))))
    assert "too little training" in unused_everywhere.causes[0]


def test_a_model_that_is_poor_where_it_was_trained_is_not_told_to_stay_there():
    training = replace(HEALTHY.training, mode="fixed", lam=0.6)
    at_home = replace(HEALTHY, training=training, dial=dial(perplexity=(50, 50, 50, 100, 50, 50)))
    finding = only(at_home)
    assert finding.causes[0].startswith("It is poor where it was trained, at λ = 0.6 alone")
    assert "other λ" not in " ".join(finding.causes) and "whole dial" not in " ".join(finding.changes)
    elsewhere = only(replace(at_home, dial=dial(perplexity=(50, 50, 50, 100, 100, 50))))
    assert elsewhere.causes[0] == "The model was trained at λ = 0.6 alone, and is read at other λ."


def test_training_that_converges_early_and_generalises_badly():
    losses = ((0.5, 8.0), (1.0, 5.0), (2.0, 4.05), (5.0, 4.0), (9.0, 4.0))
    training = replace(
        HEALTHY.training, mode="fixed", losses=losses, train_perplexity=50.0, validation_perplexity=100.0
    )
    finding = only(replace(HEALTHY, training=training))
    assert finding.name == signatures.OVERFITS
    assert (
        "after 2.0 of 8.0 epochs, and perplexity is 100 on the validation split against 50 on the training"
        " split, 2.00 times" in finding.seen
    )
    assert "locality.mode=curriculum, lam=1, views=1, distill=0" in finding.changes[1]
    assert (
        diagnose(replace(HEALTHY, training=replace(training, losses=losses[:3]))).findings == ()
    )  # still falling when it ended
    hard = only(replace(HEALTHY, training=training, scores=ScoreFacts(None, (1.0, 1.0))))
    assert not any("curriculum" in text for text in hard.changes)
    late = ((0.5, 8.0), (2.0, 6.0), (5.0, 4.1), (9.0, 4.0))
    assert diagnose(replace(HEALTHY, training=replace(training, losses=late))).findings == ()
    assert diagnose(replace(HEALTHY, training=replace(training, validation_perplexity=74.0))).findings == ()
    curriculum = only(replace(HEALTHY, training=replace(training, mode="curriculum")))
    assert not any("curriculum" in text for text in curriculum.changes)


def test_generalisation_is_judged_as_surely_as_it_was_measured():
    losses = ((0.5, 8.0), (1.0, 5.0), (2.0, 4.05), (5.0, 4.0), (9.0, 4.0))
    measured = replace(
        HEALTHY.training,
        losses=losses,
        train_perplexity=50.0,
        validation_perplexity=80.0,
        windows=(256, 128),
        ratio_error=0.01,
    )
    sure = diagnose(replace(HEALTHY, training=measured))
    assert [finding.name for finding in sure.findings] == [signatures.OVERFITS]
    assert "(128 and 256 windows), 1.60 times as much, give or take 2%." in sure.findings[0].seen
    assert sure.notes == (
        "Validation perplexity is 1.60 times that of the training text, on 128 and 256 windows spread over the"
        " splits, give or take 2%.",
    )
    for error, said in ((0.04, "give or take 8%"), (None, "one batch cannot say how sure that is")):
        unsure = diagnose(replace(HEALTHY, training=replace(measured, ratio_error=error)))
        assert unsure.findings == ()
        assert any(said in text and "--batches" in text for text in unsure.not_assessed)
    low = replace(measured, validation_perplexity=60.0, ratio_error=0.5)
    assert signatures.OVERFITS in diagnose(replace(HEALTHY, training=low)).passed


def test_the_error_of_a_mean_is_that_of_batches_without_replacement():
    losses, targets = [1.0, 2.0, 4.0], [10, 10, 20]
    found = SplitLoss.of(losses, targets, windows=12, whole=48)
    assert found.mean == pytest.approx((10 + 20 + 80) / 40)
    assert found.error == pytest.approx(np.std(losses, ddof=1) / math.sqrt(3) * math.sqrt(0.75))
    assert SplitLoss.of(losses, targets, 48, 48).error == 0.0
    assert SplitLoss.of([1.0], [10], 4, 48).error is None


@pytest.mark.parametrize(
    ("losses", "epoch"),
    [
        (((1.0, 8.0), (2.0, 4.0), (3.0, 6.0), (4.0, 4.1), (5.0, 4.0)), 4.0),  # it has to stay down
        (((1.0, 8.0), (2.0, 7.0)), None),  # it falls to the end
        (((1.0, 4.0), (2.0, 4.0)), 1.0),  # nothing falls
        (((1.0, 4.0),), 1.0),
    ],
)
def test_when_training_converged(losses, epoch):
    assert signatures.converged_at(losses) == epoch


@pytest.mark.parametrize(
    ("changes", "text", "cause", "change"),
    [
        (
            {"entropy": (3.0, 1.7, 1.5, 1.2, 0.9, 0.6)},
            "The step from λ = 0 to 0.2 carries 54% of the change in entropy, more than 40%.",
            (
                "(self-scaling, c = 1, m0 = 8, scores reaching |s| = 6.0 at λ = 1) bites at small λ: at λ ="
                " 0.2 it imposes 0.04 of itself."
            ),
            "raise model.margin.power above 2",
        ),
        (
            {"mass": (0.2, 0.25, 0.3, 0.45, 0.5, 0.99)},
            "The step from λ = 0.8 to 1 carries 62% of the change in block mass, more than 40%.",
            "up to λ = 0.8, where it imposes 0.64 of itself, and then give way at once.",
            (
                "press with locality.pressure (0.07 in the preset certified), lower model.margin.power below"
                " 2, raise model.margin.linear above 0, or draw"
            ),
        ),
    ],
)
def test_a_dial_with_one_large_step_is_not_graded(changes, text, cause, change):
    finding = only(
        replace(
            HEALTHY,
            dial=dial(**changes),
            scores=replace(HEALTHY.scores, margin=MarginConfig("self_scaling", power=2.0)),
        )
    )
    assert (finding.name, finding.seen) == (signatures.NOT_GRADED, text)
    assert cause in finding.causes[0]
    assert change in finding.changes[0]


def test_what_is_advised_where_scores_hold_out_depends_on_the_training():
    late = replace(HEALTHY, dial=dial(mass=(0.2, 0.25, 0.3, 0.45, 0.5, 0.99)))
    pressed = only(replace(late, training=replace(HEALTHY.training, pressure=0.07)))
    assert pressed.changes[0].startswith(
        "raise locality.pressure above 0.07, lower model.margin.power below 1"
    )
    at_one_lam = only(replace(late, training=replace(HEALTHY.training, mode="fixed")))
    assert at_one_lam.changes == ("train for the whole dial: locality.mode=conditional with model.film=true",)


def test_a_bent_range_is_named_where_it_comes_late():
    scores = replace(HEALTHY.scores, margin=MarginConfig("self_scaling", range_bend=4.0))
    finding = only(replace(HEALTHY, dial=dial(mass=(0.2, 0.25, 0.3, 0.45, 0.5, 0.99)), scores=scores))
    assert "(self-scaling, c = 1, m0 = 8, range_bend = 4, scores reaching" in finding.causes[0]
    assert ", lower model.margin.range_bend below 4, or draw" in finding.changes[0]
    fixed = replace(scores, margin=MarginConfig("fixed", range_bend=4.0))  # which has no range to bend
    finding = only(replace(HEALTHY, dial=dial(mass=(0.2, 0.25, 0.3, 0.45, 0.5, 0.99)), scores=fixed))
    assert ", lower model.margin.power below 1, or draw" in finding.changes[0]


def test_staggered_heads_are_named_and_never_advised():
    """They make block mass graded, not influence (docs/influence.md)."""
    uneven = dial(mass=(0.2, 0.25, 0.3, 0.45, 0.5, 0.99))
    alike, staggered = (
        only(
            replace(
                HEALTHY,
                dial=uneven,
                scores=replace(HEALTHY.scores, margin=MarginConfig("fixed", stagger=stagger)),
            )
        )
        for stagger in (0.0, 0.5)
    )
    assert "heads one after another, stagger = 0.5" in staggered.causes[0]
    # Ranks from 0 to .6 are turned all the way at .8; the others by (.8 − r/2)/.5, .8 on average.
    assert "up to λ = 0.8, where it imposes 0.92 of itself" in staggered.causes[0]
    assert not any("stagger" in change for change in (*alike.changes, *staggered.changes))
    assert alike.changes


def test_changes_too_small_for_steps_are_left_alone():
    assert diagnose(replace(HEALTHY, dial=dial(entropy=(0.65, 0.6, 0.6, 0.6, 0.6, 0.6)))).findings == ()


def test_discarded_updates():
    finding = only(replace(HEALTHY, training=replace(HEALTHY.training, skipped=3)))
    assert (finding.name, finding.seen[:24]) == (signatures.NON_FINITE, "3 updates were discarded")


def test_what_is_missing_is_named_and_not_guessed():
    found = diagnose(Facts("bare", missing=("ρ_max: not measured",)))
    assert (found.findings, found.passed) == ((), ())
    assert [text.split(":")[0] for text in found.not_assessed] == [*signatures.CHECKS, "ρ_max"]
    assert "no sweep at λ = 0, τ = 1" in found.not_assessed[0]
    assert "no training log (metrics.jsonl)" in found.not_assessed[2]
    coarse = diagnose(replace(HEALTHY, dial=tuple(point for point in HEALTHY.dial if point.lam != 0.4)))
    assert coarse.not_assessed == (f"{signatures.NOT_GRADED}: no sweep at λ = 0.4, τ = 1",)


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (replace(HEALTHY, dial=dial(mass=(0.2, 0.4, 0.55, 0.7, 0.8, 0.9))), None),
        (replace(HEALTHY, dial=dial(mass=(0.2, 0.4, 0.55, 0.7, 0.8, 0.899))), signatures.STAYS_HIGH),
        (replace(HEALTHY, dial=dial(perplexity=(100, 130, 100, 100, 100, 100))), None),
        (replace(HEALTHY, dial=dial(perplexity=(100, 131, 100, 100, 100, 100))), signatures.COLLAPSES),
        (
            replace(HEALTHY, dial=dial(perplexity=(100, 100, 100, 150, 100, 100))),
            None,
        ),  # .7 of attention lies inside: 1.3 + .4 · .5
        (replace(HEALTHY, dial=dial(perplexity=(100, 100, 100, 151, 100, 100))), signatures.COLLAPSES),
        (replace(HEALTHY, dial=dial(perplexity=(100, 100, 100, 100, 100, 179))), None),  # .99 of it
        (replace(HEALTHY, dial=dial(perplexity=(100, 100, 100, 100, 100, 180))), signatures.COLLAPSES),
        (replace(HEALTHY, attention_cost=((0.0, 0.1), (1.0, 0.1))), None),
        (replace(HEALTHY, attention_cost=((0.0, 0.1), (1.0, 0.099))), signatures.UNUSED),
    ],
)
def test_each_side_of_a_threshold(facts, name):
    assert [finding.name for finding in diagnose(facts).findings] == ([name] if name else [])
