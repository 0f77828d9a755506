"""A partition's table, made from the training split alone."""

from aila_jax.config import PartitionConfig
from aila_jax.data.packing import TokenStream
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.partition.boundaries import learned_boundaries, next_token_entropy, punctuation_boundaries
from aila_jax.partition.build import Partition, TypeTable, build_partition
from aila_jax.partition.class_file import read_class_file
from aila_jax.partition.class_table import ClassTable
from aila_jax.partition.parts_of_speech import pos_classes


def fit_partition(config: PartitionConfig, tokenizer: Tokenizer, train: TokenStream) -> Partition:
    """The partition that `config` names, its table fitted to the training split; deterministic.

    Args:
      config: which partition. tokenizer: its types are what the table is over. train: the training split's tokens, no others.

    Raises:
      ValueError: whatever a kind cannot make of this vocabulary or text.
    """
    return build_partition(config, fit_table(config, tokenizer, train) if config.fitted else None)


def fit_table(config: PartitionConfig, tokenizer: Tokenizer, train: TokenStream) -> TypeTable:
    """The table of a kind that is fitted to a corpus; arguments as in `fit_partition`."""
    if config.kind == "segments":
        return TypeTable(punctuation_boundaries(tokenizer, config.unit), tokenizer.fingerprint)
    if config.kind == "learned_segments":
        entropy = next_token_entropy(train, tokenizer.vocab_size)
        return TypeTable(learned_boundaries(train, entropy, config.mean_length), tokenizer.fingerprint)
    classes = _classes(config, tokenizer)
    return TypeTable(classes.table, tokenizer.fingerprint, classes.names, classes.note)


def _classes(config: PartitionConfig, tokenizer: Tokenizer) -> ClassTable:
    """The classes of a kind whose blocks are classes."""
    if config.kind == "pos":
        return pos_classes(tokenizer)
    return read_class_file(config.class_file, tokenizer, unnamed=config.unnamed)
