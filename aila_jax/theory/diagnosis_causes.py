"""The likely causes of a failure signature, with their figures, and what to change. Each function returns (causes, changes)."""

import math

import numpy as np

from aila_jax.config import MarginConfig
from aila_jax.model.shares import turned
from aila_jax.theory.diagnosis_facts import FLAT_SCORE, BlockFacts, Facts, ScoreFacts

Told = tuple[tuple[str, ...], tuple[str, ...]]

# ρ_max from which on blocks hardly differ in what attention reads: cos 26°.
MOST_COHERENT_RHO = 0.9
# A layer that imposes less of the margin at λ = 1 is itself a cause.
LEAST_SHARE = 0.9
# Block mass that a recommended margin is to guarantee, for a query with as many keys outside its block as there are tokens in a window
# of 128 and one key inside: a margin has to outweigh their number too, not their scores alone.
TARGET_MASS, WORST_ODDS = 0.9, 127.0
# Nats by which in-block keys must trail at λ = 0 to be worth a word.
LEAST_TRAIL = 0.05
WHOLE_DIAL = "train for the whole dial: locality.mode=conditional with model.film=true"


def outside_causes(facts: Facts) -> Told:
    """Why attention lies outside the block at λ = 1: the margin against the scores, layers without margin, incoherent blocks."""
    causes: list[str] = []
    changes: list[str] = []
    if facts.scores is not None:
        _margin_causes(facts.scores, causes, changes)
    idle = facts.penalty is not None and facts.penalty.idle_heads > 0
    if idle:
        why, remedies = idle_causes(facts)
        causes += [f"{_idle(facts)}; such heads spread their attention evenly over what the margin leaves them.", *why]
        changes += remedies
    if facts.blocks is not None:
        _block_causes(facts.blocks, idle or bool(changes), causes, changes)
    delta = None if facts.scores is None else facts.scores.delta_zero
    if delta is not None and delta <= -LEAST_TRAIL:
        causes.append(f"Without the dial in-block keys trail: δ = {delta:.1f} nats at λ = 0, which the margin has to make up for.")
    return tuple(causes), tuple(changes)


def _block_causes(blocks: BlockFacts, explained: bool, causes: list[str], changes: list[str]) -> None:
    """Whether blocks differ in what attention reads; only a cause where nothing else has `explained` the signature.

    Among many blocks, windows above all, two are nearly always alike, so that a high ρ_max alone says little.
    """
    within = "" if blocks.within is None else f", and a token's cosine with its block's mean is {blocks.within:.2f}"
    if blocks.rho is None:
        if blocks.undefined:
            causes.append(f"Whether blocks are coherent is not known: ρ_max is undefined ({blocks.undefined}).")
    elif explained:
        causes.append(f"For the record, coherence of the blocks: ρ_max = {blocks.rho:.2f}{within}.")
    elif blocks.rho > MOST_COHERENT_RHO:
        causes.append(
            f"Blocks are incoherent: ρ_max = {blocks.rho:.2f}{within}; two blocks have nearly the same mean input, so that scores can hardly "
            "tell them apart."
        )
        changes.append("try another partition (segments or classes), or windows of another size")
    else:
        causes.append(f"Incoherent blocks are not the cause: ρ_max = {blocks.rho:.2f}{within}.")


