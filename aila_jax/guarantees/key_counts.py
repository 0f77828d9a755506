"""How many keys a query has inside and outside, layer by layer: for every text, or for one.

Inside are the query's own block, sinks and pointers (`partition.relations`).
"""

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Bool, Int

from aila_jax.cards import Card, Shown, count, span
from aila_jax.config import Config, LayerBlocks, PartitionKind, PointerKind, require
from aila_jax.partition.kinds import Given, Windows
from aila_jax.partition.relations import Relation
from aila_jax.partition.rule_tables import RuleTables, build_rules, table_names
from aila_jax.partition.rules import Blocks, Rules
from aila_jax.types import GLOBAL_ID, PADDING_ID, Batch


@dataclass(frozen=True, eq=False, repr=False)
class KeyCounts(Shown):
    """Keys of each query under the causal mask, M = 1 where all layers are alike and else one row a layer.

    Attributes:
      n_in: keys inside, the query itself among them.
      n_out: keys outside.
      queries: how many queries have these counts; 1 each for the positions of one window.
      worst: n_in is the least of any text and n_out the most, since what is inside depends on the tokens;
        else they are what they are.
      one_document: they are of texts of one document: a sink in mid-window, where another document begins and
        no document mask parts them, has itself alone inside.
    """

    n_in: Int[np.ndarray, "M T"]
    n_out: Int[np.ndarray, "M T"]
    queries: Int[np.ndarray, "T"]
    worst: bool = False
    one_document: bool = False

    @property
    def positions(self) -> int:
        """T."""
        return len(self.queries)

    @property
    def accompanied(self) -> Bool[np.ndarray, "M T"]:
        """Where a query has, or in the worst case may have, a key inside besides itself."""
        return self.n_in + self.n_out >= 2 if self.worst else self.n_in >= 2

    def with_company(self) -> "KeyCounts":
        """The counts of queries that are accompanied: of worst cases, the worst among those."""
        n_keys = self.n_in + self.n_out
        n_in = np.maximum(self.n_in, np.minimum(2, n_keys)) if self.worst else self.n_in
        return KeyCounts(n_in, n_keys - n_in, self.queries, self.worst, self.one_document)

    def card(self) -> Card:
        worst = ", the worst of any text" if self.worst else ""
        worst += ", texts of one document" if self.one_document else ""
        facts = {"keys inside": span(self.n_in, 1), "keys outside": span(self.n_out, 1)}
        if len(self.n_in) > 1:
            facts["layers"] = f"{len(self.n_in)}, each with counts of its own"
        return Card(f"KeyCounts: {count(int(np.sum(self.queries)), 'query', 'queries')}{worst}", facts)


def counts_of_every_text(config: Config, length: int) -> KeyCounts:
    """The counts at positions 0 … length − 1 that no text falls below (n_in) or exceeds (n_out).

    Windows are places, and so are their ends and a random token of each: every text has the counts of the
    relation itself on any text. Anchors are as many in every text, but one may be the sink: it is counted
    once. Where blocks depend on the tokens a query may be alone in its block; what sinks and pointers add for
    sure is in `_least_inside`.

    With a sink and no document mask these are the counts of texts of one document. `global_first` makes the
    first token of a further document a key of every block, and a query of every block: n_in only grows.
    Under a document mask, read "position in the document".
    """
    relation, model = config.relation, config.model
    alike = not (relation.layers or relation.shift)
    kinds = [_kind(config, layer) for layer in range(1 if alike else model.n_layers)]
    position = np.arange(length)
    places = _of_places(config, length) if LayerBlocks.WINDOWS in kinds or LayerBlocks.ALL in kinds else None
    n_in = np.stack([
        _least_inside(config, kind, position)
        if places is None or kind not in (LayerBlocks.WINDOWS, LayerBlocks.ALL)
        else keys_inside(places.of_layer(layer)).n_in[0]
        for layer, kind in enumerate(kinds)
    ])  # fmt: skip
    tokens = any(kind not in (LayerBlocks.WINDOWS, LayerBlocks.ALL) for kind in kinds)
    either = relation.sink and relation.pointers == PointerKind.ANCHORS  # an anchor may be the sink
    worst = config.partition.global_first or tokens or either
    one_document = relation.sink and not model.document_mask
    return KeyCounts(n_in, position + 1 - n_in, np.ones_like(position), worst, one_document)


