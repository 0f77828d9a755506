"""What can have influenced a checkpoint's predictions: of one text, of a continuation, or of a split's
windows.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from aila_jax.config import require, to_dict
from aila_jax.config.options import CertifyOptions, GenerateOptions
from aila_jax.data.pipeline import eval_batches
from aila_jax.guarantees.flow import condition_of
from aila_jax.inference.corpus import windows_of
from aila_jax.inference.language_model import LanguageModel
from aila_jax.inference.reach import Reach, blocks_reached, summary_of
from aila_jax.inference.reach_of import hard_end, hard_layers
from aila_jax.provenance import git_commit, versions
from aila_jax.reporting.reach_files import (
    CLAIM,
    NOT_MASS,
    describe_prediction,
    describe_reach,
    reach_document,
    summary_lines,
    write_reach,
)
from aila_jax.reporting.tables import json_text, write_files
from aila_jax.runs._certify import shortened
from aila_jax.runs.opened import OpenedRun, opened
from aila_jax.types import PADDING_ID

NEW_TOKENS = 64


def flow(run: OpenedRun | str | Path, options: CertifyOptions, out: str | Path = "") -> str:
    """The reach of every prediction; writes reach.json and, of one text, reach.csv; returns it as text.

    Args:
      run: an opened run, or its path. Its corpus is read with a split only.
      options: with `flow`, and of what.
      out: folder for the files; by default `certificate/flow` in the run directory or, for other windows than
        in training, in the folder windowSIZE in it.

    Raises:
      ValueError: a setting that is not exactly hard, blocks that depend on a text that is not given, or a
        position that has no prediction.
    """
    run = opened(run)
    model = run.model
    name = f"{model.run}, step {model.step}"
    meta = {
        "run": model.run,
        "checkpoint_step": model.step,
        "commit": git_commit(),
        "versions": versions(),
        "config": to_dict(model.config),
    }
    if options.split is not None:
        return _of_split(run, options, out, {**meta, "split": options.split})
    found = _reach(model, options)
    position, lines = options.position, [describe_reach(found, f"{name}{_about(options)}")]
    if position is not None:
        lines.append(describe_prediction(found, position))
    directory = run.folder(out, "certificate/flow")
    read = {key: getattr(options, key) for key in ("text", "prompt") if getattr(options, key) is not None}
    write_reach(found, directory, meta={**meta, **read}, position=position)
    return "\n\n".join([*lines, f"Written to {directory}"])


def _about(options: CertifyOptions) -> str:
    if options.text is not None:
        return f", of the text {shortened(str(options.text))!r}"
    return "" if options.prompt is None else f", of what continues {shortened(options.prompt)!r}"


def _reach(model: LanguageModel, options: CertifyOptions) -> Reach:
    """Of the text, of the prompt's continuation, or, where positions make the blocks, of every input."""
    lam, tau = options.lam, options.tau
    if options.prompt is not None:
        asked = GenerateOptions(lam=lam, tau=tau, max_tokens=options.max_tokens or NEW_TOKENS)
        hard_end(model, lam, tau, None)  # before anything is drawn
        return model.reach(model.continuations(options.prompt, asked)[0][0], lam=lam, tau=tau)
    if options.text is not None:
        return model.reach(options.text, lam=lam, tau=tau, hard=options.hard)
    condition = condition_of(model.config, given_ids=False, given_documents=False)
    limit = "given where tokens make the blocks (or pointers), as here"
    fix = 'pass --text="…", --prompt="…" or --split=validation'
    require(condition.unconditional, "text, prompt, split", None, limit, fix)
    length = options.length or model.config.model.length
    return model.reach([0] * length, lam=lam, tau=tau, hard=options.hard)


def _of_split(run: OpenedRun, options: CertifyOptions, out: str | Path, meta: Mapping[str, object]) -> str:
    """Sizes of reach over all predictions of a split's windows."""
    model, reading = run.model, options.reading(run.model.config)
    end = hard_end(model, options.lam, options.tau, options.hard)
    windows = windows_of(model, run.corpus, reading.split)
    tokens, blocks, windows_read = [], [], 0
    for batch in eval_batches(windows, reading.batch_size, reading.max_batches, reading.part):
        hard, real = hard_layers(model, batch), np.asarray(batch.doc_ids) != PADDING_ID
        windows_read += int(real.any(axis=1).sum())
        first = 0
        for part in hard.reach_by_rows(range(real.shape[1])):
            for row, can in enumerate(part):
                kept = can[real[row, first : first + len(can)]]
                tokens.append(kept.sum(axis=1))
                blocks.append(blocks_reached(kept, hard.block_ids[row]))
            first += part.shape[1]
    summary = (summary_of("tokens", np.concatenate(tokens)), summary_of("blocks", np.concatenate(blocks)))
    # Where documents begin is the corpus's to say, and sinks, positions and masks follow it.
    config = model.config
    follows = config.relation.sink or config.model.document_mask or config.partition.global_first
    condition = condition_of(config, given_ids=False, given_documents=follows)
    directory = run.folder(out, "certificate/flow")
    held = {"lam": end.lam, "tau": end.tau, "hard_by": end.why, "windows": windows_read}
    document = {**reach_document(condition.text, condition.unconditional, summary, meta), **held}
    write_files(directory, {"reach.json": json_text(document)})
    title = (
        f"{model.run}, step {model.step}, {windows_read:,} windows of {reading.split}: λ = {end.lam:g}, τ ="
        f" {end.tau:g}, attention outside is exactly 0 by {end.why}"
    )
    claim = f"{CLAIM}: {condition.text}."
    return "\n".join([title, claim, "", *summary_lines(summary), NOT_MASS, "", f"Written to {directory}"])
