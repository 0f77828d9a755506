"""Given ids that come back: against a loop, and refused where a relation needs stretches of text: in what a
loaded model is given, in a corpus that is trained on, and in one that is measured.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from aila_jax.config import PartitionConfig, RelationConfig
from aila_jax.config.options import SweepOptions
from aila_jax.data.packing import TokenStream
from aila_jax.evaluation.sweep import sweep_grid
from aila_jax.inference.corpus import split_windows
from aila_jax.partition.returning import returning
from aila_jax.types import GLOBAL_ID, PADDING_ID
from tests.support.untrained import untrained_model

IDS = npst.arrays(np.int32, st.tuples(st.integers(1, 3), st.integers(1, 8)), elements=st.integers(-2, 2))


def by_loop(ids, docs):
    """The rows with a block that comes back, each with the first such block."""
    for row in range(len(ids)):
        last, seen = None, set()
        for block, doc in zip(ids[row].tolist(), docs[row].tolist(), strict=True):
            if block in (GLOBAL_ID, PADDING_ID):
                continue
            if (doc, block) != last and (doc, block) in seen:
                return row
            last = (doc, block)
            seen.add(last)
    return None


@given(IDS, st.booleans(), st.integers(0, 8))
def test_a_block_that_comes_back_is_found_in_its_row(ids, masked, cut):
    docs = np.zeros_like(ids)
    docs[:, cut:] = 1
    found = returning(ids, docs if masked else None)
    want = by_loop(ids, docs if masked else np.zeros_like(ids))
    assert (None if found is None else found[0]) == want
    if found is not None:
        places = np.flatnonzero(ids[found[0]] == found[1])
        between = ids[found[0], places[0] : places[-1]]
        assert len(set(between.tolist()) - {GLOBAL_ID, PADDING_ID}) > 1


def apply(model, tokens, ids, docs=None):
    return model.apply(
        np.array([tokens]), block_ids=np.array([ids]), doc_ids=None if docs is None else np.array([docs])
    )


def given_model(relation, **model_settings):
    model = untrained_model()
    config = model.config
    config = replace(
        config,
        partition=PartitionConfig(kind="given"),
        relation=relation,
        model=replace(config.model, **model_settings),
    )
    return replace(model, config=config, meta={"data": {"given": "fields"}})


POINTS = RelationConfig(pointers="ends")
BACK = [0, 0, 1, 1, 0, 2]


@pytest.mark.parametrize("relation", [POINTS, RelationConfig(shift=1)])
def test_a_loaded_model_refuses_them_wherever_it_is_given_ids(relation):
    model = given_model(relation)
    tokens = model.tokenizer.encode("the cat saw the old owl near the river")[:6]
    prompt = model.tokenizer.encode("the cat saw the old owl")
    message = (
        r"block_ids is 'block 0 in two places of row 0'; it must be blocks in one piece each with relation\."
        rf"{'pointers .ends.' if relation.points else 'shift'}.*Fix: give each piece an id of its own"
    )
    for call in (
        lambda: apply(model, tokens, BACK),
        lambda: model.attention(tokens, block_ids=BACK),
        lambda: model.score(tokens, block_ids=BACK),
        lambda: model.generate("the cat saw the old owl", block_ids=(BACK * 9)[: len(prompt)]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()


def test_what_is_no_stretch_is_read_where_nothing_asks_for_stretches():
    tokens = untrained_model().tokenizer.encode("the cat saw the old owl near the river")[:6]
    for relation in (RelationConfig(), RelationConfig(sink=True), RelationConfig(layers=("own", "all"))):
        assert apply(given_model(relation), tokens, BACK).logits.shape[1] == 6
    pointed = given_model(RelationConfig(pointers="ends", layers=("windows:4", "all")))
    assert apply(pointed, tokens, BACK).logits.shape[1] == 6
    model = given_model(POINTS)
    assert apply(model, tokens, [0, GLOBAL_ID, 0, 1, 1, PADDING_ID]).logits.shape[1] == 6
    model = given_model(POINTS, document_mask=True)
    assert apply(model, tokens, [0, 0, 1, 0, 0, 1], [0, 0, 0, 1, 1, 1]).logits.shape[1] == 6


@pytest.mark.usefixtures("unchecked_shapes")
def test_ids_of_another_length_are_refused_with_a_relation():
    model = given_model(POINTS)
    tokens = model.tokenizer.encode("the cat saw the old owl near the river")[:6]
    with pytest.raises(
        ValueError, match=r"block_ids has shape \(1, 5\); it must be that of tokens, \(1, 6\)"
    ):
        apply(model, tokens, BACK[:5])
    with pytest.raises(ValueError, match=r"block_ids\.shape is \(5,\); it must be \(6,\)"):
        model.attention(tokens, block_ids=BACK[:5])


def interleaved(dataset):
    """The same text; its training split's blocks come back."""

    def again(stream: TokenStream) -> TokenStream:
        ids = (np.arange(len(stream.tokens)) // 3 % 2).astype(np.int32)
        return TokenStream(stream.tokens, stream.doc_ids, ids, stream.words, stream.bytes)

    return replace(dataset, splits={name: again(stream) for name, stream in dataset.splits.items()})


def test_a_corpus_with_such_blocks_is_not_trained_on_nor_measured(trained):
    config = replace(trained.config, partition=PartitionConfig(kind="given"))
    dataset = interleaved(trained.dataset)
    assert len(split_windows(config, dataset, "train"))
    pointed = replace(config, relation=POINTS)
    assert len(split_windows(pointed, trained.dataset, "train"))
    message = (
        r"the blocks of split 'train' is 'block 0 in two places of row 0'; it must be blocks in one piece"
    )
    with pytest.raises(ValueError, match=message):
        split_windows(pointed, dataset, "train")
    model = replace(trained.model, config=pointed)
    with pytest.raises(ValueError, match=message.replace("train", "validation")):
        sweep_grid(model, dataset, SweepOptions(lams=(1.0,), taus=(1.0,)), quiet=True)
