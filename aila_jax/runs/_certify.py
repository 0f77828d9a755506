"""A checkpoint's certificate: made, written, drawn."""

import math
from pathlib import Path

from aila_jax.config import require, to_dict
from aila_jax.evaluation.certify import certify as certify_model
from aila_jax.evaluation.rows import HeadRow
from aila_jax.inference.language_model import LanguageModel
from aila_jax.provenance import git_commit, versions
from aila_jax.reporting import save_figure
from aila_jax.reporting.certificate_files import describe_certificate, write_certificate
from aila_jax.reporting.plots_certificate import certificate_figure
from aila_jax.runs.opened import dataset_of, load_with_window
from aila_jax.runs.own_sweep import own_sweep
from aila_jax.runs.workdir import check_writable, run_directory, window_folder


def certify(
    checkpoint: str,
    *,
    lam: float = 1.0,
    tau: float = 1.0,
    length: int | None = None,
    bound: str = "auto",
    arithmetic: str | None = None,
    target_mass: float = 0.9,
    hard: bool | None = None,
    split: str | None = None,
    data_dir: str = "",
    window: int | None = None,
    batch_size: int | None = None,
    max_batches: int | None = None,
    text: str | None = None,
    out: str = "",
) -> str:
    """Certifies a checkpoint at one λ and τ; writes certificate.json, certificate.csv and a figure; returns
    the certificate as text.

    Args:
      target_mass: the block mass that a margin is looked for, in (0, 1).
      window: read the model with windows of another size.
      text: certify this text alone.
      out: folder for the files; by default `certificate` in the run directory or, with `window`, in the
        folder windowSIZE in it, and for a text `certificate/text` there. Where that run directory or
        windowSIZE has a sweep.json with this λ and τ of this very checkpoint, what it measured stands beside
        the guarantee; not beside that of another length or under a document mask, where queries are spread
        otherwise over positions.
      Everything else: see `aila_jax.evaluation.certify.certify`; the corpus is read for bound='empirical'
        only.
    """
    model = load_with_window(checkpoint, window)
    hard = model.config.model.hard if hard is None else hard
    fix = "ask for bound='empirical', or leave it out"
    require(
        not data_dir or bound == "empirical",
        "data_dir",
        data_dir,
        "left out unless bound='empirical', which alone reads a corpus",
        fix,
    )
    dataset = dataset_of(model, data_dir) if bound == "empirical" else None
    found = certify_model(
        model,
        lam,
        tau,
        length,
        bound=bound,
        hard=hard,
        arithmetic=arithmetic,
        text=text,
        dataset=dataset,
        split=split,
        batch_size=batch_size,
        max_batches=max_batches,
    )
    # What a sweep measured is of other texts than one that is certified alone, and of other positions than
    # those of another length or, under a document mask, than one query each: its means would not be of the
    # same queries.
    home = run_directory(checkpoint) / window_folder(window)
    as_measured = (
        text is None and length in (None, model.config.model.length) and not model.config.model.document_mask
    )
    measured = measured_heads(home, model, lam, tau, hard) if as_measured else None
    of_text = "" if text is None else f", for the text {shortened(text)!r} alone"
    described = describe_certificate(
        found, f"{model.run}, step {model.step}{of_text}", target_mass, measured, one_text=text is not None
    )
    directory = check_writable(Path(out) if out else home / "certificate" / ("" if text is None else "text"))
    meta = {
        "run": model.run,
        "checkpoint_step": model.step,
        "seed": model.config.seed,
        "commit": git_commit(),
        "versions": versions(),
        "config": to_dict(model.config),
        **({} if text is None else {"text": text}),
    }
    write_certificate(found, directory, meta=meta, target_mass=target_mass, measured=measured)
    save_figure(
        certificate_figure(found, measured, of="" if text is None else shortened(text)),
        directory / "certificate",
    )
    return f"{described}\n\nWritten to {directory}"


def shortened(text: str, most: int = 40) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def measured_heads(
    directory: Path, model: LanguageModel, lam: float, tau: float, hard: bool
) -> dict[tuple[int, int], HeadRow] | None:
    """The head rows of the run's own sweep at λ and τ, by layer and head; None where there is none, or none
    with these.
    """
    result = own_sweep(directory, model)
    if result is None or result.cells[0].hard != hard:
        return None
    rows = [row for row in result.heads if math.isclose(row.lam, lam) and math.isclose(row.tau, tau)]
    return {(row.layer, row.head): row for row in rows} or None
