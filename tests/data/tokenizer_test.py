"""Tests of the two tokenizers against counting and splitting in plain Python."""

import collections
import json
import os
import subprocess
import sys

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from aila_jax.config import DataConfig
from aila_jax.data.documents import Document
from aila_jax.data.tokenizer import EOS, UNK, Tokenizer, train_tokenizer
from aila_jax.data.tokenizer_file import BYTE_OF
from benchmarks.turns import memory

PIECES = ("the cat sat on the mat", "the dog and the cat", "", "a naïve café , a café", "a dog \n the cat")
DOCUMENTS = [Document("d", PIECES), Document("e", ("the the the mat",))]
KINDS = {
    "bpe": train_tokenizer(DataConfig(tokenizer="bpe", vocab_size=300), DOCUMENTS),
    "word": train_tokenizer(DataConfig(tokenizer="word"), DOCUMENTS),
}
WHITESPACE = " \t\n\x0b\x0c\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u3000"


@pytest.fixture(params=sorted(KINDS))
def tokenizer(request) -> Tokenizer:
    return KINDS[request.param]


@given(st.text())
def test_bpe_round_trip_is_exact(text):
    bpe = KINDS["bpe"]
    ids = bpe.encode(text)
    assert bpe.decode(ids) == text
    assert ids.count(bpe.eos_id) == text.count("\n")
    assert all(0 <= token < bpe.vocab_size for token in ids)


@pytest.mark.parametrize("text", ["<eos>", "a<eos>b", " <eos>\n<unk>", "\x00\r\n", "👩‍👩‍👧 ﷺ", "\n\n"])
def test_bpe_reads_reserved_words_and_odd_text_as_text(text):
    bpe = KINDS["bpe"]
    assert bpe.decode(bpe.encode(text)) == text
    assert bpe.encode(text).count(bpe.eos_id) == text.count("\n")


@given(st.lists(st.sampled_from(["the", "cat", "zebra", "café", *WHITESPACE]), max_size=12).map("".join))
def test_words_are_those_of_str_split(text):
    word = KINDS["word"]
    vocabulary = json.loads(word.to_json())["model"]["vocab"]
    expected = []
    for number, line in enumerate(text.split("\n")):
        expected += [word.eos_id] * (number > 0) + [
            vocabulary.get(item, vocabulary[UNK]) for item in line.split()
        ]
    assert word.encode(text) == expected


def test_word_decode_joins_with_spaces_and_line_ends():
    word = KINDS["word"]
    assert word.decode(word.encode("the  zebra \n\n café , mat")) == f"the {UNK}\n\ncafé , mat"


def test_word_vocabulary_is_the_most_frequent_words_with_ties_by_name():
    counts = collections.Counter(item for document in DOCUMENTS for item in document.text.split())
    expected = [EOS, UNK, *sorted(counts, key=lambda item: (-counts[item], item))]
    for size in (3, 7, 1000):
        vocabulary = json.loads(
            train_tokenizer(DataConfig(tokenizer="word", vocab_size=size), DOCUMENTS).to_json()
        )["model"]["vocab"]
        assert sorted(vocabulary, key=vocabulary.get) == expected[:size]


def test_reserved_words_in_the_text_are_the_reserved_tokens_of_the_word_level():
    word = train_tokenizer(DataConfig(tokenizer="word"), [Document("d", (f"a {UNK} {UNK} {EOS} b",))])
    assert json.loads(word.to_json())["model"]["vocab"] == {EOS: 0, UNK: 1, "a": 2, "b": 3}
    assert word.encode(f"{EOS} {UNK} {UNK}") == [
        word.eos_id,
        word.encode("nothing")[0],
        word.encode("nothing")[0],
    ]


def test_bpe_merges_the_most_frequent_pair_first():
    # "ab" stands 5 times, every other pair at most 3 times.
    bpe = train_tokenizer(DataConfig(vocab_size=258), [Document("d", ("abab abx aby cd cd cd abz",))])
    assert json.loads(bpe.to_json())["model"]["merges"] == [["a", "b"]]
    assert len(bpe.encode("ab")) == 1
    assert len(bpe.encode("ac")) == 2


def test_bpe_vocabulary_holds_eos_all_bytes_and_merges():
    bpe = KINDS["bpe"]
    model = json.loads(bpe.to_json())["model"]
    assert bpe.vocab_size == 1 + 256 + len(model["merges"])
    assert bpe.vocab_size <= 300


