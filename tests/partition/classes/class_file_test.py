"""Tests of class files: what every line means, and what is refused with its line."""

from pathlib import Path

import numpy as np
import pytest

from aila_jax.config import DataConfig
from aila_jax.data.documents import Document
from aila_jax.data.tokenizer import Tokenizer, train_tokenizer
from aila_jax.partition.classes.class_file import _text, _written, read_class_file

DOCUMENTS = [Document("d", (" the cat # sat ## the mat", "the the    cat , theatre #x ##y"))]
WORD = train_tokenizer(DataConfig(tokenizer="word"), DOCUMENTS)
BPE = train_tokenizer(DataConfig(vocab_size=290), DOCUMENTS)


def read(folder: Path, text: str | bytes, tokenizer: Tokenizer = WORD, **options: str):
    path = folder / "classes.tsv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_class_file(path, tokenizer, **options)


def classes(table, tokenizer: Tokenizer) -> dict[str, str]:
    """Class names by the text of the types."""
    return {text: table.names[index] for text, index in zip(tokenizer.types, table.table, strict=True)}


def test_word_level_tokens_stand_as_they_are(tmp_path):
    table = read(
        tmp_path, "\ufeffthe DET\r\n\n  cat   NOUN\n#\tsome mark\nmat NOUN\n<eos> END\n<unk>\tNOUN\n"
    )
    assert table.names == ("DET", "NOUN", "some mark", "END", "other")
    found = classes(table, WORD)
    named = {"the": "DET", "cat": "NOUN", "mat": "NOUN", "#": "some mark", "\n": "END", "<unk>": "NOUN"}
    assert found == {text: named.get(text, "other") for text in WORD.types}
    assert (
        table.note
        == f"classes.tsv names 6 of {WORD.vocab_size} types; the other {WORD.vocab_size - 6} are 'other'"
    )


def test_bpe_tokens_begin_a_word_unless_written_otherwise(tmp_path):
    assert {" the", "the", " ", ","} <= {*BPE.types}
    table = read(tmp_path, "the DET\n##the INSIDE\n▁ SPACE\n##, MARK\n<eos> END\n", BPE)
    found = classes(table, BPE)
    assert (found[" the"], found["the"], found[" "], found[","], found["a"]) == (
        "DET",
        "INSIDE",
        "SPACE",
        "MARK",
        "other",
    )
    assert table.names[table.table[BPE.eos_id]] == "END"
    assert np.bincount(table.table).tolist() == [1, 1, 1, 1, 1, BPE.vocab_size - 5]
    # An underline is a space everywhere, so this names the same type twice.
    with pytest.raises(ValueError, match=r"classes\.tsv:2 has the token '▁the', which line 1 has too"):
        read(tmp_path, "the DET\n▁the DET\n", BPE)


def test_every_type_that_can_be_written_is_read_back(tmp_path):
    for tokenizer in (WORD, BPE):
        filled = [text.replace(" ", "x") for text in tokenizer.types]
        ids = [index for index, text in enumerate(filled) if text.split() == [text] and "�" not in text]
        written = [_written(tokenizer, index) for index in ids]
        table = read(
            tmp_path,
            "".join(f"{token}\tclass{index}\n" for token, index in zip(written, ids, strict=True)),
            tokenizer,
        )
        assert [table.names[table.table[index]] for index in ids] == [f"class{index}" for index in ids]
        assert len(ids) > len(tokenizer.types) / 4
    assert [_text(token) for token in ("##", "###", "▁##a", "▁▁", "#")] == [" ##", "#", " ##a", "  ", " #"]


def test_types_left_over_go_where_the_caller_says(tmp_path):
    table = read(tmp_path, "the A\ncat B\n", unnamed="A")
    assert table.names == ("A", "B")
    assert np.count_nonzero(table.table) == 1
    with pytest.raises(
        ValueError,
        match=(
            rf"leaves {WORD.vocab_size - 2} of {WORD.vocab_size} types without a class, '<eos>' first; it"
            r" must name every.*Fix"
        ),
    ):
        read(tmp_path, "the A\ncat B\n", unnamed="")
    every = "".join(
        f"{'<eos>' if text == chr(10) else text} {index % 2}\n" for index, text in enumerate(WORD.types)
    )
    assert read(tmp_path, every, unnamed="").names == ("0", "1")
    assert read(tmp_path, "the A\n").names == ("A", "other")  # two blocks


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "the DET\nzebra NOUN\n",
            (
                r"classes\.tsv:2 has the token 'zebra', which is none of the \d+ types of the vocabulary\."
                r" Fix: remove"
            ),
        ),
        ("The DET\n", r":1 has the token 'The'.*Fix: write the, which is one of them"),
        (
            "the DET\n\ncat N\nthe DET\n",
            r":4 has the token 'the', which line 1 has too; a token has one class\. Fix: remove one line",
        ),
        (
            "the DET\ncat\n",
            (
                r":2 has 'cat', 1 fields; a line must have 2, a token and its class\. Fix: write the token, a"
                r" tab and the class"
            ),
        ),
        ("the DET N\n", r":1 has 'the DET N', 3 fields"),
        ("the\tDET\tN\n", r":1 has 'the\\tDET\\tN', 3 fields"),
        ("the\t\n", r":1 has 'the\\t', 2 fields; a line must have 2"),
        ("# my own classes\nthe DET\n", r":1 has '# my own classes', 4 fields.*there are no comments"),
        (
            "\n \n",
            r"classes\.tsv has no classes; it must have a token and its class on at least 1 line\. Fix",
        ),
        ("", r"has no classes"),
        ("the other\ncat other\n", r"puts all \d+ types into class 'other'; at least 2 classes.*Fix"),
        (b"the DET\ncat \xff\n", r"classes\.tsv is not UTF-8: byte 0xff at offset 12"),
    ],
)
def test_bad_files_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ġthe DET\n", r":1 has the token 'Ġthe'.*Fix: write the, which is the type that begins a word"),
        (", MARK\n", r":1 has the token ','.*Fix: write ##, for the type without a space before it"),
        (
            "zebra N\n",
            r":1 has the token 'zebra'.*words of several types need --config\.data\.tokenizer=word",
        ),
    ],
)
def test_bpe_tokens_that_are_none_are_refused(tmp_path, text, message):
    bpe = train_tokenizer(DataConfig(vocab_size=270), [Document("d", ("the cat, the mat, the",))])
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text, bpe)


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"class file '.*none\.tsv' is no file; it must be a UTF-8 text file\. Fix: correct the path",
    ):
        read_class_file(tmp_path / "none.tsv", WORD)
    with pytest.raises(ValueError, match=r"is a folder"):
        read_class_file(tmp_path, WORD)
