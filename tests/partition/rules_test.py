"""Relations against loops, and that they look at no later token."""

from dataclasses import dataclass

import flax.struct
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aila_jax.config import Config, ModelConfig, PartitionConfig, RelationConfig
from aila_jax.partition.kinds import Given, Segments, Windows
from aila_jax.partition.pointers import RandomToken, Stretches
from aila_jax.partition.rule_tables import RuleTables, build_rules, table_names
from aila_jax.partition.rules import Blocks, Rules
from aila_jax.types import Batch
from tests.oracles import relations as oracle
from tests.oracles.relations import OWN, POINTED, SUNK, Text

LENGTH, TYPES = 13, 6  # one shape for all cases, so that each operation is compiled once
CLAUSES, SENTENCES = np.arange(TYPES) % 3 == 0, np.arange(TYPES) == 3
LAYERS = {
    "clauses": ("segments", CLAUSES),
    "sentences": ("segments", SENTENCES),
    "all": ("all",),
    "windows:2": ("windows", 2),
    "windows:4": ("windows", 4),
}


@dataclass(frozen=True)
class Case:
    """A relation in the oracle's words, and what is configured for it."""

    rule: oracle.Rule
    kind: str
    size: int
    words: tuple[str, ...] = ()

    @property
    def partition(self) -> Windows | Segments | Given:
        first = self.rule.global_first
        if self.kind == "windows":
            return Windows(self.size, first)
        return Given(first) if self.kind == "given" else Segments(CLAUSES, first)

    @property
    def rules(self) -> Rules:
        rule, sized = self.rule, {"size": self.size} if self.kind == "windows" else {}
        relation = RelationConfig(
            sink=rule.sink, shift=rule.shift, pointers=rule.pointers, anchors=rule.k, seed=rule.seed,
            horizon=rule.horizon or 2**20, layers=self.words,
        )  # fmt: skip
        partition = PartitionConfig(kind=self.kind, global_first=rule.global_first, **sized)
        config = Config(partition=partition, relation=relation, model=ModelConfig(n_layers=rule.layers))
        entropy = np.array(rule.entropy, np.float32)
        tables = {"entropy": entropy, "clauses": CLAUSES, "sentences": SENTENCES}
        needed = {name: tables[name] for name in table_names(relation)}
        return build_rules(config, RuleTables.of("", needed) if needed else None)

    def batch(self, texts: list[Text]) -> Batch:
        """As packing makes it."""
        names = ("tokens", "given", "docs")
        batch = Batch.from_tokens(
            *(np.array([getattr(one, name) for one in texts], np.int32) for name in names)
        )
        row = np.arange(LENGTH, dtype=np.int32)
        return batch if self.rule.document_mask else batch.replace(positions=np.tile(row, (len(texts), 1)))


@st.composite
def cases(draw) -> Case:
    """Whatever the configuration allows."""
    kind, size, layers = (
        draw(st.sampled_from(["windows", "segments", "given"])),
        draw(st.integers(1, 6)),
        draw(st.integers(1, 3)),
    )
    own = {"windows": ("windows", size), "segments": ("segments", CLAUSES), "given": ("given",)}[kind]
    words = (
        draw(st.lists(st.sampled_from(["own", *LAYERS]), min_size=layers, max_size=layers))
        if draw(st.booleans())
        else []
    )
    blocks = tuple(LAYERS.get(word, own) for word in words) or (own,)
    pointing = all(one != ("windows", 1) for one in blocks)
    most = 0 if words else size - 1 if kind == "windows" else 1
    sink = draw(st.booleans())
    rule = oracle.Rule(
        blocks,
        layers=layers,
        sink=sink,
        shift=draw(st.integers(0, most)),
        pointers=draw(st.sampled_from(["none", "ends", "anchors", "random"] if pointing else ["none"])),
        k=draw(st.integers(1, 3)),
        seed=draw(st.sampled_from([0, 1, 2**32 - 1])),
        horizon=draw(st.sampled_from([None, 1, 2])),
        entropy=tuple(draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=TYPES, max_size=TYPES))),
        global_first=not sink and draw(st.booleans()),
        document_mask=draw(st.booleans()),
    )
    return Case(rule, kind, size, tuple(words))


