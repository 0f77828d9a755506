"""From the configuration, and what was fitted to the training split, to the rules of a relation."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from aila_jax.cards import Card, Shown, shape, span
from aila_jax.config import ALL_BLOCKS, Config, LayerBlocks, PointerKind, RelationConfig, require
from aila_jax.data.packing import TokenStream
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.partition.boundaries import punctuation_boundaries
from aila_jax.partition.kinds import Segments, Windows
from aila_jax.partition.pointers import Ends, LowestEntropy, Pointers, RandomToken
from aila_jax.partition.rules import Everything, Rules
from aila_jax.partition.type_entropy import corpus_entropy
from aila_jax.types import Array

PRIOR = 100.0  # as of anchors by default: little smoothing would point at rare types
UNITS = {LayerBlocks.CLAUSES: "clause", LayerBlocks.SENTENCES: "sentence"}


@dataclass(frozen=True, eq=False, repr=False)
class RuleTables(Shown):
    """What a relation knows of each of V token types; kept in the checkpoint.

    Attributes:
      vocabulary: fingerprint of the tokenizer whose types these are.
      entropy: local entropy of each type by the training split's bigrams, as a share of log2 V, of pointers
        `anchors`; None for others.
      boundaries: of layers with clauses or sentences, by their word: whether a type closes one.
    """

    vocabulary: str
    entropy: Float[np.ndarray, "V"] | None
    boundaries: dict[str, Bool[np.ndarray, "V"]]

    @property
    def arrays(self) -> dict[str, Array]:
        """All of them by name, as a checkpoint keeps them."""
        return {**({} if self.entropy is None else {"entropy": self.entropy}), **self.boundaries}

    @classmethod
    def of(cls, vocabulary: str, arrays: dict[str, Array]) -> "RuleTables":
        """The tables that have these `arrays`."""
        rest = {name: np.asarray(values, bool) for name, values in arrays.items() if name != "entropy"}
        entropy = arrays.get("entropy")
        return cls(vocabulary, None if entropy is None else np.asarray(entropy, np.float32), rest)

    def card(self) -> Card:
        facts = {
            name: span(values) if values.dtype != bool else shape(values)
            for name, values in self.arrays.items()
        }
        return Card("RuleTables", {**facts, "vocabulary": self.vocabulary[:12]})


def table_names(config: RelationConfig) -> tuple[str, ...]:
    """The tables that a relation reads, as `RuleTables.arrays` names them."""
    entropy = ("entropy",) if config.pointers == PointerKind.ANCHORS else ()
    units = [blocks for blocks in UNITS if any(blocks == found for found, _ in config.layer_blocks)]
    return (*entropy, *(blocks.value for blocks in units))


def fit_rule_tables(
    config: RelationConfig, tokenizer: Tokenizer, train: TokenStream | None
) -> RuleTables | None:
    """The tables that `config` reads, fitted to the training split; deterministic. None where it reads none.

    Args:
      config: the relation.
      tokenizer: its types are what the tables are over.
      train: the training split's tokens, no others; needed for pointers `anchors` alone.

    Raises:
      ValueError: pointers `anchors` without a training split.
    """
    names = table_names(config)
    if not names:
        return None
    entropy = None
    if "entropy" in names:
        require(train is not None, "train", None, "the training split for relation.pointers 'anchors'",
                "dataset.splits['train']")  # fmt: skip
        assert train is not None, "required above"
        inside = train.doc_ids[1:] == train.doc_ids[:-1]
        first, second = train.tokens[:-1][inside], train.tokens[1:][inside]
        entropy = corpus_entropy(first, second, tokenizer.vocab_size, PRIOR).entropy
    boundaries = {
        str(blocks.value): punctuation_boundaries(tokenizer, unit)
        for blocks, unit in UNITS.items()
        if blocks.value in names
    }
    return RuleTables(tokenizer.fingerprint, entropy, boundaries)


def tables_for(config: RelationConfig, tokenizer: Tokenizer, known: RuleTables | None) -> RuleTables | None:
    """The tables that `config` reads, as far as they need no text: entropies are those of `known`, boundaries
    the tokenizer's. None where it reads none.

    Raises:
      ValueError: entropies are needed and not known.
    """
    entropy = None if known is None else known.entropy
    names = table_names(config)
    if "entropy" in names:
        limit = f"given for relation.pointers {config.pointers.value!r}: this model has no entropies"
        fix = "pass what aila_jax.fit_relation(relation, model.tokenizer, dataset.splits['train']) returns"
        require(entropy is not None, "tables", None, limit, fix)
    rest = fit_rule_tables(replace(config, pointers=PointerKind.NONE), tokenizer, None)
    boundaries = {} if rest is None else rest.boundaries
    if not names:
        return None
    return RuleTables(tokenizer.fingerprint, entropy if "entropy" in names else None, boundaries)


def build_rules(config: Config, tables: RuleTables | None = None) -> Rules:
    """The rules that `config.relation` names, for the layers of `config.model`.

    Raises:
      ValueError: tables that the relation reads are missing, or there are others.
    """
    relation = config.relation
    there, needed = () if tables is None else tuple(tables.arrays), table_names(relation)
    if sorted(there) != sorted(needed):
        raise ValueError(
            f"the relation's tables are {', '.join(there) or 'none'}; relation {relation.settings} needs"
            f" {', '.join(needed) or 'none'}. Fix: use what fit_rule_tables(config.relation, tokenizer, train)"
            " returns, or load a checkpoint that was trained with it"
        )
    return Rules(
        sink=relation.sink,
        shift=relation.shift,
        pointers=_pointers(relation, tables),
        partitions=tuple(
            _layer(blocks, size, tables, config.partition.global_first)
            for blocks, size in relation.layer_blocks
        ),
        layers=config.model.n_layers,
        length=config.model.length,
    )


def check_rule_vocabulary(tables: RuleTables | None, tokenizer: Tokenizer) -> None:
    """Raises ValueError where tables are over other token types than the tokenizer's."""
    for name, values in ({} if tables is None else tables.arrays).items():
        if len(values) != tokenizer.vocab_size:
            raise ValueError(
                f"the relation's table {name} has {len(values)} types; the vocabulary has"
                f" {tokenizer.vocab_size}. Fix: fit it with this tokenizer"
            )
    if tables is not None and tables.vocabulary != tokenizer.fingerprint:
        raise ValueError(
            f"the relation's tables were fitted to the vocabulary {tables.vocabulary[:12]}; this one is"
            f" {tokenizer.fingerprint[:12]}. Fix: fit them with this tokenizer"
        )


def _pointers(config: RelationConfig, tables: RuleTables | None) -> Pointers | None:
    horizon = None if config.horizon == ALL_BLOCKS else config.horizon
    if config.pointers == PointerKind.ENDS:
        return Ends(horizon)
    if config.pointers == PointerKind.RANDOM:
        return RandomToken(config.seed, horizon)
    if config.pointers == PointerKind.ANCHORS:
        assert tables is not None, "build_rules has compared them"
        return LowestEntropy(tables.entropy, config.anchors, horizon)
    return None


def _layer(blocks: LayerBlocks, size: int, tables: RuleTables | None, global_first: bool) -> Any:
    """The partition of one layer; None for the model's own."""
    if blocks == LayerBlocks.OWN:
        return None
    if blocks == LayerBlocks.ALL:
        return Everything(global_first)
    if blocks == LayerBlocks.WINDOWS:
        return Windows(size, global_first)
    assert tables is not None, "build_rules has compared them"
    return Segments(tables.boundaries[blocks.value], global_first, tables.vocabulary)
