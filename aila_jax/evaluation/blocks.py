"""What a partition makes of a corpus: statistics, correlation of a model's vectors, and a listing."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Float, Int

from aila_jax.cards import Card, Shown
from aila_jax.columns import to_pandas
from aila_jax.data.dataset import Dataset
from aila_jax.data.packing import Windows
from aila_jax.data.pipeline import eval_batches
from aila_jax.evaluation.origin import PartitionOrigin
from aila_jax.inference.language_model import LanguageModel
from aila_jax.model.feature_groups import block_support
from aila_jax.partition.boundaries import next_token_entropy
from aila_jax.partition.build import Partition
from aila_jax.partition.correlation import BlockCorrelation, block_correlation
from aila_jax.partition.kinds import Classes
from aila_jax.partition.listing import (
    BlockListing,
    BoundaryEntry,
    ClassEntry,
    Classified,
    ListingSize,
    list_blocks,
)
from aila_jax.partition.relation_statistics import RelationStatistics, relation_statistics
from aila_jax.partition.rules import PLAIN, Rules
from aila_jax.partition.statistics import BlockStatistics, BlockSums, block_sums, total
from aila_jax.progress import Progress
from aila_jax.types import Array, Batch

if TYPE_CHECKING:
    from pandas import DataFrame

BATCH_SIZE = 64  # windows read at a time
CORRELATION_BATCHES = 32  # whose vectors are compared; means over some 10⁵ tokens hardly move


@dataclass(frozen=True, repr=False)
class BlockReport(Shown):
    """A partition on one split.

    Attributes:
      partition: its settings.
      source: the run and step, or the corpus.
      split: what was read.
      statistics: see there.
      correlation: of the model's input vectors; None without a model.
      listing: for people.
      meta: configuration, seed, versions, commit.
      relation: with one beyond plain blocks, what it makes of the text.
    """

    partition: dict[str, Any]
    source: str
    split: str
    statistics: BlockStatistics
    correlation: BlockCorrelation | None
    listing: BlockListing
    meta: PartitionOrigin
    relation: RelationStatistics | None = None

    def to_pandas(self, listing: bool = False) -> "DataFrame":
        """The statistics as a data frame of one line, or, with `listing`, a line for each class or boundary
        type; none for windows.
        """
        if not listing:
            return to_pandas(BlockStatistics, [self.statistics])
        found = self.listing
        return (
            to_pandas(BoundaryEntry, found.boundaries)
            if found.boundaries
            else to_pandas(ClassEntry, found.classes)
        )

    def card(self) -> Card:
        settings = ", ".join(f"{name} {value}" for name, value in self.partition.items())
        facts = {"read": self.split, "keys in a block": f"{self.statistics.n_in:.2f}"}
        return Card(f"BlockReport of {self.source}: {settings}", facts)


def measure_blocks(partition: Partition, windows: Windows, batches: int = 0) -> BlockStatistics:
    """Statistics over `batches` batches of 64 windows, spread over all of them; 0 is all."""
    parts: list[BlockSums] = []
    count = -(-len(windows) // BATCH_SIZE)
    with Progress(min(batches, count) if batches else count, "blocks, batches:") as progress:
        for batch in eval_batches(windows, BATCH_SIZE, batches):
            parts.append(
                block_sums(
                    np.asarray(_ids(partition, batch)),
                    np.asarray(batch.doc_ids) if windows.document_mask else None,
                )
            )
            progress.advance()
    return total(parts).statistics()


def measure_relation(
    rules: Rules, partition: Partition, windows: Windows, batches: int = 0
) -> RelationStatistics:
    """Keys inside by layer and kind, and the mean reach, over the same windows as `measure_blocks`."""
    read = eval_batches(windows, BATCH_SIZE, batches)
    return relation_statistics(rules, partition, read, windows.document_mask)


def correlate_blocks(
    model: LanguageModel, windows: Windows, batches: int = CORRELATION_BATCHES
) -> BlockCorrelation:
    """Correlation of the first layer's input embeddings, token and position, over `batches` batches of 64
    windows, spread over all of them.
    """

    def read() -> Iterable[tuple[Int[np.ndarray, "B L"], Float[np.ndarray, "B L D"]]]:
        for batch in eval_batches(windows, BATCH_SIZE, batches):
            yield np.asarray(_ids(model.partition, batch)), np.asarray(embed(batch))

    embed: Callable[[Batch], Float[Array, "B L D"]] = partial(input_embeddings, model)
    return block_correlation(read)


def input_embeddings(model: LanguageModel, batch: Batch) -> Float[Array, "B L D"]:
    """What the first layer reads, before its LayerNorm: the embedding of the token plus, where they are
    learned, that of its position.
    """
    config = model.config
    tokens: Float[Array, "B L D"] = model.params["embedding"][batch.tokens]
    if not config.model.learned_positions:
        return tokens
    positions = model.params["position"][batch.positions]
    if config.model.localist:
        shape = config.model
        positions = positions * block_support(
            model.partition(batch), shape.d_model, config.feature_groups, shape.localist_shared
        )
    return tokens + positions


def read_blocks(
    partition: Partition,
    dataset: Dataset,
    windows: Windows,
    *,
    top: int,
    examples: int,
    given_names: tuple[str, ...] = (),
    rules: Rules = PLAIN,
) -> BlockListing:
    """The listing: types by their frequency in the training split, examples spread over the windows of the
    split that is read.

    Args:
      given_names: of the ids 0, 1, … that come with the data, where these are classes.
      rules: of the relation, whose pointers and sinks the examples mark.
    """
    train = dataset.splits["train"]
    counts = np.bincount(train.tokens, minlength=dataset.tokenizer.vocab_size)
    classified = None
    if isinstance(partition, Classes):
        classified = Classified.by_table(partition, counts)
    elif given_names:
        classified = Classified.by_occurrence(
            train.tokens, train.given_ids, given_names, dataset.tokenizer.vocab_size
        )
    entropy = next_token_entropy(train, dataset.tokenizer.vocab_size)
    spread = np.linspace(0, len(windows), min(examples, len(windows)), endpoint=False).astype(int)
    batch = jax.tree.map(lambda array: array[spread], windows.batch)
    return list_blocks(
        partition,
        dataset.tokenizer,
        counts,
        entropy,
        [batch],
        size=ListingSize(top, examples),
        classified=classified,
        rules=rules,
    )


@jax.jit
def _ids(partition: Partition, batch: Batch) -> Int[Array, "B L"]:
    return partition(batch)