def _kind(config: Config, layer: int) -> LayerBlocks:
    """What the blocks of a layer are; `own` for those of the partition where they are no windows."""
    kind = config.relation.layer_blocks[layer][0] if config.relation.layers else LayerBlocks.OWN
    windows = kind == LayerBlocks.OWN and config.partition.kind == PartitionKind.WINDOWS
    return LayerBlocks.WINDOWS if windows else kind


def _of_places(config: Config, length: int) -> Blocks:
    """The relation on a text of one document whose tokens are all alike.

    Entropies are alike too, which makes each block's first tokens anchors, and so the sink one of them.
    """
    tables = {name: np.zeros(1) for name in table_names(config.relation)}
    rules = build_rules(config, RuleTables.of("", tables) if tables else None)
    first = config.partition.global_first
    windows = config.partition.kind == PartitionKind.WINDOWS
    own = Windows(config.partition.size, first) if windows else Given(first)
    return _laid_out(rules, Batch.from_tokens(np.zeros((1, length), np.int32)), own)


@jax.jit  # pointers are found by scans, of which each small step would be compiled by itself
def _laid_out(rules: Rules, batch: Batch, own: Windows | Given) -> Blocks:
    return rules(batch, own)


def _least_inside(config: Config, kind: LayerBlocks, position: Int[np.ndarray, "L"]) -> Int[np.ndarray, "L"]:
    """n_in that no text falls below at each position, where the tokens (or the caller) decide the blocks.

    The query itself is one. A sink, or the first token under `global_first`, is one more from position 1 on.
    With pointers the tokens before it are in its block or in earlier ones, and the nearest earlier block
    shows at least one: from position 1 on there is one key besides itself. Beside a sink there is a third
    from position 2 on if the pointer cannot be the sink: the end of a block that reaches from the sink to the
    query is the query's neighbour, and of two anchors or more (from position 3 on such a block has two) one
    is not the sink. A single anchor, or a random token, may be it. What `global_first` marks is no pointer.
    """
    relation = config.relation
    first = config.partition.global_first and kind == LayerBlocks.OWN
    common = relation.sink or first
    n_in = np.ones_like(position) + (position >= 1) * (common or relation.points)
    if not (common and relation.points):
        return n_in
    if first or relation.pointers == PointerKind.ENDS:
        return n_in + (position >= 2)
    several = relation.pointers == PointerKind.ANCHORS and relation.anchors >= 2
    return n_in + (position >= 3) * several


def counts_in_order(
    blocks: Blocks | Int[np.ndarray, "B L"], doc_ids: Int[np.ndarray, "B L"] | None = None
) -> KeyCounts:
    """The counts of the real queries of these rows as causal attention has them, one by one in their order.

    Args:
      blocks: what the layers read of them, or ids: equal blocks in all layers (−1 at padding, −2 for a token
        of every block).
      doc_ids: under a document mask.
    """
    blocks = blocks if isinstance(blocks, Blocks) else Blocks.same(blocks)
    found = [keys_inside(blocks.of_layer(layer, doc_ids)) for layer in range(len(blocks.layers))]
    real = np.asarray(blocks.ids) != PADDING_ID
    n_in = np.stack([one.n_in[real] for one in found])
    n_keys = np.stack([one.n_keys[real] for one in found])
    return KeyCounts(n_in, n_keys - n_in, np.ones(int(real.sum()), np.int64))


def counts_of(
    blocks: Blocks | Int[np.ndarray, "B L"], doc_ids: Int[np.ndarray, "B L"] | None = None
) -> KeyCounts:
    """The distinct counts among those of `counts_in_order`, and how many queries have each."""
    return merge_counts([counts_in_order(blocks, doc_ids)])


def merge_counts(parts: list[KeyCounts]) -> KeyCounts:
    """The counts of several sets of rows as those of one."""
    both = np.concatenate([np.concatenate([part.n_in, part.n_out]) for part in parts], axis=1)
    queries = np.concatenate([part.queries for part in parts])
    kinds, which = np.unique(both, axis=1, return_inverse=True)
    total = np.zeros(kinds.shape[1], np.int64)
    np.add.at(total, which.reshape(-1), queries)
    n_in, n_out = np.split(kinds, 2)
    return KeyCounts(n_in, n_out, total)


