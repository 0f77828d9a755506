"""The reach of texts and continuations by loaded models: what it refuses, what it lists, and what it leaves
out.
"""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import pytest

from aila_jax.config import MarginConfig, PartitionConfig, RelationConfig
from aila_jax.config.options import GenerateOptions
from aila_jax.inference.inputs import example_batch
from aila_jax.inference.language_model import LanguageModel
from aila_jax.inference.windows import tokens_read, windows_read
from tests.support.frames import install
from tests.support.untrained import untrained_model

PLAIN = RelationConfig()
TEXT = list(range(5, 29))
GATE = MarginConfig(gate=1.0)


def model_of(relation: RelationConfig = PLAIN, size: int = 4, **options: Any) -> LanguageModel:
    """The untrained model with a gate, windows of 4 tokens and a relation."""
    base = untrained_model()
    shape = replace(base.config.model, **{"margin": GATE, **options})
    config = replace(base.config, model=shape, relation=relation, partition=PartitionConfig(size=size))
    model = replace(base, config=config)
    if shape.n_layers == base.config.model.n_layers:
        return model
    params = jax.jit(lambda key: model.network.init(example_batch(config), key))(jax.random.key(0))
    return replace(model, params=jax.tree.map(lambda x: 12 * x if x.ndim > 1 else x, params))


def test_a_text_is_listed_position_by_position(monkeypatch: pytest.MonkeyPatch) -> None:
    found = model_of(RelationConfig(shift=2, sink=True)).reach(TEXT)
    assert found.tokens(14).tolist() == [0, 12, 13, 14]  # layer 1 has windows of 2–5, 6–9, 10–13, 14–17
    assert found.tokens(17).tolist() == [0, 12, 13, 14, 15, 16, 17]
    assert found.blocks(17).tolist() == [0, 3, 4]
    assert found.token_sizes.tolist() == found.can.sum(axis=1).tolist() and found.block_sizes[17] == 3
    tokens, blocks = found.summary
    assert (tokens.mean, tokens.largest) == (found.token_sizes.mean(), 7)
    assert (blocks.lower, blocks.median, blocks.upper) == tuple(
        np.quantile(found.block_sizes, (0.25, 0.5, 0.75))
    )
    row = found.rows()[17]
    assert (row.position, row.block, row.tokens, row.blocks, row.first) == (17, 4, 7, 3, 0)
    install(monkeypatch)
    assert found.to_pandas()["tokens"] == found.token_sizes.tolist()
    assert found.condition.unconditional and "for every input with these positions" in str(found)
    with pytest.raises(
        ValueError, match=r"position is 24; it must be a position with a prediction, from 0 to 23"
    ):
        found.tokens(24)


def test_nothing_out_of_reach_is_read_by_the_model_itself() -> None:
    """`model.apply` on texts that share what is in reach of each position, and nothing else."""
    model = model_of(RelationConfig(pointers="ends", horizon=1, sink=True))
    found = model.reach(TEXT)
    rows = np.repeat(np.array([TEXT], np.int32), 24, axis=0)
    other = np.where(found.can, rows, (rows + 100) % model.tokenizer.vocab_size)
    before, after = (np.asarray(model.apply(one, lam=1.0).logits) for one in (rows, other))
    assert all(before[t, t].tobytes() == after[t, t].tobytes() for t in range(24))
    soft = [np.asarray(model.apply(one, lam=0.9).logits) for one in (rows, other)]
    assert any(soft[0][t, t].tobytes() != soft[1][t, t].tobytes() for t in range(24))


