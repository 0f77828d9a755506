"""A folder of a checkpoint for others."""

from dataclasses import replace
from pathlib import Path

from aila_jax.config.options import ExportOptions
from aila_jax.config.relation import relation_of
from aila_jax.exporting.export import Origin, export_by, new_folder, origin_of
from aila_jax.pretrained.places import is_elsewhere
from aila_jax.runs.opened import open_run


def export(
    checkpoint: str | Path,
    options: ExportOptions,
    out: str | Path,
    fallback: bool = False,
    step: str = "",
    relation: str | None = None,
) -> Path:
    """Writes the folder, which is returned; see `aila_jax.export`.

    Args:
      checkpoint: a run, or a pretrained model.
      options: what is written.
      out: the folder, new or empty.
      fallback: of a run, as in `open_run`.
      step: of a run, as in `open_run`.
      relation: as in `open_run`: read the model with another one.
    """
    new_folder(out)
    if step or (relation is not None and not is_elsewhere(checkpoint)):
        found = open_run(checkpoint, fallback=fallback, step=step, relation=relation).model
        return export_by(origin_of(found, options.length), out, options)
    # Nothing is read before it is known to fit.
    return export_by(
        _related(origin_of(checkpoint, options.length, fallback, options.base), relation), out, options
    )


def _related(origin: Origin, relation: str | None) -> Origin:
    """Read with another relation."""
    if relation is None:
        return origin
    asked = relation_of(relation)
    config = replace(origin.config, relation=asked)
    return replace(origin, config=config, read=lambda: origin.read().with_relation(asked))