def texts(rows: int, seed: int) -> list[Text]:
    """Documents one after another, then padding; given ids that grow by one at most, some of them global."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(rows):
        padding = int(rng.choice([0, 0, 1, 4]))
        docs, ids = (rng.integers(0, 4) + np.cumsum(rng.random(LENGTH) < share) for share in (0.2, 0.35))
        ids = np.where(rng.random(LENGTH) < 0.15, -2, ids)
        docs[LENGTH - padding :] = ids[LENGTH - padding :] = -1
        tokens = rng.integers(0, TYPES, LENGTH)
        found.append(Text(tuple(tokens.tolist()), tuple(docs.tolist()), tuple(ids.tolist())))
    return found


def masks(blocks: Blocks, layer: int, batch: Batch, document_mask: bool) -> dict[str, np.ndarray]:
    """[B, L, L] of each kind, where the key is in A_t."""
    relation = blocks.of_layer(layer, batch.doc_ids if document_mask else None)
    reach = np.asarray(relation.attendable())
    found = {
        "inside": relation.inside(),
        OWN: relation.own(),
        POINTED: relation.pointed(),
        SUNK: relation.sunk(),
    }
    nothing = np.zeros_like(reach)
    return {
        name: (nothing if mask is None else np.asarray(mask) & reach)[:, 0] for name, mask in found.items()
    }


EACH = {"layers": 3, "k": 2, "horizon": 2, "entropy": (1.0, 0.5, 1.0, 2.0, 0.5, 1.0)}
SHIFTED = Case(oracle.Rule((("windows", 5),), shift=2, pointers="ends", sink=True, **EACH), "windows", 5)
PAIRS = Case(
    oracle.Rule((("segments", CLAUSES),), shift=1, pointers="anchors", document_mask=True, **EACH),
    "segments",
    5,
)
GIVEN = Case(
    oracle.Rule((("given",),), shift=1, pointers="random", seed=3, global_first=True, **EACH), "given", 5
)
LAYERED = Case(
    oracle.Rule(tuple(LAYERS[word] for word in list(LAYERS)[:3]), pointers="ends", global_first=True, **EACH),
    "windows",
    3,
    tuple(LAYERS)[:3],
)


@given(cases(), st.integers(0, 2**32 - 1))
@example(SHIFTED, 0)
@example(PAIRS, 0)
@example(GIVEN, 0)
@example(LAYERED, 0)
@settings(max_examples=20)
def test_masks_are_those_of_loops(case: Case, seed: int) -> None:
    rows = texts(12, seed)
    batch = case.batch(rows)
    blocks = case.rules(batch, case.partition)
    assert len(blocks.layers) in (1, case.rule.layers)
    for layer in range(case.rule.layers):
        found = masks(blocks, layer, batch, case.rule.document_mask)
        for row, text in enumerate(rows):
            inside, kind = oracle.kinds(case.rule, text, layer)
            real = np.array(text.docs) != -1
            np.testing.assert_array_equal(found["inside"][row][real], inside[real], err_msg=str(text))
            # Everything is inside for a global query, of whatever kind.
            alone = real & np.array([not _is_global(case, text, t, layer) for t in range(LENGTH)])
            for one in (OWN, POINTED, SUNK):
                shown = f"{one} of {text}"
                np.testing.assert_array_equal(found[one][row][alone], (kind == one)[alone], err_msg=shown)


def _is_global(case: Case, text: Text, t: int, layer: int) -> bool:
    of_layer = case.rule.blocks[layer if case.words else 0]
    starts = t == 0 or text.docs[t] != text.docs[t - 1]
    return (of_layer == ("given",) and text.given[t] == -2) or (case.rule.global_first and starts)


@given(cases(), st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_what_is_inside_depends_on_no_later_token(case: Case, seed: int) -> None:
    """Types, documents and given ids after t are another text's; no key up to t comes in or goes out."""
    assert_causal(case, case.rules, texts(24, seed), texts(24, seed + 1))


def assert_causal(case: Case, rules: Rules, rows: list[Text], others: list[Text]) -> None:
    """Of each pair of rows the second begins as the first, up to the t that is its place."""
    mixed = [
        _mixed(text, other, t % (LENGTH - 1))
        for t, (text, other) in enumerate(zip(rows, others, strict=True))
    ]
    batches = case.batch(rows), case.batch(mixed)
    blocks = [rules(batch, case.partition) for batch in batches]
    for layer in range(case.rule.layers):
        found = [
            masks(one, layer, batch, case.rule.document_mask)
            for one, batch in zip(blocks, batches, strict=True)
        ]
        for name in found[0]:
            for row in range(len(rows)):
                until = slice(row % (LENGTH - 1) + 1)
                pair = (one[name][row, until, until] for one in found)
                np.testing.assert_array_equal(*pair, err_msg=f"{name} of {rows[row]}, {mixed[row]}")


