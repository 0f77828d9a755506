"""A partition's table, made from the training split alone."""

from typing import TYPE_CHECKING

from aila_jax.config import PartitionConfig, PartitionKind, RelationConfig
from aila_jax.config.checks import check_flag, check_instance
from aila_jax.data.packing import TokenStream
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.partition.boundaries import learned_boundaries, next_token_entropy, punctuation_boundaries
from aila_jax.partition.build import FittedTable, Partition, build_partition
from aila_jax.partition.classes.class_file import read_class_file
from aila_jax.partition.classes.class_table import ClassTable
from aila_jax.partition.classes.parts_of_speech import pos_classes
from aila_jax.partition.rule_tables import RuleTables, fit_rule_tables
from aila_jax.progress import Progress

if TYPE_CHECKING:
    from aila_jax.partition.classes.recruitment import Recruitment, RecruitmentStep


def fit_partition(
    config: PartitionConfig, tokenizer: Tokenizer, train: TokenStream, quiet: bool = True
) -> Partition:
    """The partition that `config` names, its table fitted to the training split; deterministic.

    Args:
      config: which partition.
      tokenizer: its types are what the table is over.
      train: the training split's tokens, no others.
      quiet: show no progress; only classes made from the corpus take longer than a moment.

    Raises:
      ValueError: whatever a kind cannot make of this vocabulary or text.
    """
    fix = "aila_jax.Config().partition, say"
    check_instance("config", config, PartitionConfig, "a PartitionConfig", fix)
    fix = "model.tokenizer, or dataset.tokenizer"
    check_instance("tokenizer", tokenizer, Tokenizer, "a Tokenizer", fix)
    check_instance("train", train, TokenStream, "a TokenStream", "dataset.splits['train']")
    quiet = check_flag("quiet", quiet)
    return build_partition(config, fit_table(config, tokenizer, train, quiet) if config.fitted else None)


def fit_relation(
    config: RelationConfig, tokenizer: Tokenizer, train: TokenStream | None = None
) -> RuleTables | None:
    """What the relation that `config` names reads of token types, fitted to the training split;
    deterministic. None for one that reads nothing.

    Args:
      config: which relation.
      tokenizer: its types are what the tables are over.
      train: the training split's tokens, no others; needed for pointers `anchors` alone.

    Raises:
      ValueError: pointers `anchors` without a training split.
    """
    fix = "aila_jax.Config().relation, say"
    check_instance("config", config, RelationConfig, "a RelationConfig", fix)
    fix = "model.tokenizer, or dataset.tokenizer"
    check_instance("tokenizer", tokenizer, Tokenizer, "a Tokenizer", fix)
    fix = "dataset.splits['train'], or leave it out"
    check_instance("train", train, TokenStream | None, "a TokenStream or None", fix)
    return fit_rule_tables(config, tokenizer, train)


def fit_table(
    config: PartitionConfig, tokenizer: Tokenizer, train: TokenStream, quiet: bool = True
) -> FittedTable:
    """The table of a kind that is fitted to a corpus; arguments as in `fit_partition`."""
    if config.kind == PartitionKind.SEGMENTS:
        return FittedTable(punctuation_boundaries(tokenizer, config.unit), tokenizer.fingerprint)
    if config.kind == PartitionKind.LEARNED_SEGMENTS:
        entropy = next_token_entropy(train, tokenizer.vocab_size)
        return FittedTable(learned_boundaries(train, entropy, config.mean_length), tokenizer.fingerprint)
    classes = _classes(config, tokenizer, train, quiet)
    return FittedTable(classes.table, tokenizer.fingerprint, classes.names, classes.note)


def fit_recruitment(
    config: PartitionConfig, tokenizer: Tokenizer, train: TokenStream, quiet: bool = True
) -> "Recruitment":
    """The recruitment behind the kind `recruited`, with its steps; arguments as in `fit_partition`."""
    from aila_jax.partition.classes.recruitment import recruit  # late: SciPy is for made classes alone

    with Progress(None, "recruitment, step", quiet=quiet) as progress:

        def show(step: "RecruitmentStep") -> None:
            progress.advance()
            if step.kind != "recruit":  # there is one for every class
                bits = step.total_bits / (len(train.tokens) - 1)
                progress.report(f"{step.classes} classes, {bits:.4f} bits a token with the model's")

        return recruit(
            train.tokens,
            tokenizer.vocab_size,
            start=config.start,
            max_classes=config.max_classes,
            on_step=show,
        )


def _classes(config: PartitionConfig, tokenizer: Tokenizer, train: TokenStream, quiet: bool) -> ClassTable:
    """The classes of a kind whose blocks are classes."""
    if config.kind == PartitionKind.POS:
        return pos_classes(tokenizer)
    if config.kind == PartitionKind.RECRUITED:
        return fit_recruitment(config, tokenizer, train, quiet).class_table()
    if config.kind == PartitionKind.INDUCED_CLASSES:
        from aila_jax.partition.classes.induced import MAX_SWEEPS, induced_classes  # late, as above

        with Progress(MAX_SWEEPS, "classes, sweep", quiet=quiet) as progress:

            def show(sweep: int, moved: int) -> None:
                progress.advance()
                progress.report(f"{moved:,} types moved")

            return induced_classes(train.tokens, tokenizer.vocab_size, config.classes, on_sweep=show)
    return read_class_file(config.class_file, tokenizer, unnamed=config.unnamed)
