"""A dial for somebody's model: adapters that learn to do without what λ takes away."""

from dataclasses import replace
from pathlib import Path

from aila_jax import presets
from aila_jax.config import Config, DataConfig, PartitionConfig, RelationConfig, require
from aila_jax.config.checks import check_instance
from aila_jax.config.options import LocaliseOptions
from aila_jax.inference.language_model import LanguageModel
from aila_jax.runs._start import Source, check_start, start_config
from aila_jax.runs._train import Run, train

USUAL_LENGTH, USUAL_RANK = 256, 8


def localised_config(options: LocaliseOptions) -> Config:
    """The configuration of `aila localise`."""
    return _localised(options.start, options)


def localise(
    start: LanguageModel | str | Path,
    workdir: str | Path,
    data: DataConfig,
    *,
    partition: PartitionConfig | None = None,
    relation: RelationConfig | None = None,
    length: int | None = None,
    rank: int | None = None,
    tokens: int = 300_000,
    full: bool = False,
    seed: int = 0,
    quiet: bool = False,
) -> Run:
    """Gives a pretrained model a dial: at λ = 0 it is the model as it is, bit for bit, and at λ = 1 its
    attention keeps to its blocks, which low-rank adapters learn to live with.

    The same loop as `train`, which takes every other setting: `presets.localised` makes the configuration.
    The same call goes on with a run that was stopped. Checkpoints hold the adapters alone, and know the model
    by its checksum: `load` reads it again from where it was.

    Args:
      start: the path of a Hugging Face folder, of a GGUF file or of a run; or a model that knows its path, as
        `from_pretrained` returns it.
      workdir: the run directory.
      data: the text; its tokenizer is the model's own, whatever it says.
      partition: the blocks; by default those of `from_pretrained`, sentences, or the run's own.
      relation: what is inside beyond them; by default the sink, or the run's own.
      length: L, tokens that it reads at once; 256 by default, or a run's own where that is less.
      rank: of the adapters, at least 1; 8 by default.
      tokens: of training, in steps of 8 sequences.
      full: train all weights instead, without adapters: then λ = 0 is not the model any more.
      seed: of the adapters, the draws of λ and the order of the text.
      quiet: print nothing.

    Raises:
      ValueError: as `train` and `from_pretrained`.
    """
    check_instance("data", data, DataConfig, "a DataConfig", "aila_jax.Config().data, say")
    fix = "leave it out, or take that of aila_jax.Config()"
    check_instance("partition", partition, PartitionConfig | None, "a PartitionConfig or None", fix)
    check_instance("relation", relation, RelationConfig | None, "a RelationConfig or None", fix)
    source = check_start(start)
    require(source is not None, "start", start, "a model, or the path of one", "start='my/folder', say")
    assert source is not None, "it was looked at"
    options = LocaliseOptions(start=str(start), length=length, rank=rank, tokens=tokens, full=full)
    config = _localised(source, options)
    config = replace(
        config,
        seed=seed,
        data=data.in_tokens_of(config.data),
        partition=config.partition if partition is None else partition,
        relation=config.relation if relation is None else relation,
    )
    return train(config, workdir, quiet, start=source)


def _localised(start: Source, options: LocaliseOptions) -> Config:
    base = start_config(start, None, options.length)
    length = min(USUAL_LENGTH, base.model.length) if options.length is None else options.length
    rank = USUAL_RANK if options.rank is None else options.rank
    return presets.localised(base, length=length, rank=rank, tokens=options.tokens, full=options.full)
