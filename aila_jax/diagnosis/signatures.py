"""The failure signatures that a run may show, each a check of facts: what shows it, the likely causes, and
what to change.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from aila_jax.config import DialMode
from aila_jax.diagnosis.causes import (
    Explanation,
    idle_causes,
    not_graded_causes,
    outside_causes,
    poor_dial_causes,
    unused_causes,
)
from aila_jax.diagnosis.facts import FLAT_SCORE, DialPoint, Facts
from aila_jax.evaluation.attention_cost import MIN_ATTENTION_COST

# Below it attention at λ = 1 is not local: the block mass that `presets.certified_dial` guarantees.
MIN_BLOCK_MASS = 0.9
# Bits above what attention inside blocks can have that are no finding: uniform attention inside has the most,
# and a thousandth outside adds .02.
ENTROPY_SLACK = 0.05
# Perplexity ÷ the dial's best, λ trained for or not. Models trained for every λ stay within 1.18 in this
# project's first results, those trained for a single one lie at 1.59 or above (docs/results/first_dial). As
# attention gathers inside the blocks the context is given up, which costs more the better the model uses it:
# 1.38 and 1.56 where all is inside for models trained for every λ with 4.9M and 18.4M tokens, 1.9 and 2.9 for
# those trained at λ = 0 (docs/results/one_checkpoint). So the limit rises, from half of the mass inside on.
MAX_PERPLEXITY_RATIO, MAX_INSIDE_RATIO = 1.3, 1.8
# The paper's "under 5 epochs".
EARLY_EPOCHS = 5.0
# Converged: the training loss stays within this share of its whole fall above its least value.
CONVERGED_SHARE = 0.05
# Validation ÷ training perplexity from which on a model generalises badly: 0.4 nats. Two splits of one text
# differ by much less.
MAX_GENERALISATION_RATIO = 1.5
# Standard errors of a measured ratio within which a limit counts as not exceeded.
SURE = 2.0
# A dial is graded where no step of STEP carries a larger share of the whole change. Five equal steps carry
# 0.2 each.
STEP, MAX_STEP_SHARE = 0.2, 0.4
# Changes from λ = 0 to 1 that are too small to be divided into steps: bits, and block mass.
MIN_CHANGE = {"entropy_bits": 0.1, "block_mass": 0.05}


class NotAssessed(Exception):
    """A check lacks a fact; the message says which."""


@dataclass(frozen=True)
class Finding:
    """One failure signature that the run shows.

    Attributes:
      name: the signature in a few words.
      seen: the figures that show it.
      causes: likely ones, with their figures.
      changes: what to try.
      notes: what was looked at besides, and is no likely cause.
    """

    name: str
    seen: str
    causes: tuple[str, ...]
    changes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def _finding(name: str, seen: str, explanation: Explanation) -> Finding:
    return Finding(
        name, seen[0].upper() + seen[1:], explanation.causes, explanation.changes, explanation.notes
    )


def _needed(facts: Facts, lam: float) -> DialPoint:
    point = facts.at(lam)
    if point is None:
        raise NotAssessed(f"no sweep at λ = {lam:g}, τ = 1")
    if not (_finite(point.perplexity) and _finite(point.entropy_bits) and _finite(point.block_mass)):
        raise NotAssessed(f"perplexity, entropy or block mass is not finite at λ = {lam:g}")
    return point


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def stays_high(facts: Facts) -> Finding | None:
    """Signature 1: at λ = 1 entropy is above what attention inside blocks can have, or much attention lies
    outside.
    """
    first, last = _needed(facts, 0.0), _needed(facts, 1.0)
    cap = None if facts.blocks is None else facts.blocks.entropy_bits
    leaks = last.block_mass < MIN_BLOCK_MASS
    # In tiny blocks the little that is allowed outside outweighs their own entropy, so that the mass alone is
    # asked for.
    if not leaks and (
        facts.blocks is None
        or facts.blocks.tiny
        or last.entropy_bits <= facts.blocks.entropy_bits + ENTROPY_SLACK
    ):
        return None
    seen = (
        f"At λ = 1 attention has {last.entropy_bits:.2f} bits of entropy (λ = 0: {first.entropy_bits:.2f})"
        f" and {last.block_mass:.2f} of its mass inside the block, below {MIN_BLOCK_MASS:g}."
        if leaks
        else (
            f"At λ = 1 attention has {last.entropy_bits:.2f} bits of entropy (λ = 0:"
            f" {first.entropy_bits:.2f})."
        )
    )
    if cap is not None:
        seen += f" Attention that stayed inside its blocks could have {cap:.2f} bits at most."
    return _finding(STAYS_HIGH, seen, outside_causes(facts, leaks))


def collapses(facts: Facts) -> Finding | None:
    """Signature 2: perplexity somewhere on the dial, moderate λ included, is far above the dial's best."""
    if len(facts.dial) < 2:
        raise NotAssessed("no sweep over λ")
    if not all(_finite(point.perplexity) for point in facts.dial):
        raise NotAssessed("perplexity is not finite everywhere on the dial")
    best = min(facts.dial, key=lambda point: point.perplexity)
    poor = [
        point for point in facts.dial if point.perplexity > _most_ratio(point.block_mass) * best.perplexity
    ]
    if not poor:
        return None
    worst = max(poor, key=lambda point: point.perplexity / _most_ratio(point.block_mass))
    seen = (
        f"Perplexity is {best.perplexity:.4g} at λ = {best.lam:g} and {worst.perplexity:.4g} at λ ="
        f" {worst.lam:g}, {worst.perplexity / best.perplexity:.2f} times as much; it is above"
        f" {MAX_PERPLEXITY_RATIO:g} times the best, rising to {MAX_INSIDE_RATIO:g} times as attention"
        f" gathers inside the blocks, at λ = {', '.join(f'{point.lam:g}' for point in poor)}."
    )
    return _finding(COLLAPSES, seen, poor_dial_causes(facts, [point.lam for point in poor]))


