"""A checkpoint's certificate: made, written, drawn."""

import math
from pathlib import Path

from aila_jax.config import Config, to_dict
from aila_jax.config.options import CertifyOptions
from aila_jax.evaluation.certify import certify_by
from aila_jax.evaluation.rows import HeadRow, SweepResult
from aila_jax.inference.language_model import LanguageModel
from aila_jax.provenance import git_commit, versions
from aila_jax.reporting import save_figure
from aila_jax.reporting.certificate_files import describe_certificate, write_certificate
from aila_jax.reporting.plots_certificate import certificate_figure
from aila_jax.runs.opened import OpenedRun, opened


def certify(
    run: OpenedRun | str | Path, options: CertifyOptions = CertifyOptions(), out: str | Path = ""
) -> str:
    """Certifies a checkpoint at one λ and τ; writes certificate.json, certificate.csv and a figure; returns
    the certificate as text.

    Args:
      run: an opened run, or its path. Its corpus is read for bound='empirical' only.
      options: what is certified.
      out: folder for the files; by default `certificate` in the run directory or, for other windows than in
        training, in the folder windowSIZE in it, and for a text `certificate/text` there. Where that run
        directory or windowSIZE has a sweep.json with this λ and τ of this very checkpoint, what it measured
        stands beside the guarantee; not beside that of another length or under a document mask, where queries
        are spread otherwise over positions.
    """
    run = opened(run)
    model, text = run.model, options.text
    options.check_read("data_dir", run.data_dir or None)
    found = certify_by(model, options, run.corpus if options.bound == "empirical" else None)
    measured = measured_heads(run.own_sweep(), options, model.config) if _as_swept(options, model) else None
    directory = run.folder(out, "certificate" if text is None else "certificate/text")
    target_mass, about = options.target_mass, "" if text is None else shortened(str(text))
    of_text = f", for the text {about!r} alone" if about else ""
    described = describe_certificate(
        found, f"{model.run}, step {model.step}{of_text}", target_mass, measured, one_text=text is not None
    )
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
    save_figure(certificate_figure(found, measured, of=about), directory / "certificate")
    return f"{described}\n\nWritten to {directory}"


def _as_swept(options: CertifyOptions, model: LanguageModel) -> bool:
    """Whether a sweep's means are of the queries that are certified.

    They are of other texts than one that is certified alone, and of other positions than those of another
    length or, under a document mask, than one query each.
    """
    config = model.config.model
    return options.text is None and options.length in (None, config.length) and not config.document_mask


def shortened(text: str, most: int = 40) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def measured_heads(
    sweep: SweepResult | None, options: CertifyOptions, config: Config
) -> dict[tuple[int, int], HeadRow] | None:
    """The head rows of a sweep at the λ, τ and hardness that are certified, by layer and head; None where
    there is no sweep, or none with these.
    """
    if sweep is None or sweep.cells[0].hard != options.reading(config).hard:
        return None
    rows = [
        row
        for row in sweep.heads
        if math.isclose(row.lam, options.lam) and math.isclose(row.tau, options.tau)
    ]
    return {(row.layer, row.head): row for row in rows} or None
