"""Tests of annotated files as a corpus: documents, splits, and the block id of every token."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aila_jax.config import DataConfig
from aila_jax.data.corpora import load_corpus
from aila_jax.data.dataset import Dataset, encode_documents, load_dataset, word_blocks
from aila_jax.data.documents import Document
from aila_jax.data.tokenizer import train_tokenizer
from aila_jax.partition.kinds import Given
from aila_jax.types import PADDING_ID

EXAMPLE = Path(__file__).parent / "examples" / "sentences.conllu"


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Dataset]:
    """`load(blocks, …)`: the example file as a data set of words."""

    def load(blocks: str, **settings) -> Dataset:
        settings = {"files": (str(EXAMPLE),), "tokenizer": "word", "cache_dir": str(tmp_path)} | settings
        return load_dataset(DataConfig(corpus="conllu", conllu_blocks=blocks, **settings))

    return load


def test_sentences_are_pieces_and_the_last_ones_are_held_out():
    config = DataConfig(
        corpus="conllu", files=(str(EXAMPLE),), valid_fraction=0.2, test_fraction=0.1, hold_out="lines"
    )
    corpus = load_corpus(config)
    by_text = load_corpus(replace(config, hold_out="text")).splits
    assert [sum(len(document.pieces) for document in by_text[split]) for split in by_text] == [9, 2, 2]
    train, validation, test = corpus.splits.values()
    assert corpus.name == "conllu"
    assert [(document.title, len(document.pieces)) for document in train] == [("bridge", 6), ("market", 3)]
    assert [document.pieces for document in (*validation, *test)] == [
        ("Anna sold apples and Omar pears .", "The price rose 1 000 euros .", "Buying early pays ."),
        ("All went home .",),
    ]
    assert train[1].pieces[:2] == ("Bread and cheese cost little .", "I do n't know , she said .")
    assert validation[0].blocks == ((9,) * 8, (10,) * 8, (11,) * 5)


def test_documents_begin_at_files_and_at_newdoc(tmp_path):
    row = "1\t{}\t_\tX\t_\t_\t0\troot\t_\t_\n\n"
    (tmp_path / "a.conllu").write_bytes(
        ("\ufeff" + row.format("one") + "# newdoc\n" + row.format("two")).replace("\n", "\r\n").encode()
    )
    (tmp_path / "b.conllu").write_text(row.format("three") + row.format("four") + row.format("five"))
    names = [str(tmp_path / f"{name}.conllu") for name in "ab"]
    splits = load_corpus(DataConfig(corpus="conllu", files=tuple(names))).splits
    assert [(document.title, document.pieces) for document in splits["train"]] == [
        (f"{names[0]}, sentence 1", ("one",)),
        (f"{names[0]}, sentence 2", ("two",)),
        (f"{names[1]}, sentence 1", ("three",)),
    ]
    # Block ids go on from file to file, or blocks of two documents in one window would be one.
    assert [document.blocks for document in splits["train"]] == [((0, 0),), ((1, 1),), ((2, 2),)]


@pytest.mark.parametrize("kind", ["word", "bpe"])
@pytest.mark.parametrize("blocks", ["sentences", "classes", "constituents"])
def test_every_token_has_the_block_of_its_word(load, kind, blocks):
    data = load(blocks, tokenizer=kind, vocab_size=300)
    documents = load_corpus(DataConfig(corpus="conllu", files=(str(EXAMPLE),), conllu_blocks=blocks)).splits[
        "train"
    ]
    stream, tokens, ids = data.splits["train"], [], []
    for document in documents:
        for piece, own in zip(document.pieces, document.blocks, strict=True):
            for number, word in enumerate(piece.split(" ")):
                found = data.tokenizer.encode(f" {word}" if number else word)
                tokens += found
                ids += [own[number]] * len(found)
            tokens.append(data.tokenizer.eos_id)
            ids.append(own[-1])
    np.testing.assert_array_equal(stream.tokens, tokens)
    np.testing.assert_array_equal(stream.given_ids, ids)
    assert len(tokens) > stream.words or kind == "word"
    # And through packing to the partition.
    batch = data.windows("train", 10, document_mask=False).batch
    found = np.asarray(Given()(batch))
    assert found[batch.doc_ids != PADDING_ID].tolist() == ids[:-1]


def test_words_that_no_text_would_hold_apart_keep_their_blocks():
    """Marks, digits, contractions and other scripts, where byte-level BPE cuts in its own way."""
    words = ["don", "'t", "...", "'s", "a'b", "12ab", "-", "日本", "e\u0301", "\u200b", "''", "(x)", "\x00"]
    document = Document("d", (" ".join(words), "x"), (tuple(range(len(words) + 1)), (50, 51)))
    for kind in ("bpe", "word"):
        tokenizer = train_tokenizer(DataConfig(tokenizer=kind, vocab_size=280), [document])
        stream, ids = encode_documents(tokenizer, [document]), word_blocks(tokenizer, [document])
        texts = [tokenizer.decode(stream.tokens[ids == number]).strip() for number in range(len(words))]
        assert texts == [word.strip() for word in words]


def test_the_annotation_is_part_of_the_fingerprint(load):
    one, again, other = load("sentences"), load("sentences"), load("constituents")
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert one.tokenizer.fingerprint == other.tokenizer.fingerprint


def test_bad_settings_and_files_are_refused(load, tmp_path):
    with pytest.raises(
        ValueError,
        match=r"data\.conllu_blocks is 'clauses'; it must be one of sentences, classes, constituents",
    ):
        load("clauses")
    with pytest.raises(
        ValueError,
        match=r"data\.conllu_blocks is 'classes'; it must be left alone when data\.corpus is 'text'",
    ):
        DataConfig(corpus="text", files=("a",), conllu_blocks="classes")
    with pytest.raises(
        ValueError, match=r"data\.files is \(\); it must be at least one path or glob\. Fix: .*conllu"
    ):
        load("sentences", files=())
    bad = tmp_path / "bad.conllu"
    bad.write_text(EXAMPLE.read_text(encoding="utf-8").replace("\tDET\t", "\tD\t", 1), encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.conllu:6 has UPOS 'D'"):
        load("classes", files=(str(bad),))
    bad.write_bytes(b"1\t\xff")
    with pytest.raises(ValueError, match=r"bad\.conllu is not UTF-8: byte 0xff at offset 2"):
        load("classes", files=(str(bad),))
    bad.write_text(f"1\ta{chr(9) + '_'}" + "\t_" * 7 + "\n")
    with pytest.raises(
        ValueError, match=r"data\.files has 1 sentences; holding out test and validation needs more than 2"
    ):
        load("sentences", files=(str(bad),))
    with pytest.raises(ValueError, match=r"same content"):
        load("sentences", files=(str(EXAMPLE),), valid_files=(str(_copy(tmp_path)),))


def _copy(folder: Path) -> Path:
    path = folder / "copy.conllu"
    path.write_bytes(EXAMPLE.read_bytes())
    return path


def test_block_ids_must_fit_the_words():
    with pytest.raises(
        ValueError,
        match=r"document 'd' has 2 block ids for 'a b'; it must have one for each of its 2 words.*Fix",
    ):
        Document("d", ("a b",), ((0, 0),))
    with pytest.raises(ValueError, match=r"3 block ids for 'a  b'"):
        Document("d", ("a  b",), ((0, 0, 0),))