def _margin_causes(scores: ScoreFacts, causes: list[str], changes: list[str]) -> None:
    """The margin against the scores it must outweigh."""
    margin = scores.margin
    if margin is None:
        return
    reach = _reach(scores)
    least = min(scores.shares)
    if margin.form == "fixed":
        if scores.largest is not None and 2 * scores.largest + math.log(WORST_ODDS) > margin.nats:
            causes.append(
                f"The margin is too small: m = {margin.nats:g} nats, while scores reach |s| = {scores.largest:.1f}, so that a key outside may "
                f"lead by up to {2 * scores.largest:.1f} nats, and {WORST_ODDS:g} such keys for one inside count as {math.log(WORST_ODDS):.1f} "
                f"nats more{reach}."
            )
            changes.append(_enough_margin(scores, scores.largest))
    elif margin.c < 1.0:
        causes.append(f"The self-scaling margin has c = {margin.c:g} below 1, so scores may outweigh it{reach}.")
        changes.append("set model.margin.c=1 and model.margin.m0=8, or more")
    elif margin.m0 < math.log(WORST_ODDS):
        causes.append(f"The self-scaling margin has m0 = {margin.m0:g} nats, too little against many keys outside the block{reach}.")
        changes.append("raise model.margin.m0 to 8")
    if least < LEAST_SHARE:
        causes.append(f"At λ = 1 a layer gets only {least:.2f} of the margin (model.layer_beta, model.margin.power).")
        changes.append("set model.layer_beta=0")
    if scores.guaranteed is not None and scores.bound is not None:
        causes.append(
            f"No text's scores exceed S = {scores.bound:.1f} (bound: {scores.bound_name}), which guarantees a block mass of "
            f"{scores.guaranteed:.2g} at least."
        )


def _enough_margin(scores: ScoreFacts, largest: float) -> str:
    """What to change where scores, the largest of them `largest`, outweigh a fixed margin."""
    beyond = math.log(WORST_ODDS * TARGET_MASS / (1 - TARGET_MASS))
    if scores.cap:
        return (
            f"raise model.margin.nats to {math.ceil(2 * scores.cap + beyond)}, or lower model.score_cap ({scores.cap:g}): the cap holds scores, so "
            f"that a margin of twice the cap and {beyond:.0f} nats guarantees a block mass of {TARGET_MASS:g}"
        )
    return (
        "use a margin that weights cannot outgrow: model.score_cap below half the margin (as the preset certified has), "
        "model.margin.form=self_scaling, or model.qk_norm=true with model.g_max below half the margin; a fixed margin alone would have to be "
        f"{2 * largest + beyond:.0f} nats, and training would outgrow that too"
    )


def _reach(scores: ScoreFacts) -> str:
    """δ at λ = 1, as the end of a sentence."""
    if scores.delta_one is None or scores.delta_share is None:
        return ""
    return f"; with the margin in-block keys lead by δ = {scores.delta_one:.1f} nats on average, and for {scores.delta_share:.0%} of the queries"


def _idle(facts: Facts) -> str:
    """How many heads attend evenly, without a full stop."""
    penalty = facts.penalty
    if penalty is None or not penalty.flat_heads:
        return "" if penalty is None else f"{penalty.dead_heads} of {penalty.heads} heads are dead"
    flat = f"{penalty.flat_heads} of {penalty.heads} heads score all keys alike (no score reaches {FLAT_SCORE:g} nats)"
    return flat + (f", and {penalty.dead_heads} are dead" if penalty.dead_heads else "")


def idle_causes(facts: Facts) -> Told:
    """Why heads attend evenly: the penalty, or too little training."""
    causes, changes = penalty_causes(facts, count_idle=False)
    causes = causes or ("There is no penalty on queries and keys that would explain it: perhaps too little training for them to matter.",)
    return causes, changes or ("train longer or with a higher learning rate",)


