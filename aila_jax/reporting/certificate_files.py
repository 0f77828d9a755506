"""A certificate on the terminal, as CSV (a row per layer, head and position) and as JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aila_jax import formats
from aila_jax.columns import columns_of
from aila_jax.config import MAX_MARGIN
from aila_jax.evaluation.certificate_rows import HeadCertificate, Heads, head_certificates
from aila_jax.guarantees.certificates import Certificate, CertificateRow
from aila_jax.reporting.tables import Table, csv_text, json_rows, json_text, write_files

FORMAT = "aila_jax certificate, version 1"
EMPIRICAL = (
    "NO GUARANTEE: S is the largest score seen on a corpus; all this holds for texts whose scores stay"
    " within it."
)
SOURCES = {
    "parameters": "the weights",
    "qk_norm": "QK-normalisation",
    "score_cap": "the score cap",
    "self_scaling": "the margin, which scales with them",
    "empirical": "what was seen on a corpus",
    "hard": "nothing: hard attention has no keys outside",
}
# A mass bound is of attention in one layer; what leaves a block there may come back in the next.
ONE_LAYER = (
    "All this is of attention in one layer at a time. What can have influenced a prediction through all of them"
    " is another claim: aila certify --flow, at an exactly hard end."
)
ONE_DOCUMENT = "where another begins in mid-window, without a document mask, its sink sees itself alone."
NON_INTERFERENCE = (
    "EXACTLY HARD: in every layer and head no key outside has any weight, so its content changes nothing there"
    " (non-interference)."
)


def describe_certificate(
    found: Certificate, name: str, target_mass: float, measured: Heads | None = None, one_text: bool = False
) -> str:
    """The certificate as text: what is guaranteed in short, and a line for every head, with the measurement
    where there is one.

    Args:
      one_text: it is of one text alone.
    """
    gap, accompanied = found.gap, found.least_block_mass_accompanied
    blocks = (
        "depend on the tokens: the worst case"
        if found.counts.worst
        else "as in this text"
        if one_text
        else "as in every text"
    )
    lines = [
        f"{name}: λ = {gap.lam:g}, τ = {found.tau:g}, {found.counts.positions} positions",
        f"scores bounded by {SOURCES[gap.bound]}{_in_arithmetic(found)}; blocks {blocks}",
        *([EMPIRICAL] if gap.empirical else []),
        *(["every text is one of one document: " + ONE_DOCUMENT] if found.counts.one_document else []),
        "",
        *(
            [NON_INTERFERENCE]
            if found.non_interfering
            else [
                f"block mass at least       {formats.at_least(found.least_block_mass)}",
                f"  with another key inside {formats.at_least(accompanied)}",
                f"  mean over positions     {formats.at_least(found.mean_block_mass)}",
            ]
        ),
        f"entropy at most (bits)    {formats.at_most(found.largest_entropy_bits)}",
        f"  mean over positions     {formats.at_most(found.mean_entropy_bits)}",
        *(
            _said(found, target_mass)
            if np.any(found.counts.n_out)
            else ["No query has a key outside its block, so there is nothing to guarantee."]
        ),
        ONE_LAYER,
        "",
    ]
    rows = head_certificates(found, measured)
    columns = [c for c in columns_of(HeadCertificate) if measured is not None or c.title != "measured"]
    return "\n".join([*lines, *Table.of(columns, rows).aligned()])


def _in_arithmetic(found: Certificate) -> str:
    return "" if found.gap.arithmetic is None else f" (matrix products in {found.gap.arithmetic} or finer)"


def _said(found: Certificate, target_mass: float) -> list[str]:
    """Where the certificate says something of queries that have keys outside their block, and which margin
    would.
    """
    if found.non_interfering:
        return []
    hard = f"exactly hard in           {formats.percent(float(found.is_hard.mean()))} of heads"
    nothing = "NOTHING IS GUARANTEED beyond what uniform attention has: scores may outweigh this margin."
    return [
        (
            f"says something at         {formats.percent(found.share_said)} of heads and positions with keys"
            " outside their block"
        ),
        *([hard] if found.is_hard.any() else []),
        *_margin_line(found, target_mass),
        *([] if found.gap.says_something(found.tau) else [nothing]),
    ]


def write_certificate(
    found: Certificate,
    directory: Path,
    *,
    meta: Mapping[str, Any],
    target_mass: float,
    measured: Heads | None = None,
) -> list[Path]:
    """Writes `certificate.csv` and `certificate.json`; returns the paths. `meta` says what was certified, in
    JSON values.
    """
    gap = found.gap
    document = {
        "format": FORMAT,
        "meta": dict(meta),
        "lam": gap.lam,
        "tau": found.tau,
        "bound": gap.bound,
        "arithmetic": gap.arithmetic,
        "empirical": gap.empirical,
        "claim": "non-interference in each layer" if found.non_interfering else "attention inside, by layer",
        "inside": "own block, pointers and sinks",
        "hard": found.is_hard.tolist(),
        "worst_case_blocks": found.counts.worst,
        "one_document": found.counts.one_document,
        "positions": found.counts.positions,
        "least_block_mass": found.least_block_mass,
        "least_block_mass_accompanied": found.least_block_mass_accompanied,
        "mean_block_mass": found.mean_block_mass,
        "largest_entropy_bits": found.largest_entropy_bits,
        "mean_entropy_bits": found.mean_entropy_bits,
        "share_said": found.share_said,
        "target_mass": target_mass,
        "margin": gap.margin,
        "margin_required": _required(found, target_mass),
        "heads": json_rows(head_certificates(found, measured)),
    }
    return write_files(
        directory,
        {"certificate.csv": csv_text(CertificateRow, found.rows()), "certificate.json": json_text(document)},
    )


def _required(found: Certificate, target_mass: float) -> float | None:
    """The margin for the target at positions with another key in their block; None where there are none or no
    margin is imposed.
    """
    if found.non_interfering or not (found.gap.share > 0.0).all():
        return None
    return found.required_margin(target_mass)


def _margin_line(found: Certificate, target_mass: float) -> list[str]:
    needed = _required(found, target_mass)
    if needed is None:
        return []
    most = f", more than a margin may be ({MAX_MARGIN:g})" if needed > MAX_MARGIN else ""
    text = (
        f"{formats.at_most(needed, 2)} nats with another key inside, at these scores{most}; now"
        f" {found.gap.margin:g}"
    )
    return [f"margin for {target_mass:g}            {text}"]
