"""Settings at equal mean n_in: against trying every setting, and refusals."""

from dataclasses import replace

import numpy as np
import pytest

from aila_jax.config import DataConfig, PartitionConfig
from aila_jax.data.dataset import encode_documents
from aila_jax.data.documents import Document
from aila_jax.data.packing import TokenStream, pack
from aila_jax.data.tokenizer import Tokenizer, train_tokenizer
from aila_jax.partition.boundaries import boundary_order, next_token_entropy
from aila_jax.partition.fit import fit_partition
from aila_jax.partition.match import match_n_in, mean_n_in, search
from tests.oracles import partitions as oracle
from tests.support.tiny import sentences


@pytest.fixture(scope="module")
def text() -> tuple[Tokenizer, TokenStream]:
    documents = [Document("grammar", tuple(sentences(60, 0).splitlines()))]
    tokenizer = train_tokenizer(
        DataConfig(corpus="text", files=("never read",), tokenizer="word", vocab_size=60), documents
    )
    return tokenizer, encode_documents(tokenizer, documents)


@pytest.mark.parametrize("target", [1.0, 2.9, 6.0])
def test_windows(text: tuple[Tokenizer, TokenStream], target: float) -> None:
    found = match_n_in(target, PartitionConfig(), *text, length=16)
    means = {
        size: mean_n_in(fit_partition(PartitionConfig(size=size), *text), pack(text[1], 16, False))
        for size in range(1, 17)
    }
    assert found.config.size == min(means, key=lambda size: abs(means[size] - target))
    assert found.n_in == means[found.config.size]
    assert dict(found.tried).items() <= means.items()


def test_learned_segments_are_refitted_to_the_same_table(text: tuple[Tokenizer, TokenStream]) -> None:
    tokenizer, train = text
    base = PartitionConfig(kind="learned_segments")
    found = match_n_in(3.0, base, tokenizer, train, length=16)
    windows = pack(train, 16, False)
    order, _ = boundary_order(train, next_token_entropy(train, tokenizer.vocab_size))
    every = []
    for count in range(1, len(order) + 1):
        boundary = np.isin(np.arange(tokenizer.vocab_size), order[:count])
        ids = oracle.segments(windows.batch.tokens, windows.batch.doc_ids, boundary, restart=False)
        every.append(oracle.in_block_keys(ids)[ids != -1].mean())
    assert found.n_in == pytest.approx(min(every, key=lambda mean: abs(mean - 3.0)))
    again = fit_partition(found.config, tokenizer, train)
    np.testing.assert_array_equal(again.boundary, found.partition.boundary)


@pytest.mark.parametrize(("kind", "name"), [("induced_classes", "classes"), ("recruited", "max_classes")])
def test_classes_are_as_many_as_come_within_two_percent(
    text: tuple[Tokenizer, TokenStream], kind: str, name: str
) -> None:
    """Or, where no number of classes comes so close, the nearest of those that bisection tries."""
    for target in (2.5, 8.5):
        found = match_n_in(target, PartitionConfig(kind=kind), *text, length=16)
        tried = dict(found.tried)
        assert abs(found.n_in - target) == min(abs(n_in - target) for n_in in tried.values())
        assert found.n_in == tried[getattr(found.config, name)]
        assert found.n_in == mean_n_in(fit_partition(found.config, *text), pack(text[1], 16, False))
        if target == 8.5:  # more than two classes ever have
            assert getattr(found.config, name) == 2
        else:
            assert found.n_in == pytest.approx(target, rel=0.25)


def test_search_finds_the_nearest_or_what_is_close_enough() -> None:
    values = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    for target in (0.5, 2.9, 3.1, 16.0, 100.0):
        tried = search(values.__getitem__, len(values), target)
        assert len(tried) <= 3
        assert min(tried.values(), key=lambda value: abs(value - target)) == min(
            values, key=lambda value: abs(value - target)
        )
    assert search(values.__getitem__, len(values), 7.9, 0.02) == {3: 8.0}


def test_refusals(text: tuple[Tokenizer, TokenStream]) -> None:
    for target, limit in ((0.9, "from 1 to"), (9.0, r"\(length \+ 1\)/2 \(8.5\)")):
        with pytest.raises(ValueError, match=rf"target \(mean n_in\) is {target}; it must be .*{limit}"):
            match_n_in(target, PartitionConfig(), *text, length=16)
    with pytest.raises(ValueError, match="'segments', which has no setting"):
        match_n_in(3.0, replace(PartitionConfig(), kind="segments"), *text, length=16)