def _mixed(text: Text, other: Text, t: int) -> Text:
    """The text up to t, the other one after."""
    pairs = zip(_columns(text), _columns(other), strict=True)
    return Text(*(mine[: t + 1] + theirs[t + 1 :] for mine, theirs in pairs))


def _columns(text: Text) -> tuple[tuple, tuple, tuple]:
    return text.tokens, text.docs, text.given


@flax.struct.dataclass
class BeforeType:
    """Points at tokens that one of type 0 comes `after` places behind."""

    after: int = flax.struct.field(pytree_node=False)
    horizon: int | None = flax.struct.field(pytree_node=False, default=None)

    def of(self, batch: Batch, stretches: Stretches) -> np.ndarray:
        return stretches.member & (jnp.roll(jnp.asarray(batch.tokens), -self.after, axis=1) == 0)


def test_a_rule_that_looks_ahead_is_caught() -> None:
    """A block's end may look at the next token, which is the first query that sees it, and no further."""
    case = Case(oracle.Rule((("windows", 2),)), "windows", 2)
    rows, others = ([Text((token,) * LENGTH, (0,) * LENGTH, (0,) * LENGTH)] * LENGTH for token in (1, 0))
    assert_causal(case, Rules(pointers=BeforeType(1)), rows, others)
    with pytest.raises(AssertionError, match="inside of"):
        assert_causal(case, Rules(pointers=BeforeType(2)), rows, others)


def test_random_pointers_are_one_a_block_and_follow_the_seed() -> None:
    """The same for each text and place in a row, another for another seed, and each place now and then."""
    ids = np.repeat(np.arange(20), 4)[None].astype(np.int32)
    batch = Batch.from_tokens(np.zeros((1, 80), np.int32))
    stretches = Stretches.of(ids, batch.positions)
    found = [np.asarray(RandomToken(seed).of(batch, stretches))[0].reshape(20, 4) for seed in range(30)]
    assert all((one.sum(axis=1) == 1).all() for one in found)
    places = np.array([one.argmax(axis=1) for one in found])
    assert len({tuple(one) for one in places}) == 30
    counts = np.bincount(places.ravel(), minlength=4)
    assert counts.min() > 110  # of 600, each a quarter: seven standard deviations below
    again = RandomToken(7).of(batch.replace(tokens=batch.tokens + 1), stretches)
    np.testing.assert_array_equal(np.asarray(again)[0].reshape(20, 4), found[7])


@pytest.mark.parametrize("first", [False, True], ids=["", "global first"])
@pytest.mark.parametrize("kind", ["windows", "segments", "given"])
def test_a_packed_document_has_the_pointers_that_it_has_alone(kind, first) -> None:
    """Under a document mask; whatever stands before it."""
    case = Case(oracle.Rule((), pointers="random", global_first=first, document_mask=True), kind, 3)
    tokens = np.arange(LENGTH) % TYPES
    for size in range(1, 8):
        docs = (np.arange(LENGTH) >= size).astype(int)
        text = Text(tuple(tokens), tuple(docs), tuple(np.arange(LENGTH) // 4))
        shown = [
            np.asarray(case.rules(case.batch([one]), case.partition).layers[0].pointers)[0]
            for one in (text, _part(text, size))
        ]
        np.testing.assert_array_equal(shown[0][size:], shown[1][: LENGTH - size])


def _part(text: Text, size: int) -> Text:
    """The text without its first tokens, and padding in their place at its end."""
    return Text(
        text.tokens[size:] + (0,) * size, text.docs[size:] + (-1,) * size, text.given[size:] + (-1,) * size
    )


@pytest.mark.parametrize(
    ("n", "k", "want"), [(1, 3, 1), (2, 3, 1), (3, 3, 2), (4, 3, 3), (5, 3, 3), (5, 1, 1)]
)
def test_a_block_shows_fewer_anchors_than_it_has_tokens(n, k, want) -> None:
    """min(k, max(n − 1, 1)): two of three tokens, one of one; of equal ones the earlier."""
    case = Case(oracle.Rule((), pointers="anchors", k=k, entropy=(1.0,) * TYPES), "windows", max(n, 2))
    text = Text((1,) * LENGTH, (0,) * n + (-1,) * (LENGTH - n), (0,) * LENGTH)
    found = case.rules(case.batch([text]), case.partition).layers[0].pointers
    np.testing.assert_array_equal(found, [[True] * want + [False] * (LENGTH - want)])