def _most_ratio(block_mass: float) -> float:
    """Perplexity ÷ the dial's best that is allowed where that share of attention lies inside the blocks."""
    gathered = min(max(2.0 * block_mass - 1.0, 0.0), 1.0) if _finite(block_mass) else 0.0
    return MAX_PERPLEXITY_RATIO + (MAX_INSIDE_RATIO - MAX_PERPLEXITY_RATIO) * gathered


def overfits(facts: Facts) -> Finding | None:
    """Signature 3: the training loss is down within `EARLY_EPOCHS`, and validation perplexity far above the
    training text's.
    """
    training = facts.training
    if training is None or not training.losses:
        raise NotAssessed("no training log (metrics.jsonl)")
    if training.train_perplexity is None or training.validation_perplexity is None:
        raise NotAssessed("perplexity on the training and the validation split was not measured")
    if not (_finite(training.train_perplexity) and _finite(training.validation_perplexity)):
        raise NotAssessed("perplexity on the training or the validation split is not finite")
    epoch = converged_at(training.losses)
    ratio = training.validation_perplexity / training.train_perplexity
    if epoch is None or epoch >= EARLY_EPOCHS or ratio <= MAX_GENERALISATION_RATIO:
        return None
    read = (
        "" if training.windows is None else f" ({training.windows[1]:,} and {training.windows[0]:,} windows)"
    )
    error = training.ratio_error
    if error is None or ratio * math.exp(-SURE * error) <= MAX_GENERALISATION_RATIO:
        sure = (
            "and one batch cannot say how sure that is"
            if error is None
            else f"give or take {SURE * error:.0%}"
        )
        raise NotAssessed(
            f"validation perplexity is {ratio:.2f} times that of the training text{read}, {sure}: too little to"
            f" say whether it is above {MAX_GENERALISATION_RATIO:g}; read more with --batches"
        )
    seen = (
        f"The training loss was within {CONVERGED_SHARE:.0%} of its whole fall after {epoch:.1f} of"
        f" {training.epochs:.1f} epochs, and perplexity is {training.validation_perplexity:.4g} on the"
        f" validation split against {training.train_perplexity:.4g} on the training split{read}, {ratio:.2f}"
        f" times as much{f', give or take {SURE * error:.0%}' if error else ''}."
    )
    causes = (
        (
            f"The model fits what is particular to the training text ({training.mode} training); or the"
            " validation text is of another kind."
        ),
    )
    changes = ["raise model.dropout, give more text, or make the model smaller"]
    hard = facts.scores is not None and facts.scores.margin is None
    if training.mode != DialMode.CURRICULUM and not hard:
        last = training.lam if training.mode == DialMode.FIXED and training.lam > 0.0 else 1.0
        changes.append(
            f"let λ rise from 0 (locality.mode=curriculum, lam={last:g}, views=1, distill=0), which the paper"
            f" suggests against early convergence; such a model is trained for λ = {last:g} in the end, not"
            " for the whole dial"
        )
    return _finding(OVERFITS, seen, Explanation(causes, tuple(changes)))


def converged_at(losses: tuple[tuple[float, float], ...]) -> float | None:
    """The epoch from which on the loss stays within `CONVERGED_SHARE` of its whole fall above its least
    value; None where it still falls at the end.
    """
    values = [loss for _, loss in losses]
    level = min(values) + CONVERGED_SHARE * (values[0] - min(values))
    above = [index for index, loss in enumerate(values) if loss > level]
    first = above[-1] + 1 if above else 0
    return losses[first][0] if first == 0 or first < len(losses) - 1 else None


