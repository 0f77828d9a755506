"""Word classes recruited by description length, before any training."""

from pathlib import Path

from aila_jax.config import Config, PartitionConfig, PartitionKind, require, to_dict
from aila_jax.config.checks import check_flag, check_instance
from aila_jax.config.options import RecruitOptions
from aila_jax.data.dataset import Dataset, load_dataset
from aila_jax.data.packing import Windows
from aila_jax.evaluation.blocks import measure_blocks, read_blocks
from aila_jax.evaluation.origin import PartitionOrigin
from aila_jax.partition.build import FittedTable, build_partition
from aila_jax.partition.classes.recruitment import Recruitment
from aila_jax.partition.fit import fit_recruitment
from aila_jax.provenance import git_commit, versions
from aila_jax.reporting import recruitment_figure, save_figure
from aila_jax.reporting.recruitment_files import RecruitmentReport, write_recruitment
from aila_jax.runs.opened import OpenedRun, open_source
from aila_jax.runs.workdir import check_writable


def recruit(
    checkpoint: str | Path = "",
    *,
    config: Config | None = None,
    top: int = 20,
    data_dir: str | Path = "",
    out: str | Path = "",
    quiet: bool = False,
    fallback: bool = False,
) -> RecruitmentReport:
    """Recruits word classes on the training split and writes steps, figure and listing to `out`; trains
    nothing.

    The limits are those of the configuration where its partition is `recruited`, the defaults otherwise. With
    a checkpoint the run's corpus, tokenizer and limits are taken, so the classes are those it was trained
    with.

    Args:
      checkpoint: run directory or checkpoint.
      config: instead of it, which corpus, tokenizer and limits.
      top: types listed of each class.
      data_dir: where the corpus is now.
      out: folder of recruitment.json, .csv, .txt, .png and .svg; the run directory or runs/recruit by
        default.
      fallback: where the newest checkpoint is damaged, take the newest whole one, and say so.

    Raises:
      ValueError: neither a checkpoint nor a configuration, or both; a checkpoint with another partition;
        `top` below 1.
    """
    options, quiet = RecruitOptions(top=top), check_flag("quiet", quiet)
    check_instance("config", config, Config | None, "a Config or None", "config=aila_jax.presets.small()")
    check_instance("data_dir", data_dir, str | Path, "a path, or empty", "data_dir='wikitext-2', say")
    check_instance("checkpoint", checkpoint, str | Path, "the path of a run", "checkpoint='runs/tiny', say")
    check_instance("out", out, str | Path, "the path of a folder", "out='runs/recruit', say")
    source = open_source(checkpoint, config, data_dir, check_flag("fallback", fallback))
    return recruit_classes(source, options, out, quiet)


def recruit_classes(
    source: OpenedRun | Config, options: RecruitOptions, out: str | Path = "", quiet: bool = False
) -> RecruitmentReport:
    """`recruit`, by options."""
    if isinstance(source, Config):
        directory = check_writable(Path(out) if out else Path("runs/recruit"))
        config, dataset = source, load_dataset(source.data)
        for note in () if quiet else dataset.notes:
            print(note)
    else:
        directory, config = source.folder(out), source.model.config
        kind = config.partition.kind
        fix = "see its blocks with aila blocks, or recruit on its corpus with --config"
        require(kind == "recruited", "partition.kind of the checkpoint", kind, "'recruited'", fix)
        dataset = source.corpus
    partition = (
        config.partition
        if config.partition.kind == PartitionKind.RECRUITED
        else PartitionConfig(kind=PartitionKind.RECRUITED)
    )
    # Before anything is fitted: a text that is too short is refused here.
    windows = dataset.windows("train", config.model.length, config.model.document_mask, config.data.begin)
    found = fit_recruitment(partition, dataset.tokenizer, dataset.splits["train"], quiet)
    report = _report(config, partition, dataset, windows, found, options.top)
    write_recruitment(report, directory)
    save_figure(recruitment_figure(found.steps, found.pairs), directory / "recruitment")
    return report


def _report(
    config: Config,
    partition: PartitionConfig,
    dataset: Dataset,
    windows: Windows,
    found: Recruitment,
    top: int,
) -> RecruitmentReport:
    # Where the text lies on this machine says nothing about the result; its fingerprint is there.
    saved = to_dict(config)
    saved = {**saved, "data": {**saved["data"], "data_dir": ""}, "partition": to_dict(partition)}
    meta = PartitionOrigin(config=saved, commit=git_commit(), versions=versions(), data=dataset.fingerprint)
    classes = build_partition(partition, FittedTable(found.table, dataset.tokenizer.fingerprint))
    return RecruitmentReport(
        source=dataset.name,
        recruitment=found,
        classes=read_blocks(classes, dataset, windows, top=top, examples=1).classes,
        statistics=measure_blocks(classes, windows) if found.classes > 1 else None,
        meta=meta,
    )
