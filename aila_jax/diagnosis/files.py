"""A diagnosis as text for people and as JSON."""

import dataclasses
import json
import math
import textwrap
from pathlib import Path
from typing import Any

from aila_jax.diagnosis.diagnose import Diagnosis
from aila_jax.diagnosis.facts import Facts
from aila_jax.diagnosis.signatures import Finding
from aila_jax.files import write_atomically

FORMAT = "aila_jax diagnosis, version 1"
WIDTH = 120


def describe_diagnosis(diagnosis: Diagnosis) -> str:
    """The findings one after another, then what was checked without a finding, and what could not be
    assessed.
    """
    count = len(diagnosis.findings)
    lines = [
        f"{diagnosis.run}: "
        + (
            f"{count} failure signature{'s' if count > 1 else ''} found."
            if count
            else "healthy, no failure signature found."
        )
    ]
    for number, finding in enumerate(diagnosis.findings, start=1):
        lines += ["", *_finding(number, finding)]
    if diagnosis.passed:
        lines += ["", *_wrapped(f"Checked without a finding: {'; '.join(diagnosis.passed)}.")]
    lines += [line for reason in diagnosis.not_assessed for line in _wrapped(f"Not assessed: {reason}.")]
    lines += [line for note in diagnosis.notes for line in _wrapped(f"Measured: {note}")]
    return "\n".join(lines)


def _finding(number: int, finding: Finding) -> list[str]:
    name = finding.name[0].upper() + finding.name[1:]
    causes = finding.causes or ("none that this program looks for.",)
    lines = [f"{number}. {name}.", *_wrapped(finding.seen, "   ")]
    lines += [line for cause in causes for line in _wrapped(f"Likely cause: {cause}", "   ")]
    lines += [line for change in finding.changes for line in _wrapped(f"To change: {change}.", "   ")]
    return lines + [line for note in finding.notes for line in _wrapped(f"Note: {note}", "   ")]


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def write_diagnosis(diagnosis: Diagnosis, facts: Facts, meta: dict[str, Any], directory: str | Path) -> Path:
    """Writes `diagnosis.json`: the findings, what was and was not assessed, the facts that they rest on, and
    what made them.

    Facts that are not finite, as those of a diverged run, are null.
    """
    document = {
        "format": FORMAT,
        **dataclasses.asdict(diagnosis),
        "facts": _finite(dataclasses.asdict(facts)),
        "meta": meta,
    }
    path = Path(directory) / "diagnosis.json"
    write_atomically(
        path, (json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1) + "\n").encode("utf-8")
    )
    return path


def _finite(value: Any) -> Any:
    """The same with None for numbers that JSON has no word for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
