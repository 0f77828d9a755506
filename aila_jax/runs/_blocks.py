"""What a partition makes of a corpus, with a checkpoint or before there is one."""

from dataclasses import dataclass, replace
from pathlib import Path

from aila_jax.config import Config, check_unread, require, to_dict
from aila_jax.config.options import BlocksOptions
from aila_jax.data.conllu_blocks import CLASS_NAMES
from aila_jax.data.dataset import Dataset, load_dataset
from aila_jax.data.packing import Windows
from aila_jax.evaluation.blocks import (
    BlockReport,
    correlate_blocks,
    measure_blocks,
    measure_relation,
    read_blocks,
)
from aila_jax.evaluation.origin import PartitionOrigin
from aila_jax.inference.corpus import split_windows, windows_of
from aila_jax.inference.language_model import LanguageModel
from aila_jax.partition.build import Partition
from aila_jax.partition.fit import fit_partition, fit_relation
from aila_jax.partition.match import match_n_in
from aila_jax.partition.rule_tables import build_rules
from aila_jax.partition.rules import PLAIN, Rules
from aila_jax.provenance import git_commit, versions
from aila_jax.reporting.block_files import write_blocks
from aila_jax.runs.opened import OpenedRun, open_run
from aila_jax.runs.workdir import check_writable


@dataclass(frozen=True)
class Divided:
    """A corpus, a partition of it and the rules of a relation; the model where there is one."""

    config: Config
    dataset: Dataset
    windows: Windows
    partition: Partition
    rules: Rules
    model: LanguageModel | None = None


def blocks(
    source: OpenedRun | Config | str | Path, options: BlocksOptions = BlocksOptions(), out: str | Path = ""
) -> BlockReport:
    """Statistics and a listing of a checkpoint's partition, or of one that is fitted to a corpus now; writes
    them to `out`.

    Args:
      source: an opened run, or its path; or a configuration: which corpus, partition, window length and
        document mask.
      options: what is read and shown.
      out: folder of blocks.json and the CSV files; the run directory or runs/blocks by default.

    Raises:
      ValueError: a value outside its limits.
    """
    if isinstance(source, Config):
        check_unread(source)
        directory = check_writable(Path(out) if out else Path("runs/blocks"))
        divided = _fitted(source, options)
    else:
        run = source if isinstance(source, OpenedRun) else open_run(source)
        limit, fix = "left out with a checkpoint, whose partition is made", "pass --config instead"
        require(options.n_in is None, "n_in", options.n_in, limit, fix)
        directory = run.folder(out)
        divided = _trained(run, options)
    report = _report(divided, options)
    write_blocks(report, directory)
    return report


def _trained(run: OpenedRun, options: BlocksOptions) -> Divided:
    """A run's own partition."""
    config = run.model.config
    windows = windows_of(run.model, run.corpus, options.split)
    network = run.model.network
    return Divided(config, run.corpus, windows, network.partition, network.rules, run.model)


def _fitted(config: Config, options: BlocksOptions) -> Divided:
    """The configuration's partition, fitted to its corpus now, for `n_in` keys where that is given."""
    dataset = load_dataset(config.data)
    for note in dataset.notes:
        print(note)
    train, length, mask = dataset.splits["train"], config.model.length, config.model.document_mask
    # Before anything is fitted: a split that cannot be read is refused here.
    windows = split_windows(config, dataset, options.split)
    if options.n_in is None:
        partition = fit_partition(config.partition, dataset.tokenizer, train, quiet=False)
        rules = build_rules(config, fit_relation(config.relation, dataset.tokenizer, train))
        return Divided(config, dataset, windows, partition, rules)
    limit = f"left out with relation {config.relation.settings}: the search is over plain blocks"
    fix = "leave --n_in out, and compare what is said of the relation"
    require(config.relation.plain, "n_in", options.n_in, limit, fix)
    matched = match_n_in(
        options.n_in, config.partition, dataset.tokenizer, train, length=length, document_mask=mask
    )
    return Divided(replace(config, partition=matched.config), dataset, windows, matched.partition, PLAIN)


def _report(divided: Divided, options: BlocksOptions) -> BlockReport:
    config, dataset, model = divided.config, divided.dataset, divided.model
    relation = None
    if not divided.rules.plain:
        relation = measure_relation(divided.rules, divided.partition, divided.windows, options.batches)
    return BlockReport(
        partition=config.partition.settings,
        source=dataset.name if model is None else f"{model.run}, step {model.step}",
        split=options.split,
        statistics=measure_blocks(divided.partition, divided.windows, options.batches),
        correlation=None if model is None else correlate_blocks(model, divided.windows),
        listing=read_blocks(
            divided.partition,
            dataset,
            divided.windows,
            top=options.top,
            examples=options.examples,
            given_names=CLASS_NAMES if config.annotated and config.class_blocks else (),
            rules=divided.rules,
        ),
        relation=relation,
        meta=PartitionOrigin(
            config=to_dict(config),
            seed=config.seed,
            commit=git_commit(),
            versions=versions(),
            data=dataset.fingerprint,
        ),
    )
