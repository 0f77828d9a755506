"""Which of the papers' failure signatures a run shows, the likely causes with their figures, and what to
change.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aila_jax.cards import Card, Shown, count
from aila_jax.columns import to_pandas
from aila_jax.diagnosis.facts import Facts
from aila_jax.diagnosis.signatures import CHECKS, SURE, Finding, NotAssessed

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, repr=False)
class Diagnosis(Shown):
    """The result: `findings`, empty for a run that shows none of the signatures; `passed`, the checks that
    found nothing; `not_assessed`, those that lacked a fact, and facts that were missing, in words; `notes`,
    what was measured, of how much text and how surely.
    """

    run: str
    findings: tuple[Finding, ...]
    passed: tuple[str, ...]
    not_assessed: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_pandas(self) -> "DataFrame":
        """A line for each finding."""
        return to_pandas(Finding, self.findings)

    def card(self) -> Card:
        facts = {finding.name: finding.seen for finding in self.findings[:6]}
        facts["passed"] = "; ".join(self.passed) or "none"
        facts["not assessed"] = "; ".join(self.not_assessed) or "none"
        return Card(f"Diagnosis of {self.run}: {count(len(self.findings), 'finding')}", facts)


def diagnose(facts: Facts) -> Diagnosis:
    """Runs every check. Pure: nothing is measured here, and what is not in `facts` is named, not guessed.

    Source: the first three signatures are the papers', their thresholds and all else ours
      (docs/diagnosis.md).
    """
    findings, passed, not_assessed = [], [], []
    for name, check in CHECKS.items():
        try:
            finding = check(facts)
        except NotAssessed as reason:
            not_assessed.append(f"{name}: {reason}")
            continue
        if finding is None:
            passed.append(name)
        else:
            findings.append(finding)
    return Diagnosis(
        facts.run, tuple(findings), tuple(passed), (*not_assessed, *facts.missing), generalisation(facts)
    )


def generalisation(facts: Facts) -> tuple[str, ...]:
    """Perplexity on the validation split beside that on the training text, where both were measured."""
    training = facts.training
    if training is None or training.train_perplexity is None or training.validation_perplexity is None:
        return ()
    ratio = training.validation_perplexity / training.train_perplexity
    if not math.isfinite(ratio):
        return ()
    windows = training.windows
    read = "" if windows is None else f", on {windows[1]:,} and {windows[0]:,} windows spread over the splits"
    error = training.ratio_error
    sure = f", give or take {SURE * error:.0%}" if error else ""
    return (f"Validation perplexity is {ratio:.2f} times that of the training text{read}{sure}.",)