@dataclass(frozen=True)
class Inside:
    """Keys of every position under the causal mask; padding has 1 and 1.

    Attributes:
      n_in: keys inside.
      n_keys: all keys.
    """

    n_in: Int[np.ndarray, "B L"]
    n_keys: Int[np.ndarray, "B L"]


def keys_inside(relation: Relation) -> Inside:
    """Keys inside and keys of every position of a causal relation, by running counts: no [L, L] array.

    A key is counted once: as sink, else as of the same block or of every block, else as pointer.

    Raises:
      ValueError: with pointers, a block that comes back after another one.
    """
    block_ids = np.asarray(relation.block_ids)
    assert relation.causal and relation.key_block_ids is None, "as a model makes them"
    documents = np.zeros_like(block_ids) if relation.doc_ids is None else np.asarray(relation.doc_ids)
    real = block_ids != PADDING_ID
    sinks = np.zeros_like(real) if relation.sinks is None else np.asarray(relation.sinks) & real
    rows = np.broadcast_to(np.arange(len(block_ids))[:, None], block_ids.shape)
    nothing = np.zeros_like(block_ids)
    is_global = real & (block_ids == GLOBAL_ID)
    n_keys = _running(rows, documents, np.where(real, 0, 1), where=real)
    n_global = _running(rows, documents, nothing, where=is_global & ~sinks)
    n_sinks = _running(rows, documents, nothing, where=sinks)
    own = _running(rows, documents, block_ids, where=real & ~sinks)
    n_in = np.where(is_global, n_keys, own + n_global + n_sinks + _pointed(relation, documents, rows, sinks))
    n_in = np.where(sinks, 1, n_in)
    return Inside(np.where(real, n_in, 1), np.where(real, n_keys, 1))


def _pointed(
    relation: Relation,
    documents: Int[np.ndarray, "B L"],
    rows: Int[np.ndarray, "B L"],
    sinks: Bool[np.ndarray, "B L"],
) -> Int[np.ndarray, "B L"]:
    """Pointers of earlier blocks, sinks excepted: those before the query's block, less those out of its
    horizon or before its document, both as differences of running counts.
    """
    if relation.pointers is None:
        return np.zeros_like(documents)
    order, ids = np.asarray(relation.order), np.asarray(relation.block_ids)
    member = (ids != PADDING_ID) & (ids != GLOBAL_ID)
    blocks = np.unique(np.stack([rows[member], documents[member], order[member]]), axis=1).shape[1]
    named = np.unique(np.stack([rows[member], documents[member], ids[member]]), axis=1).shape[1]
    fix = "number each stretch of text anew, or leave the pointers out"
    require(blocks == named, "block_ids", f"of {named} blocks in {blocks} pieces",
            "blocks in one piece each where pointers are read", fix)  # fmt: skip
    counted = np.asarray(relation.pointers) & ~sinks
    before = np.concatenate([np.zeros((len(ids), 1), np.int64), np.cumsum(counted, axis=1)], axis=1)
    index = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    begins = np.ones_like(member)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    document = np.maximum.accumulate(np.where(begins, index, 0), axis=1)
    found = np.zeros_like(index)
    for row in range(len(ids)):
        start = np.searchsorted(order[row], order[row])  # orders never fall along a row
        reach = 0 if relation.horizon is None else np.searchsorted(order[row], order[row] - relation.horizon)
        low = np.minimum(np.maximum(document[row], reach), start)
        found[row] = before[row, start] - before[row, low]
    return found


def _running(
    rows: Int[np.ndarray, "B L"],
    documents: Int[np.ndarray, "B L"],
    labels: Int[np.ndarray, "B L"],
    where: Bool[np.ndarray, "B L"],
) -> Int[np.ndarray, "B L"]:
    """At each position, how many positions up to it have its row, document and label, of those in `where`."""
    shape = labels.shape
    keys = np.stack([labels.ravel(), documents.ravel(), rows.ravel()])
    order = np.lexsort(keys)  # stable: positions stay in order inside a group
    sorted_keys = keys[:, order]
    counted = np.cumsum(where.ravel()[order])
    starts = np.ones(len(order), bool)
    starts[1:] = (sorted_keys[:, 1:] != sorted_keys[:, :-1]).any(axis=0)
    before = np.where(starts, counted - where.ravel()[order], 0)
    result = np.empty(len(order), np.int64)
    result[order] = counted - np.maximum.accumulate(before)
    return result.reshape(shape)
