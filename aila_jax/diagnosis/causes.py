"""The likely causes of a failure signature, with their figures, what to change, and what was looked at and is
no cause.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aila_jax.config import DialMode, MarginConfig, MarginForm
from aila_jax.diagnosis.facts import (
    FLAT_SCORE,
    BlockFacts,
    Facts,
    PenaltyFacts,
    ScoreFacts,
    TrainingFacts,
)
from aila_jax.model.margin import turned

# ρ_max from which on blocks hardly differ in what attention reads: cos 26°.
MAX_COHERENT_RHO = 0.9
# A layer that imposes less of the margin at λ = 1 is itself a cause.
MIN_SHARE = 0.9
# Block mass that a recommended margin is to guarantee where a query has one key inside its block and as many
# outside as there can be.
TARGET_MASS = 0.9
# Nats by which in-block keys must trail at λ = 0 to be worth a word.
MIN_TRAIL = 0.05
WHOLE_DIAL = "train for the whole dial: locality.mode=conditional with model.film=true"


@dataclass(frozen=True)
class Explanation:
    """What is said of a signature.

    Attributes:
      causes: likely ones, with their figures.
      changes: what to try.
      notes: what was looked at besides, and is no likely cause.
    """

    causes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: "Explanation") -> "Explanation":
        return Explanation(self.causes + other.causes, self.changes + other.changes, self.notes + other.notes)


def outside_causes(facts: Facts, leaks: bool) -> Explanation:
    """Why attention is not local at λ = 1: the margin against the scores, layers without margin, heads that
    attend evenly, incoherent blocks.

    Args:
      leaks: much attention lies outside. Otherwise only its entropy is too high.
    """
    found = Explanation() if facts.scores is None else _margin_causes(facts.scores)
    if (
        facts.penalty is not None and facts.penalty.idle_heads and not leaks
    ):  # of all heads these leave the least outside
        evenly = (
            f"{idle(facts.penalty)}; such heads spread their attention evenly over what the margin leaves"
            " them."
        )
        found += Explanation((evenly,)) + idle_causes(facts.penalty)
    if facts.blocks is not None:
        found += _block_causes(facts.blocks, bool(found.changes))
    if facts.scores is not None:
        found += _score_notes(facts.scores)
    return found


def _block_causes(blocks: BlockFacts, explained: bool) -> Explanation:
    """Whether blocks differ in what attention reads; only a cause where nothing else has `explained` the
    signature.

    Among many blocks, windows above all, two are nearly always alike, so that a high ρ_max alone says little.
    """
    within = (
        ""
        if blocks.within is None
        else f", and a token's cosine with its block's mean is {blocks.within:.2f}"
    )
    if blocks.rho is None:
        unknown = f"Whether blocks are coherent is not known: ρ_max is undefined ({blocks.undefined})."
        return Explanation(notes=(unknown,)) if blocks.undefined else Explanation()
    if explained:
        return Explanation(
            notes=(f"Coherence of the blocks, for the record: ρ_max = {blocks.rho:.2f}{within}.",)
        )
    if blocks.rho > MAX_COHERENT_RHO:
        cause = (
            f"Blocks are incoherent: ρ_max = {blocks.rho:.2f}{within}; two blocks have nearly the same mean"
            " input, so that scores can hardly tell them apart."
        )
        return Explanation(
            (cause,), ("try another partition (segments or classes), or windows of another size",)
        )
    return Explanation(notes=(f"Incoherent blocks are not the cause: ρ_max = {blocks.rho:.2f}{within}.",))


def _margin_causes(scores: ScoreFacts) -> Explanation:
    """The margin against the scores, and the number of keys, that it must outweigh."""
    margin = scores.margin
    if margin is None:
        return Explanation()
    found, reach, beyond = Explanation(), _reach(scores), _beyond(scores)
    if margin.form == MarginForm.FIXED:
        if scores.largest is not None and 2 * scores.largest + beyond > margin.nats:
            cause = (
                f"The margin is too small: m = {margin.nats:g} nats, while scores reach |s| ="
                f" {scores.largest:.1f}, so that a key outside may lead by up to {2 * scores.largest:.1f}"
                f" nats, and {scores.keys_outside} such keys for one inside count as"
                f" {math.log(scores.keys_outside):.1f} nats more{reach}."
            )
            found += Explanation((cause,), (_enough_margin(scores, scores.largest),))
    elif margin.c < 1.0:
        cause = f"The self-scaling margin has c = {margin.c:g} below 1, so scores may outweigh it{reach}."
        found += Explanation(
            (cause,), (f"set model.margin.c=1 and model.margin.m0={math.ceil(beyond)}, or more",)
        )
    elif margin.m0 < beyond:
        cause = (
            f"The self-scaling margin has m0 = {margin.m0:g} nats, too little against {scores.keys_outside}"
            f" keys outside the block{reach}."
        )
        found += Explanation((cause,), (f"raise model.margin.m0 to {math.ceil(beyond)}",))
    least = min(scores.shares)
    if least < MIN_SHARE:
        cause = f"At λ = 1 a layer gets only {least:.2f} of the margin (model.layer_beta)."
        found += Explanation((cause,), ("set model.layer_beta=0",))
    return found


def _beyond(scores: ScoreFacts) -> float:
    """Nats beyond twice the largest score that guarantee `TARGET_MASS`."""
    return math.log(scores.keys_outside * TARGET_MASS / (1 - TARGET_MASS))


def _enough_margin(scores: ScoreFacts, largest: float) -> str:
    """What to change where scores, the largest of them `largest`, outweigh a fixed margin."""
    beyond = _beyond(scores)
    if scores.limit:
        return (
            f"raise model.margin.nats to {math.ceil(2 * scores.limit + beyond)}, or lower {scores.limit_name}"
            f" ({scores.limit:g}): no score exceeds it, so that a margin of twice it and {beyond:.1f} nats"
            f" guarantees a block mass of {TARGET_MASS:g} at τ = 1, in layers that get the whole margin"
        )
    return (
        "use a margin that weights cannot outgrow: model.score_cap=4 and"
        f" model.margin.nats={math.ceil(8 + beyond)} (as the preset certified has), model.qk_norm=true and"
        " model.g_max=4 with that margin, or model.margin.form=self_scaling and"
        f" model.margin.m0={math.ceil(beyond)}; a fixed margin alone would have to be"
        f" {2 * largest + beyond:.0f} nats, and training would outgrow that too"
    )


def _reach(scores: ScoreFacts) -> str:
    """δ at λ = 1, as the end of a sentence."""
    if scores.delta_one is None or scores.delta_share is None:
        return ""
    way = "lead" if scores.delta_one >= 0 else "trail"
    return (
        f"; with the margin in-block keys {way} by {abs(scores.delta_one):.1f} nats on average, and lead for"
        f" {scores.delta_share:.0%} of the queries"
    )


def _score_notes(scores: ScoreFacts) -> Explanation:
    """What is guaranteed, and what the margin has to make up for."""
    notes = []
    if scores.guaranteed is not None and scores.bound is not None:
        notes.append(
            f"No text's scores exceed S = {scores.bound:.1f} (bound: {scores.bound_name}), which guarantees a"
            f" block mass of {scores.guaranteed:.2g} at least."
        )
    if scores.delta_zero is not None and scores.delta_zero <= -MIN_TRAIL:
        notes.append(
            f"Without the dial in-block keys trail by {-scores.delta_zero:.1f} nats (δ at λ = 0), which the"
            " margin has to make up for."
        )
    return Explanation(notes=tuple(notes))


def idle(penalty: PenaltyFacts) -> str:
    """How many heads attend evenly, without a full stop."""
    said = []
    if penalty.flat_heads:
        scores = "scores" if penalty.flat_heads == 1 else "score"
        said.append(
            f"{penalty.flat_heads} of {penalty.heads} heads {scores} all keys alike (no score reaches"
            f" {FLAT_SCORE:g} nats)"
        )
    if penalty.dead_heads:
        said.append(
            f"{penalty.dead_heads} of {penalty.heads} heads {'is' if penalty.dead_heads == 1 else 'are'} dead"
        )
    return ", and ".join(said)


def idle_causes(penalty: PenaltyFacts) -> Explanation:
    """Why heads attend evenly: the penalty where it is strong enough, else too little training; of dead ones
    it is not known then.
    """
    found = penalty_causes(penalty)
    if found.causes:
        return found
    if penalty.dead_heads:
        found += Explanation(
            (
                (
                    "Why heads are dead is not known: at the end of training no penalty acted on queries and"
                    " keys."
                ),
            ),
            ("train again from the start, since a head that is dead gets no gradient",),
        )
    if penalty.flat_heads:
        weaker = ", or with a lower penalty.eta" if penalty.acts and penalty.share_above is None else ""
        found += Explanation(
            ("Flat heads may have had too little training for queries and keys to matter.",),
            (f"train longer, with a higher learning rate{weaker}",),
        )
    return found


def penalty_causes(penalty: PenaltyFacts | None) -> Explanation:
    """The penalty beside its thresholds: a cause where it is at or above most of them or has killed heads,
    else a note.
    """
    if penalty is None or not penalty.acts:
        return Explanation()
    text = f"The penalty acts with λη = {penalty.level:.3g} ({penalty.solver})."
    if penalty.stationarity is not None and penalty.share_above is not None:
        text += (
            f" A zero group stays zero from λη = {penalty.stationarity:.3g} on (stationarity threshold,"
            f" median): the penalty is at or above it for {penalty.share_above:.0%} of the"
            f" groups{' in heads that live' if penalty.dead_heads else ''}."
        )
    elif not penalty.dead_heads:
        text += " Whether that is above its thresholds is not known."
    if penalty.predicted is not None:
        text += f" The papers' formula puts the threshold at {penalty.predicted:.3g}."
    if not penalty.dead_heads and (penalty.share_above is None or penalty.share_above < 0.5):
        return Explanation(notes=(text,))
    # A penalty that emptied heads was too strong for them, though those that live have higher thresholds now.
    # And where heads are flat the threshold is no mark any more: the gradient of queries that are near 0
    # grows with the keys, which are near 0 too.
    named = (
        penalty.stationarity is not None and penalty.level >= penalty.stationarity and not penalty.idle_heads
    )
    target = f"below {penalty.stationarity:.3g}" if named else f"far below {penalty.level:.3g}"
    return Explanation(
        (text,), (f"lower penalty.eta, so that λη stays {target}, and keep penalty.ramp=true",)
    )


def _penalty_and_idle(penalty: PenaltyFacts | None) -> Explanation:
    """The same, with the heads that attend evenly: beside a cause, or a note."""
    found = penalty_causes(penalty)
    if penalty is None or not penalty.idle_heads:
        return found
    said = (f"{idle(penalty)}.",)
    return (Explanation(said) if found.causes else Explanation(notes=said)) + found


def poor_dial_causes(facts: Facts, poor: Sequence[float]) -> Explanation:
    """Why perplexity is poor at the λ `poor`: training at another λ, or the penalty."""
    found = _penalty_and_idle(facts.penalty)
    training = facts.training
    if training is None:
        return found
    if training.mode == DialMode.CONDITIONAL:
        if found.causes:
            return found
        cause = (
            "It was trained for every λ (conditional), so the λ above are those that training drew too"
            " rarely."
        )
        change = (
            "draw these λ more often (locality.power, at_zero, at_one), show λ to the network (model.film),"
            " or train longer"
        )
        return Explanation((cause,), (change,)) + found
    if any(abs(lam - training.lam) > 1e-9 for lam in poor):
        return (
            Explanation(
                (f"The model was trained {_trained_at(training)}, and is read at other λ.",), (WHOLE_DIAL,)
            )
            + found
        )
    cause = (
        f"It is poor where it was trained, {_trained_at(training)}: too little training, or a text that needs"
        " what lies outside the blocks."
    )
    return (
        found
        if found.causes
        else Explanation((cause,), ("train longer, take larger blocks, or lower locality.lam",)) + found
    )


def _trained_at(training: TrainingFacts) -> str:
    return (
        f"at λ = {training.lam:.2g} alone"
        if training.mode == DialMode.FIXED
        else f"last at λ = {training.lam:.2g} (curriculum)"
    )


def unused_causes(facts: Facts, at_one_alone: bool) -> Explanation:
    """Why attention is hardly used; `at_one_alone`: at λ = 1, and more at 0."""
    found = _penalty_and_idle(facts.penalty)
    if found.causes:
        return found
    if at_one_alone and facts.blocks is not None and facts.blocks.tiny:
        cause = (
            f"Inside its block a query has hardly a key but itself: {2**facts.blocks.entropy_bits:.1f}"
            " (geometric mean)."
        )
        return Explanation((cause,), ("take larger blocks (partition.size)",)) + found
    cause = (
        "Predictions rest on the token itself: too little training for attention to matter, or too narrow"
        " heads."
    )
    change = (
        "train longer or with a higher learning rate; compare perplexity with the bigram baseline of the"
        " sweep"
    )
    return Explanation((cause,), (change,)) + found


def not_graded_causes(facts: Facts, starts: Sequence[float], step: float) -> Explanation:
    """Why steps of λ, those from `starts` on, do most of the work: the margin bites at once, or late."""
    scores = facts.scores
    if scores is None or scores.margin is None:
        change = (
            "bend the margin with model.margin.power: above 1 makes the steps near λ = 0 finer, below 1 those"
            " near λ = 1"
        )
        return Explanation(changes=(change,))
    margin = scores.margin
    bent = (
        f", range_bend = {margin.range_bend:g}"
        if margin.form == MarginForm.SELF_SCALING and margin.range_bend > 1.0
        else ""
    )
    said = (
        f"{margin.nats:g} nats"
        if margin.form == MarginForm.FIXED
        else f"self-scaling, c = {margin.c:g}, m0 = {margin.m0:g}{bent}"
    )
    if margin.stagger:
        said += f", heads one after another, stagger = {margin.stagger:g}"
    if scores.largest is not None:
        said += f", scores reaching |s| = {scores.largest:.1f} at λ = 1"
    early = [before for before in starts if before < 0.5 - step / 2]
    late = [before for before in starts if before >= 0.5 - step / 2]
    found = Explanation()
    if early:
        found += _bites_early(margin, said, min(early) + step)
    if late:
        found += _gives_way_late(margin, said, min(late), bool(bent), facts.training)
    return found


def _bites_early(margin: MarginConfig, said: str, after: float) -> Explanation:
    cause = (
        f"The margin ({said}) bites at small λ: at λ = {after:g} it imposes {_mean_share(margin, after):.2f}"
        " of itself."
    )
    straight = (
        f"lower model.margin.linear below {margin.linear:g}, "
        if margin.power > 1.0 and margin.linear > 0.0
        else ""
    )
    bend = (
        ""
        if margin.power > 1.0 and margin.linear == 1.0
        else f"raise model.margin.power above {margin.power:g}, "
    )
    return Explanation((cause,), (f"{straight}{bend}or choose a smaller margin",))


def _gives_way_late(
    margin: MarginConfig, said: str, before: float, bent: bool, training: TrainingFacts | None
) -> Explanation:
    cause = (
        f"Scores hold out against the margin ({said}) up to λ = {before:g}, where it imposes"
        f" {_mean_share(margin, before):.2f} of itself, and then give way at once."
    )
    if training is not None and training.mode != DialMode.CONDITIONAL:
        return Explanation((cause,), (WHOLE_DIAL,))
    now = training.pressure if training is not None else 0.0
    press = (
        f"raise locality.pressure above {now:g}"
        if now
        else "press with locality.pressure (0.07 in the preset certified)"
    )
    lower = f"lower model.margin.range_bend below {margin.range_bend:g}, " if bent else ""
    if not bent and not (margin.power > 1.0 and margin.linear == 1.0):
        lower = f"lower model.margin.power below {margin.power:g}, "
    more = (
        f"raise model.margin.linear above {margin.linear:g}, "
        if margin.power > 1.0 and margin.linear < 1.0
        else ""
    )
    return Explanation(
        (cause,), (f"{press}, {lower}{more}or draw the λ of this step more often in training",)
    )


def _mean_share(margin: MarginConfig, lam: float) -> float:
    """The share of the margin imposed at λ, mean over many heads."""
    return float(np.mean(margin.share(turned(lam, np.linspace(0.0, 1.0, 201), margin.stagger, np))))