def test_pieces_end_with_one_eos_each(tokenizer):
    assert tokenizer.encode_pieces(PIECES) == [
        [*tokenizer.encode(piece), tokenizer.eos_id] for piece in PIECES
    ]
    assert tokenizer.encode_pieces([]) == []
    assert tokenizer.encode_pieces([""]) == [[tokenizer.eos_id]]


def test_json_round_trip_keeps_everything(tokenizer):
    again = Tokenizer.from_json(tokenizer.to_json())
    assert (again.to_json(), again.fingerprint, again.vocab_size, again.eos_id) == (
        tokenizer.to_json(),
        tokenizer.fingerprint,
        tokenizer.vocab_size,
        tokenizer.eos_id,
    )
    assert again.encode("the new café\n") == tokenizer.encode("the new café\n")


def test_json_is_read_by_the_library_itself(tokenizer):
    plain = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    assert plain.encode("the café").ids == tokenizer.encode("the café")


def test_fingerprint_differs_between_tokenizers():
    assert KINDS["bpe"].fingerprint != KINDS["word"].fingerprint


def test_training_is_the_same_in_another_process(tokenizer):
    kind = "word" if tokenizer is KINDS["word"] else "bpe"
    program = (
        "from aila_jax.config import DataConfig; from aila_jax.data.documents import Document;from"
        " aila_jax.data.tokenizer import train_tokenizer;documents = [Document('d', pieces) for pieces in"
        f" {[document.pieces for document in DOCUMENTS]!r}];print(train_tokenizer(DataConfig(tokenizer={kind!r},"
        f" vocab_size={300 if kind == 'bpe' else 4096}), documents).fingerprint)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    assert found.stdout.strip() == tokenizer.fingerprint


def test_bad_json_and_bad_ids_are_refused(tokenizer):
    with pytest.raises(ValueError, match=r"cannot be read .*Fix: pass the text of a tokenizer\.json"):
        Tokenizer.from_json("{}")
    without = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a")).to_str()
    with pytest.raises(ValueError, match=r"no <eos> among its 1 types"):
        Tokenizer.from_json(without)
    for bad in (-1, tokenizer.vocab_size):
        with pytest.raises(
            ValueError, match=rf"token id is {bad}; it must be from 0 to {tokenizer.vocab_size - 1}\. Fix"
        ):
            tokenizer.decode([0, bad])


def test_a_text_that_is_not_unicode_is_refused(tokenizer):
    """What Python makes of the byte 0xff on a command line."""
    with pytest.raises(
        ValueError,
        match=r"the text holds '\\udcff' at character 4; it must be Unicode\. Fix: give it as UTF-8",
    ):
        tokenizer.encode("the \udcff")


def test_types_are_texts_by_id(tokenizer):
    assert tokenizer.byte_level == (tokenizer is KINDS["bpe"])
    assert len(tokenizer.types) == tokenizer.vocab_size
    assert tokenizer.types[tokenizer.eos_id] == "\n"
    text = "the cat and a cat"
    ids = tokenizer.encode(text)
    assert ("" if tokenizer.byte_level else " ").join(tokenizer.types[index] for index in ids) == text
    if tokenizer.byte_level:
        assert " cat" in tokenizer.types
        assert "�" in tokenizer.types


def test_bytes_that_are_no_character_are_written_out_and_whole_ones_are_not(tokenizer):
    learned = train_tokenizer(DataConfig(vocab_size=300), [Document("", ("中文 é",) * 9)])
    ids = learned.encode("a中b � é😀")
    assert learned.decode(ids) == "a中b � é😀"
    assert learned.decode(ids[:-1]).endswith("é<F09F98>")
    assert learned.decode([*ids[-1:], learned.eos_id, *ids[:1]]) == "<80>\na"
    for symbol, byte in BYTE_OF.items():
        alone = learned.decode([learned._model.token_to_id(symbol)])
        assert alone == (chr(byte) if byte < 0x80 else f"<{byte:02X}>")


def test_a_tokenizer_that_is_loaded_again_holds_no_more_memory(tokenizer):
    before, words = memory("RssAnon"), [f"word{number} other{number}" for number in range(2000)]
    if before is None:
        pytest.skip("this system does not say what a process holds")
    for _ in range(40):
        Tokenizer.from_json(tokenizer.to_json()).encode_pieces(words)
    after = memory("RssAnon")
    assert after is not None
    assert after - before < 10 * 2**20
