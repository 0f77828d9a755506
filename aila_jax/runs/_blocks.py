"""What a partition makes of a corpus, with a checkpoint or before there is one."""

from dataclasses import replace
from pathlib import Path

from aila_jax.config import Config, check_unread, require, to_dict
from aila_jax.data.conllu_blocks import CLASS_NAMES
from aila_jax.data.dataset import Dataset, load_dataset
from aila_jax.data.packing import Windows
from aila_jax.evaluation.blocks import BlockReport, correlate_blocks, measure_blocks, read_blocks
from aila_jax.inference.language_model import LanguageModel, load
from aila_jax.partition.build import Partition
from aila_jax.partition.fit import fit_partition
from aila_jax.partition.match import match_n_in
from aila_jax.presets import with_data_dir
from aila_jax.provenance import git_commit, versions
from aila_jax.reporting.block_files import write_blocks
from aila_jax.runs.opened import dataset_of
from aila_jax.runs.workdir import check_writable, run_directory


def blocks(
    checkpoint: str = "",
    *,
    config: Config | None = None,
    n_in: float | None = None,
    split: str = "train",
    batches: int = 0,
    top: int = 20,
    examples: int = 8,
    data_dir: str = "",
    out: str = "",
) -> BlockReport:
    """Statistics and a listing of a checkpoint's partition, or of one that is fitted to a corpus now; writes
    them to `out`.

    Args:
      checkpoint: run directory or checkpoint.
      config: instead of it, which corpus, partition, window length and document mask.
      n_in: with `config`, the mean number of keys in a query's block, itself included, that the partition's
        free setting is chosen for (`match_n_in`).
      split, batches: which text is read, and how many batches of 64 windows of it; 0 is all.
      top: types listed of each class, or boundary types.
      examples: stretches of text shown.
      data_dir: where the corpus is now.
      out: folder of blocks.json and the CSV files; the run directory or runs/blocks by default.

    Raises:
      ValueError: neither a checkpoint nor a configuration, or both; or a value outside its limits.
    """
    for name, value in (("top", top), ("examples", examples)):
        require(value >= 1, name, value, "at least 1", f"set --{name}=8")
    fix = "pass --checkpoint=RUN, or --config=tiny and --config.partition.kind"
    given = [name for name, value in (("checkpoint", checkpoint), ("config", config)) if value]
    require(len(given) == 1, "checkpoint, config", tuple(given), "one of the two", fix)
    require(
        n_in is None or config is not None,
        "n_in",
        n_in,
        "left out with a checkpoint, whose partition is made",
        "pass --config instead",
    )
    if config is not None:
        check_unread(config)
    directory = check_writable(
        Path(out) if out else run_directory(checkpoint) if checkpoint else Path("runs/blocks")
    )
    if config is None:
        model = load(checkpoint)
        dataset = dataset_of(model, data_dir)
        report = _report(
            model.config,
            model.partition,
            dataset,
            _windows(model.config, dataset, split),
            model,
            split,
            batches,
            top,
            examples,
        )
    else:
        config = with_data_dir(config, data_dir)
        dataset = load_dataset(config.data)
        train = dataset.splits["train"]
        windows = _windows(
            config, dataset, split
        )  # before anything is fitted: a split that cannot be read is refused here
        if n_in is None:
            partition = fit_partition(config.partition, dataset.tokenizer, train, quiet=False)
        else:
            length, mask = config.model.length, config.model.document_mask
            matched = match_n_in(
                n_in, config.partition, dataset.tokenizer, train, length=length, document_mask=mask
            )
            config, partition = replace(config, partition=matched.config), matched.partition
        report = _report(config, partition, dataset, windows, None, split, batches, top, examples)
    write_blocks(report, directory)
    return report


def _windows(config: Config, dataset: Dataset, split: str) -> Windows:
    return dataset.windows(split, config.model.length, config.model.document_mask)


def _report(
    config: Config,
    partition: Partition,
    dataset: Dataset,
    windows: Windows,
    model: LanguageModel | None,
    split: str,
    batches: int,
    top: int,
    examples: int,
) -> BlockReport:
    return BlockReport(
        partition=config.partition.settings,
        source=dataset.name if model is None else f"{model.run}, step {model.step}",
        split=split,
        statistics=measure_blocks(partition, windows, batches),
        correlation=None if model is None else correlate_blocks(model, windows),
        listing=read_blocks(
            partition,
            dataset,
            windows,
            top=top,
            examples=examples,
            given_names=CLASS_NAMES if config.annotated and config.class_blocks else (),
        ),
        meta={
            "config": to_dict(config),
            "seed": config.seed,
            "commit": git_commit(),
            "versions": versions(),
            "data": dataset.fingerprint,
        },
    )