def not_graded(facts: Facts) -> Finding | None:
    """One step of `STEP` carries most of the change in entropy or block mass."""
    points = [_needed(facts, index * STEP) for index in range(round(1 / STEP) + 1)]
    seen, starts = [], []
    for name, unit in (("entropy_bits", "entropy"), ("block_mass", "block mass")):
        whole = getattr(points[-1], name) - getattr(points[0], name)
        if abs(whole) < MIN_CHANGE[name]:
            continue
        share, before, after = max(
            ((getattr(b, name) - getattr(a, name)) / whole, a.lam, b.lam) for a, b in pairwise(points)
        )
        if share > MAX_STEP_SHARE:
            seen.append(
                f"the step from λ = {before:g} to {after:g} carries {share:.0%} of the change in {unit}"
            )
            starts.append(before)
    if not seen:
        return None
    return _finding(
        NOT_GRADED,
        f"{' and '.join(seen)}, more than {MAX_STEP_SHARE:.0%}.",
        not_graded_causes(facts, starts, STEP),
    )


def unused(facts: Facts) -> Finding | None:
    """Removing attention costs little: the dial turns something that predictions hardly need."""
    if not facts.attention_cost:
        raise NotAssessed("perplexity without attention was not measured")
    if not all(_finite(cost) for _, cost in facts.attention_cost):
        raise NotAssessed("perplexity with or without attention is not finite")
    low = [(lam, cost) for lam, cost in facts.attention_cost if cost < MIN_ATTENTION_COST]
    if not low:
        return None
    figures = " and ".join(f"{100 * cost:+.1f} % at λ = {lam:g}".replace("-", "−") for lam, cost in low)
    seen = (
        f"Removing attention from every layer changes perplexity by {figures}; at least"
        f" +{MIN_ATTENTION_COST:.0%} is expected."
    )
    return _finding(UNUSED, seen, unused_causes(facts, at_one_alone=all(lam == 1.0 for lam, _ in low)))


def dead_heads(facts: Facts) -> Finding | None:
    """Heads whose query and key weights are all 0, which average values over A_t, whatever λ, and get no
    gradient; or all but 0.
    """
    penalty = facts.penalty
    if penalty is None:
        raise NotAssessed("query and key weights were not read")
    if not penalty.idle_heads:
        return None
    seen = []
    if penalty.dead_heads:
        seen.append(
            f"{penalty.dead_heads} of {penalty.heads} heads {_have(penalty.dead_heads)} W_Q = W_K = 0:"
            " without biases a dead head never comes back."
        )
    if penalty.flat_heads:
        seen.append(
            f"{penalty.flat_heads} of {penalty.heads} heads {_have(penalty.flat_heads)} no score that reaches"
            f" {FLAT_SCORE:g} nats on the text read, at either end of the dial, and so as good as none:"
            " attention is even."
        )
    return _finding(DEAD_HEADS, " ".join(seen), idle_causes(penalty))


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def non_finite(facts: Facts) -> Finding | None:
    """Updates that were discarded because the loss or a gradient was not finite, or weights with which
    perplexity is not.
    """
    broken = [f"{point.lam:g}" for point in facts.dial if not _finite(point.perplexity)]
    skipped = None if facts.training is None else facts.training.skipped
    if skipped is None and not broken:
        raise NotAssessed("no training log (metrics.jsonl)")
    seen = (
        [
            f"{skipped} {'update was' if skipped == 1 else 'updates were'} discarded because the loss or a"
            " gradient was not finite"
        ]
        if skipped
        else []
    )
    if broken:
        seen.append(f"perplexity is not finite at λ = {', '.join(broken)}")
    if not seen:
        return None
    changes = ("lower train.learning_rate, lengthen train.warmup_steps, or lower train.clip_norm",)
    cause = (
        "Training diverged: no number of this checkpoint can be used."
        if broken
        else "Training is at the edge of diverging."
    )
    return _finding(NON_FINITE, f"{'; '.join(seen)}.", Explanation((cause,), changes))


STAYS_HIGH = "entropy, or attention outside the block, stays high at λ = 1"
COLLAPSES = "quality collapses on the dial"
OVERFITS = "training converges early and generalises badly"
NOT_GRADED = "the dial is not graded"
UNUSED = "attention is hardly used"
DEAD_HEADS = "dead or flat heads"
NON_FINITE = "updates or results that are not finite"
CHECKS: dict[str, Callable[[Facts], Finding | None]] = {
    STAYS_HIGH: stays_high,
    COLLAPSES: collapses,
    OVERFITS: overfits,
    NOT_GRADED: not_graded,
    UNUSED: unused,
    DEAD_HEADS: dead_heads,
    NON_FINITE: non_finite,
}