@pytest.mark.parametrize(
    ("options", "call", "message"),
    [
        ({}, {"lam": 0.9}, r"lam is 0\.9; it must be such that .* layer 0, head 0 it imposes 0\.9 .*needs 120\. Fix: lam=1, where"),
        ({"margin": MarginConfig()}, {}, r"lam is 1; .* Fix: lam=1 of a model with model\.margin\.gate=1, or lam=1 with hard=True"),
        ({"layer_beta": 1.0}, {}, r"layer 0, head 0 it imposes 0\.5 .* and model\.layer_beta=0, or lam=1 with hard=True"),
        ({"margin": MarginConfig()}, {"lam": 0.5, "hard": True}, r"lam is .*0\.5.* with hard block attention; it must be 1"),
        ({"bidirectional": True}, {}, r"model\.bidirectional is True"),
        ({}, {"generated": [24]}, r"generated is \[24\]; it must be positions from 0 to 23"),
    ],
)  # fmt: skip
def test_what_is_not_exactly_hard_everywhere_is_refused(options: Any, call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_of(**options).reach(TEXT, **call)


def test_hard_by_the_flag_by_the_gate_or_by_the_margin_alone() -> None:
    flag = model_of(margin=MarginConfig()).reach(TEXT, hard=True)
    gate = model_of().reach(TEXT, tau=3.0)
    margin = model_of(margin=MarginConfig(nats=140.0), score_cap=4.0)
    alone = margin.reach(TEXT)
    assert (flag.can == gate.can).all() and (flag.can == alone.can).all()
    assert [one.why_hard.split()[0:2] for one in (flag, gate, alone)] == [
        ["hard", "attention"],
        ["the", "gate,"],
        ["a", "gap"],
    ]
    with pytest.raises(
        ValueError, match=r"scores inside lead by 132 nats at least, of which exactly 0 needs 180"
    ):
        margin.reach(TEXT, tau=1.5)


def test_a_global_layer_must_be_the_last_and_then_sums_what_is_below() -> None:
    found = model_of(RelationConfig(layers=("own", "all"))).reach(TEXT)
    assert (found.can == np.tril(np.ones((24, 24), bool))).all()
    assert found.below is not None
    assert found.below.tokens(17).tolist() == [16, 17] and found.below.blocks(17).tolist() == [4]
    limit = r"relation\.layers is \('all', 'own'\); it must be without 'all' but in the last layer for a flow claim"
    with pytest.raises(ValueError, match=limit):
        model_of(RelationConfig(layers=("all", "own"))).reach(TEXT)


def test_given_ids_and_documents_are_named_in_the_condition() -> None:
    base = model_of(document_mask=True)
    model = replace(base, config=replace(base.config, partition=PartitionConfig(kind="given")))
    ids, docs = [0] * 3 + [1] * 3 + [0] * 2, [4] * 6 + [9] * 2
    found = model.reach(TEXT[:8], block_ids=ids, doc_ids=docs)
    assert found.condition.text == "for every input with these positions, block ids and documents"
    assert found.tokens(7).tolist() == [6, 7]
    assert found.blocks(7).tolist() != found.blocks(2).tolist()  # block 0 of another document is another one
    assert model.reach("the cat saw").condition.text == "for every text with the same blocks"


def test_generated_tokens_of_a_text_are_closed_over() -> None:
    model = model_of()
    plain, drawn = model.reach(TEXT), model.reach(TEXT, generated=range(16, 24))
    assert plain.tokens(21).tolist() == [20, 21]
    # 20 and 21 were drawn: 20 from 16–19, which were drawn: 16 from 12–15.
    assert drawn.tokens(21).tolist() == list(range(12, 22))
    assert drawn.answer.tolist() == list(range(12, 23))
    with pytest.raises(ValueError, match=r"generated is \(\); it must be at least one token"):
        _ = plain.answer


def test_a_continuation_is_read_in_the_windows_that_it_was_drawn_in() -> None:
    """Against the same tokens as a text, where one window held them; then where windows slid."""
    model = model_of(RelationConfig(shift=1, sink=True))
    options = GenerateOptions(lam=1.0, max_tokens=12)
    made = model.continuations("the cat saw the old owl", options)[0][0]
    found, first = model.reach(made), made.prompt_tokens
    assert len(made.ids) == first + 12 and made.dropped == 0
    text = model.reach(made.ids, generated=range(first, first + 12))
    assert found.positions.tolist() == list(range(first - 1, first + 11))
    np.testing.assert_array_equal(found.can, text.can[found.positions])
    assert found.answer.tolist() == text.answer.tolist()
    assert found.blocks(first + 10).tolist() == text.blocks(first + 10).tolist()
    with pytest.raises(ValueError, match=r"tau is 2\.0; it must be 1, at which this was generated"):
        model.reach(made, tau=2.0)
    with pytest.raises(ValueError, match=r"hard is True; it must be left out with a continuation"):
        model.reach(made, hard=True)


def test_what_a_window_dropped_stays_in_the_reach_of_what_was_drawn_from_it() -> None:
    """Windows of 5 tokens, which fall otherwise in each window of 24, and 60 drawn. Every token's reach, by a
    walk over the windows as `_Row` has them: a token depends on the tokens of its last block in its window,
    and each drawn one on its own.
    """
    model = model_of(size=5)
    made = model.continuations("the cat saw", GenerateOptions(lam=1.0, max_tokens=60))[0][0]
    assert made.dropped >= 3
    found, first = model.reach(made), made.prompt_tokens
    starts, start = {}, first - tokens_read(first, 24)
    for drawn in range(first, first + 60):
        if drawn - start >= 24:
            start = drawn - tokens_read(drawn - start, 24)
        starts[drawn] = start
    whole: dict[int, set[int]] = {}
    for drawn, start in starts.items():
        last = drawn - 1
        own = range(start + (last - start) // 5 * 5, drawn)
        whole[drawn] = set(own).union(*(whole[s] for s in own if s >= first))
        assert set(found.tokens(last).tolist()) == whole[drawn]
    assert min(whole[first + 59]) < 24 < starts[first + 59]  # through what no window holds any more
    windows = windows_read(first, first + 60, 24)
    assert len(windows) == made.dropped + 1 and windows[-1].end == first + 59
    assert all(a.end == b.first and a.end - a.start == 23 for a, b in pairwise(windows))  # then it was full
    blocks = found.block_ids
    assert (np.diff(blocks) >= 0).all() and blocks[0] == 0 and blocks[-1] == blocks.max()
