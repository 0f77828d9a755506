"""Boundary types: punctuation read from the types' own text, and learned ones by hand and by count."""

import numpy as np
import pytest

from aila_jax.config import DataConfig, PartitionConfig
from aila_jax.data.dataset import encode_documents
from aila_jax.data.documents import Document
from aila_jax.data.packing import TokenStream
from aila_jax.data.tokenizer import Tokenizer, train_tokenizer
from aila_jax.partition.boundaries import learned_boundaries, next_token_entropy, punctuation_boundaries
from aila_jax.partition.fit import fit_partition
from aila_jax.partition.kinds import Segments
from aila_jax.types import Batch

WIKITEXT = (
    "= Robert = \nHe , who was born in 1 @,@ 950 ( or 1 @-@ 2 ) ; \" went . \" And ? ! Mr. … — -- – - : ' '"
    " a's <unk>"
)
PLAIN = 'He (who?) said: "No." Then, etc.), it was [1]; — so -- no! "Yes"... It\'s x.y :: a-b <eos>'


def stream_of(tokens: list[int], doc_ids: list[int] | None = None) -> TokenStream:
    array = np.asarray(tokens, np.int32)
    documents = np.zeros(len(tokens), np.int32) if doc_ids is None else np.asarray(doc_ids, np.int32)
    return TokenStream(array, documents, np.zeros_like(array), len(tokens), len(tokens))


def tokenizer_of(text: str, kind: str) -> Tokenizer:
    data = DataConfig(corpus="text", files=("never read",), tokenizer=kind, vocab_size=600)
    return train_tokenizer(data, [Document("one", tuple(text.split("\n")) * 30)])


def closing(text: str, kind: str, unit: str) -> set[str]:
    tokenizer = tokenizer_of(text, kind)
    boundary = punctuation_boundaries(tokenizer, unit)
    assert boundary.shape == (tokenizer.vocab_size,) and boundary.dtype == bool
    return {tokenizer.decode([int(token)]).strip() for token in np.flatnonzero(boundary)}


@pytest.mark.parametrize(
    ("unit", "want"),
    [
        ("sentence", {"", ".", "?", "!", "…"}),
        ("clause", {"", ".", "?", "!", "…", ",", ";", ")", "—", "--", "–", ":"}),
    ],
)
def test_marks_of_a_word_vocabulary(unit: str, want: set[str]) -> None:
    """The line end decodes to an empty word; words that hold a mark, the single hyphen, quotes and <unk>
    close nothing.
    """
    assert closing(WIKITEXT, "word", unit) == want


def test_marks_of_byte_pairs_are_read_without_their_space() -> None:
    sentences, clauses = (closing(PLAIN, "bpe", unit) for unit in ("sentence", "clause"))
    assert {".", "?", "!", "?)", '."', '"...'} <= sentences
    assert not sentences & {"),", ".),", ":", ",", ";", "]", ")", '"', "-", "--", ">", "'", "::", "<"}
    assert {"),", ".),", ":", ",", "];", "]", ")", "--", "::"} | sentences <= clauses
    assert not any(text and text[-1].isalnum() for text in clauses)
    assert not clauses & {'"', "'", "-", "(", "[", "<", ">", "\ufffd"}


def test_segments_end_with_their_marks() -> None:
    tokenizer = tokenizer_of(WIKITEXT, "word")
    stream = encode_documents(tokenizer, [Document("one", ("He , who went . And", "so ?"))])
    for unit, want in (
        ("clause", [0, 0, 1, 1, 1, 2, 2, 3, 3, 4]),
        ("sentence", [0, 0, 0, 0, 0, 1, 1, 2, 2, 3]),
    ):
        partition = fit_partition(PartitionConfig(kind="segments", unit=unit), tokenizer, stream)
        assert isinstance(partition, Segments) and partition.vocabulary == tokenizer.fingerprint
        assert np.asarray(partition(Batch.from_tokens(stream.tokens[None])))[0].tolist() == want


def test_learned_boundaries_by_hand() -> None:
    """Type 3 is followed by four types, 2 by two, 1 by one, 0 by nothing; 4, 5 and 6 only by 3."""
    tokens = [3, 4, 3, 5, 3, 6, 3, 1, 2, 1, 2, 3, 4, 3, 0]
    stream = stream_of(tokens)
    entropy = next_token_entropy(stream, 8)
    ranked = sorted(range(1, 7), key=lambda token: -entropy.entropy[token])
    assert ranked[:2] == [3, 2]
    assert np.flatnonzero(learned_boundaries(stream, entropy, 3.0)).tolist() == [3]  # 15 / 6 = 2.5
    assert np.flatnonzero(learned_boundaries(stream, entropy, 2.5)).tolist() == [3]
    assert np.flatnonzero(learned_boundaries(stream, entropy, 2.4)).tolist() == [2, 3]
    assert np.flatnonzero(learned_boundaries(stream, entropy, 2.0)).tolist() == [2, 3]
    assert np.flatnonzero(learned_boundaries(stream, entropy, 1e6)).tolist() == [3]
    assert not learned_boundaries(stream, entropy, 1.0)[[0, 7]].any()  # nothing follows them


def test_a_rare_type_is_no_boundary_for_its_rarity_and_bigrams_stay_inside_documents() -> None:
    """With much smoothing the rare types, of which little is known, would rank above the type that many
    others follow.
    """
    draw = np.random.default_rng(0)
    body = np.stack([np.zeros(600, int), draw.integers(10, 40, 600)], axis=1).reshape(-1)
    tokens = [*body.tolist(), 5, 11, 6, 12, 7, 13]
    entropy = next_token_entropy(stream_of(tokens), 40)
    assert int(np.argmax(entropy.entropy[entropy.counts > 0])) == 0
    assert np.flatnonzero(learned_boundaries(stream_of(tokens), entropy, 2.5)).tolist() == [0]
    two = next_token_entropy(stream_of([0, 1, 2, 3], [0, 0, 1, 1]), 4)
    assert two.counts.tolist() == [1, 0, 1, 0]
