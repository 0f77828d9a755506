"""Tests of documents, corpora and their fingerprint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aila_jax.data.documents import Corpus, Document, fingerprint, unix_line_ends

DOCUMENTS = st.lists(st.lists(st.text(max_size=3), min_size=1, max_size=3), max_size=3)


def test_text_ends_every_piece_with_a_line_end():
    assert Document("d", ("one", "", "two")).text == "one\n\ntwo\n"


@pytest.mark.parametrize("other", [[("ab", "c")], [("a", "b", "c")], [("a",), ("bc",)], [("a", "bc"), ("",)]])
def test_fingerprint_sees_where_pieces_and_documents_end(other):
    assert fingerprint([Document("d", ("a", "bc"))]) != fingerprint(
        [Document("d", pieces) for pieces in other]
    )


@given(DOCUMENTS, DOCUMENTS)
def test_fingerprint_is_equal_exactly_for_equal_pieces(left, right):
    first, second = (
        [Document(str(number), tuple(pieces)) for number, pieces in enumerate(side)] for side in (left, right)
    )
    assert (fingerprint(first) == fingerprint(second)) == (left == right)


def test_fingerprint_leaves_titles_out():
    assert fingerprint([Document("one", ("a",))]) == fingerprint([Document("two", ("a",))])


def test_empty_documents_and_splits_are_refused():
    document = Document("d", ("a",))
    with pytest.raises(ValueError, match=r"'x' has 0 pieces; it must have at least 1\. Fix"):
        Document("x", ())
    with pytest.raises(
        ValueError, match=r"split 'test' of corpus 'c' has 0 documents; it must have at least 1\. Fix"
    ):
        Corpus("c", {"train": (document,), "validation": (document,), "test": ()})
    with pytest.raises(ValueError, match=r"has splits \('train', 'dev'\); they must be"):
        Corpus("c", {"train": (document,), "dev": (document,)})


def test_line_ends_of_every_system_become_newlines():
    assert unix_line_ends("a\r\nb\rc\nd\n\r") == "a\nb\nc\nd\n\n"