def penalty_causes(facts: Facts, count_idle: bool = True) -> Told:
    """Whether the penalty is above its thresholds, and, with `count_idle`, how many heads attend evenly; nothing without them."""
    penalty = facts.penalty
    if penalty is None or (penalty.solver == "none" and not penalty.idle_heads):
        return (), ()
    causes: list[str] = []
    if penalty.idle_heads and count_idle:
        causes.append(f"{_idle(facts)}.")
    if penalty.solver != "none":
        text = f"The penalty acts with λη = {penalty.level:.3g} ({penalty.solver})."
        if penalty.stationarity is not None and penalty.share_above is not None:
            text += (
                f" A zero group stays zero from λη = {penalty.stationarity:.3g} on (stationarity threshold, median): the penalty is at or above "
                f"it for {penalty.share_above:.0%} of the groups{' in heads that live' if penalty.dead_heads else ''}."
            )
        if penalty.predicted is not None:
            text += f" The papers' formula puts the threshold at {penalty.predicted:.3g}."
        causes.append(text)
    if penalty.solver == "none" or not (penalty.share_above is None or penalty.share_above >= 0.5 or penalty.idle_heads):
        return tuple(causes), ()
    # A penalty that emptied heads was too strong for them, though those that live have higher thresholds now. And where heads are flat the
    # threshold is no mark any more: the gradient of queries that are near 0 grows with the keys, which are near 0 too.
    named = penalty.stationarity is not None and penalty.level >= penalty.stationarity and not penalty.flat_heads
    target = f"below {penalty.stationarity:.3g}" if named else f"far below {penalty.level:.3g}"
    return tuple(causes), (f"lower penalty.eta, so that λη stays {target}, and keep penalty.ramp=true",)


def poor_dial_causes(facts: Facts) -> Told:
    """Why perplexity is poor somewhere on the dial: training at one λ, or the penalty."""
    causes, changes = penalty_causes(facts)
    training = facts.training
    if training is not None and training.mode != "conditional":
        how = f"at λ = {training.lam:g} alone" if training.mode == "fixed" else f"last at λ = {training.lam:g} (curriculum)"
        causes = (f"The model was trained {how}, and is read at other λ.", *causes)
        changes = (WHOLE_DIAL, *changes)
    elif training is not None and not causes:
        causes = ("It was trained for every λ (conditional), so the λ above are those that training drew too rarely.",)
        changes = ("draw these λ more often (locality.power, at_zero, at_one), show λ to the network (model.film), or train longer",)
    return causes, changes


def not_graded_causes(facts: Facts, before: float, step: float) -> Told:
    """Why one step of λ, that from `before` to `before` + `step`, does most of the work: the margin bites at once, or late."""
    scores = facts.scores
    if scores is None or scores.margin is None:
        return (), ("bend the margin with model.margin.power: above 1 makes the steps near λ = 0 finer, below 1 those near λ = 1",)
    margin, bend = scores.margin, scores.margin.range_bend
    bent = f", range_bend = {bend:g}" if margin.form == "self_scaling" and bend > 1.0 else ""
    said = f"{margin.nats:g} nats" if margin.form == "fixed" else f"self-scaling, c = {margin.c:g}, m0 = {margin.m0:g}{bent}"
    if margin.stagger:
        said += f", heads one after another, stagger = {margin.stagger:g}"
    if scores.largest is not None:
        said += f", scores reaching |s| = {scores.largest:.1f} at λ = 1"
    if before < 0.5 - step / 2:
        cause = (
            f"The margin ({said}) bites at small λ: at λ = {before + step:g} it imposes {_mean_share(margin, before + step):.2f} of itself."
        )
        change = f"raise model.margin.power above {margin.power:g}, or choose a smaller margin"
    else:
        cause = (
            f"Scores hold out against the margin ({said}) up to λ = {before:g}, where it imposes {_mean_share(margin, before):.2f} of itself, "
            "and then give way at once."
        )
        lower = f"model.margin.range_bend below {bend:g}" if bent else f"model.margin.power below {margin.power:g}"
        more = f"raise model.margin.linear above {margin.linear:g}, " if margin.power > 1.0 else ""
        training = facts.training
        if training is not None and training.mode != "conditional":
            return (cause,), (WHOLE_DIAL,)
        now = training.pressure if training is not None else 0.0
        press = f"raise locality.pressure above {now:g}" if now else "press with locality.pressure (0.07 in the preset certified)"
        change = f"{press}, lower {lower}, {more}or draw the λ of this step more often in training"
    return (cause,), (change,)


def _mean_share(margin: MarginConfig, lam: float) -> float:
    """The share of the margin imposed at λ, mean over many heads."""
    return float(np.mean(margin.share(turned(lam, np.linspace(0.0, 1.0, 201), margin.stagger, np))))
