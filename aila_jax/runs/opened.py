"""A finished run, opened once: its model, its corpus, its own sweep, and the folder for files about it."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from aila_jax.checkpoint import find_checkpoint
from aila_jax.config import Config, RelationConfig, require
from aila_jax.config.relation import relation_line, relation_of
from aila_jax.data.dataset import Dataset
from aila_jax.evaluation.rows import SweepResult
from aila_jax.inference.corpus import dataset_of
from aila_jax.inference.language_model import LanguageModel
from aila_jax.loading.models import read_model
from aila_jax.partition.fit import fit_relation
from aila_jax.partition.rule_tables import RuleTables, table_names, tables_for
from aila_jax.presets import with_data_dir
from aila_jax.pretrained.hub import fetched
from aila_jax.pretrained.loading import load_pretrained
from aila_jax.pretrained.opened import Reading, open_pretrained
from aila_jax.pretrained.places import is_elsewhere
from aila_jax.reporting.own_sweep import own_sweep
from aila_jax.runs.workdir import check_writable


@dataclass(frozen=True)
class OpenedRun:
    """A checkpoint and what lies around it.

    Attributes:
      model: the checkpoint's model, as it is read.
      directory: the run directory.
      home: where files about it go: the run directory, or a folder in it for what it is read with, where that
        is another one than in training: windowSIZE, relation-SETTINGS.
      data_dir: where its corpus is now; empty: where it was in training.
    """

    model: LanguageModel
    directory: Path
    home: Path
    data_dir: str | Path = ""

    @cached_property
    def corpus(self) -> Dataset:
        """The corpus that the model was trained on, read on first use."""
        return dataset_of(self.model, self.data_dir)

    def own_sweep(self) -> SweepResult | None:
        """The sweep of this very checkpoint, read in this way, that lies in `home`; None where there is
        none.
        """
        return own_sweep(self.home, self.model)

    def folder(self, out: str | Path = "", default: str = "") -> Path:
        """`out`, or the folder `default` in `home`; made, and refused where it cannot be written, or lies
        behind a link in the run directory.
        """
        if out:
            return check_writable(Path(out))
        return check_writable(self.directory, *(self.home / default).relative_to(self.directory).parts)


def open_run(
    checkpoint: str | Path,
    window: int | None = None,
    data_dir: str | Path = "",
    fallback: bool = False,
    step: str = "",
    relation: str | None = None,
) -> OpenedRun:
    """Reads a checkpoint back, or a pretrained model as `aila_jax.from_pretrained` does by default; files
    about that go to runs/NAME.

    Args:
      checkpoint: a run directory, or one checkpoint inside it; or a folder, GGUF file or hub's name of a
        pretrained model.
      window: read the model with windows of another size than in training (`LanguageModel.with_window`).
      data_dir: where its corpus is now, if elsewhere than in training.
      fallback: where the newest checkpoint is damaged, take the newest whole one, and say so on stderr.
      step: the number of one of its steps, or `best`; empty: the newest.
      relation: read the model with another relation than in training (`LanguageModel.with_relation`), as
        `OpenOptions.relation` has it.

    Raises:
      ValueError: no checkpoint there, damaged bytes, or a window or relation that the model cannot be read
        with.
    """
    if is_elsewhere(checkpoint):
        for name, value in (("step", step), ("fallback", fallback)):
            require(not value, name, value, "left out with a pretrained model", f"leave --{name} out")
        model = load_pretrained(open_pretrained(checkpoint, Reading(), fetched))
        directory = Path("runs") / model.run
    else:
        found = find_checkpoint(checkpoint, int(step) if step.isdecimal() else step or None, fallback)
        model, directory = read_model(found), found.directory.parent
    folder, tables = [], None
    if relation is not None:
        asked = relation_of(relation)
        tables = _tables(model, asked, data_dir)
        # The relation of training need not fit other windows.
        model = model.with_relation(RelationConfig())
    if window is not None:
        model = model.with_window(window)
        folder.append(f"window{window}")
    if relation is not None:
        model = model.with_relation(asked, tables)
        folder.append("relation-" + re.sub(r"[^a-z0-9_]+", "-", relation_line(asked)))
    return OpenedRun(model, directory, directory / "-".join(folder), data_dir)


def _tables(model: LanguageModel, relation: RelationConfig, data_dir: str | Path) -> RuleTables | None:
    """What a relation reads; entropies are fitted to the training split where the model has none."""
    known = model.rule_tables
    if "entropy" not in table_names(relation) or (known is not None and known.entropy is not None):
        return tables_for(relation, model.tokenizer, known)
    return fit_relation(relation, model.tokenizer, dataset_of(model, data_dir).splits["train"])


def opened(run: OpenedRun | str | Path) -> OpenedRun:
    """The run itself, or the one at that path."""
    return run if isinstance(run, OpenedRun) else open_run(run)


def open_source(
    checkpoint: str | Path, config: Config | None, data_dir: str | Path = "", fallback: bool = False
) -> OpenedRun | Config:
    """A run, or the configuration of a corpus, whichever is given; both with their text in `data_dir`.

    Raises:
      ValueError: neither is given, or both.
    """
    given = [name for name, value in (("checkpoint", checkpoint), ("config", config)) if value]
    fix = "pass --checkpoint=RUN, or --config=tiny and --config.partition.kind"
    require(len(given) == 1, "checkpoint, config", tuple(given), "one of the two", fix)
    if config is not None:
        return with_data_dir(config, data_dir)
    return open_run(checkpoint, None, data_dir, fallback)
