"""Which of the papers' failure signatures a run shows, the likely causes with their figures, and what to
change.
"""

from dataclasses import dataclass

from aila_jax.diagnosis.facts import Facts
from aila_jax.diagnosis.signatures import CHECKS, Finding, NotAssessed


@dataclass(frozen=True)
class Diagnosis:
    """The result: `findings`, empty for a run that shows none of the signatures; `passed`, the checks that
    found nothing; `not_assessed`, those that lacked a fact, and facts that were missing, in words.
    """

    run: str
    findings: tuple[Finding, ...]
    passed: tuple[str, ...]
    not_assessed: tuple[str, ...]


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
    return Diagnosis(facts.run, tuple(findings), tuple(passed), (*not_assessed, *facts.missing))
