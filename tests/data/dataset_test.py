"""Tests of data sets: encoding, caching, refusals, and the published counts of WikiText-2."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from aila_jax.config import Config, DataConfig
from aila_jax.data import dataset as module
from aila_jax.data.corpora import load_corpus
from aila_jax.data.dataset import Dataset, encode_documents, load_dataset
from aila_jax.data.documents import Document
from aila_jax.data.tokenizer import Tokenizer, train_tokenizer

DOCUMENTS = (
    Document("a", ("one two", "", "three  four\nfive")),
    Document("b", ("été",)),
    Document("c", ("", "six")),
)


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    """A text corpus of three small files."""
    for name, text in (
        ("train", "the cat sat\n\non the mat\n"),
        ("valid", "the dog sat\n"),
        ("test", "the owl\nsat\n"),
    ):
        (tmp_path / f"{name}.txt").write_text(text)
    files = {
        f"{key}files": (str(tmp_path / f"{name}.txt"),)
        for key, name in (("", "train"), ("valid_", "valid"), ("test_", "test"))
    }
    return DataConfig(corpus="text", tokenizer="word", cache_dir=str(tmp_path / "cache"), **files)


@pytest.mark.parametrize("kind", ["bpe", "word"])
@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_encoding_is_that_of_a_loop_over_pieces(monkeypatch, kind, chunk):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    tokenizer = train_tokenizer(DataConfig(tokenizer=kind, vocab_size=270), DOCUMENTS)
    tokens, doc_ids, given_ids, piece_number = [], [], [], 0
    for number, document in enumerate(DOCUMENTS):
        for piece in document.pieces:
            ids = [*tokenizer.encode(piece), tokenizer.eos_id]
            tokens += ids
            doc_ids += [number] * len(ids)
            given_ids += [piece_number] * len(ids)
            piece_number += 1
    found = encode_documents(tokenizer, DOCUMENTS)
    np.testing.assert_array_equal(found.tokens, tokens)
    np.testing.assert_array_equal(found.doc_ids, doc_ids)
    np.testing.assert_array_equal(found.given_ids, given_ids)
    text = "".join(document.text for document in DOCUMENTS)
    assert found.words == len(text.split()) + text.count("\n") == 14
    assert found.bytes == len(text.encode())
    if kind == "word":
        assert len(found.tokens) == found.words
    else:
        assert tokenizer.decode(found.tokens) == text


def test_the_vocabulary_sees_the_train_split_only(config):
    data = load_dataset(config)
    assert data.name == "text"
    assert [data.tokenizer.decode(stream.tokens) for stream in data.splits.values()] == [
        "the cat sat\n\non the mat\n",
        "the <unk> sat\n",
        "the <unk>\nsat\n",
    ]
    assert {split: (stream.words, stream.bytes) for split, stream in data.splits.items()} == {
        "train": (9, 24),
        "validation": (4, 12),
        "test": (5, 12),
    }


def test_a_given_tokenizer_is_used_and_none_is_trained(config, monkeypatch):
    other = train_tokenizer(DataConfig(tokenizer="bpe", vocab_size=260), DOCUMENTS)
    monkeypatch.setattr(module, "train_tokenizer", None)
    data = load_dataset(config, tokenizer=other)
    assert data.tokenizer is other
    assert data.tokenizer.decode(data.splits["test"].tokens) == "the owl\nsat\n"


def test_the_second_load_neither_trains_nor_encodes(config, monkeypatch):
    first = load_dataset(config)
    monkeypatch.setattr(module, "train_tokenizer", None)
    monkeypatch.setattr(Tokenizer, "encode_pieces", None)
    second = load_dataset(config)
    assert second.fingerprint == first.fingerprint
    assert second.tokenizer.to_json() == first.tokenizer.to_json()
    for split, stream in first.splits.items():
        assert dataclasses.asdict(second.splits[split]).keys() == dataclasses.asdict(stream).keys()
        for field in dataclasses.fields(stream):
            np.testing.assert_array_equal(
                getattr(second.splits[split], field.name), getattr(stream, field.name)
            )


def test_tokenizers_share_a_cache_and_keep_their_own_tokens(config):
    word = load_dataset(config)
    bpe = load_dataset(dataclasses.replace(config, tokenizer="bpe"))
    for data in (word, bpe):
        assert data.tokenizer.decode(data.splits["train"].tokens) == "the cat sat\n\non the mat\n"


def test_damaged_cache_files_are_never_used(config):
    first = load_dataset(config)
    files = sorted(Path(config.cache_dir).rglob("*.npz"))
    assert len(files) == 4  # the tokenizer and three splits
    for path in files:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
    with pytest.warns(UserWarning, match="damaged") as warned:
        again = load_dataset(config)
    assert len(warned) == 4
    for split, stream in first.splits.items():
        np.testing.assert_array_equal(again.splits[split].tokens, stream.tokens)


@pytest.mark.parametrize("change", ["text", "tokenizer"])
def test_fingerprint_depends_on_text_and_tokenizer(config, change):
    before = load_dataset(config).fingerprint
    if change == "text":
        Path(config.test_files[0]).write_text("the owl\nslept\n")
    else:
        config = dataclasses.replace(config, vocab_size=5)
    assert load_dataset(config).fingerprint != before


def test_changed_text_is_encoded_again(config):
    load_dataset(config)
    Path(config.files[0]).write_text("a new text\n")
    data = load_dataset(config)
    assert data.tokenizer.decode(data.splits["train"].tokens) == "a new text\n"


def test_windows_carry_the_tokenizer_and_the_mask(config):
    data = load_dataset(config)
    windows = data.windows("train", 4, True)
    assert (windows.tokenizer, windows.document_mask, windows.length) == (data.tokenizer.fingerprint, True, 4)
    assert windows.n_targets == 8


def test_short_splits_and_unknown_splits_are_refused(config):
    data = load_dataset(config)
    assert data.windows("train", 8, False).n_targets == 8
    assert data.windows("validation", 8, False).n_targets == 3
    with pytest.raises(
        ValueError,
        match=r"split 'train' of 'text' has 9 tokens; it must have at least 10 \(model\.length 9\)\. Fix",
    ):
        data.windows("train", 9, False)
    with pytest.raises(
        ValueError, match=r"split is 'valid'; it must be one of train, validation, test\. Fix"
    ):
        data.windows("valid", 4, False)
    short = data.splits["test"]
    one = dataclasses.replace(
        short, tokens=short.tokens[:1], doc_ids=short.doc_ids[:1], given_ids=short.given_ids[:1]
    )
    with pytest.raises(ValueError, match=r"split 'test' of 'text' has 1 tokens; it must have at least 2"):
        dataclasses.replace(data, splits={"test": one}).windows("test", 4, False)


def test_a_whole_configuration_is_no_data_configuration(unchecked_shapes):
    with pytest.raises(
        ValueError,
        match=(
            r"config is 'Config'; it must be a DataConfig\. Fix: pass the data settings, as in"
            r" model\.config\.data"
        ),
    ):
        load_dataset(Config())


def test_pydocs_has_readable_text_in_all_splits(pydocs: Dataset):
    assert pydocs.tokenizer.vocab_size == 2048
    assert len(pydocs.splits["train"].tokens) > 300_000
    for split in ("validation", "test"):
        assert len(pydocs.splits[split].tokens) > 10_000
    stream = pydocs.splits["validation"]
    assert pydocs.tokenizer.decode(stream.tokens).encode().__len__() == stream.bytes
    assert (
        pydocs.windows("test", 128, True).n_targets
        == len(pydocs.splits["test"].tokens) - int(pydocs.splits["test"].doc_ids[-1]) - 1
    )


def test_wikitext2_has_the_published_vocabulary_and_counts(wikitext2, shared_cache):
    data = load_dataset(
        DataConfig(
            corpus="wikitext2",
            data_dir=str(wikitext2),
            tokenizer="word",
            vocab_size=40_000,
            cache_dir=shared_cache,
        )
    )
    assert data.tokenizer.vocab_size == 33_278
    streams = data.splits
    assert {split: len(stream.tokens) for split, stream in streams.items()} == {
        "train": 2_088_628,
        "validation": 217_646,
        "test": 245_569,
    }
    assert all(stream.words == len(stream.tokens) for stream in streams.values())
    assert {split: stream.bytes for split, stream in streams.items()} == {
        "train": 10_797_148,
        "validation": 1_121_681,
        "test": 1_256_449,
    }
    assert data.windows("test", 256, False).n_targets == 245_568
    lines = Path(wikitext2, "wiki.test.tokens").read_bytes().decode().split("\n")
    assert data.tokenizer.decode(streams["test"].tokens) == "\n".join(line.strip() for line in lines)


def test_wikitext2_comes_back_exactly_from_bpe(wikitext2, shared_cache):
    documents = load_corpus(
        DataConfig(corpus="wikitext2", data_dir=str(wikitext2), cache_dir=shared_cache)
    ).splits["validation"]
    tokenizer = train_tokenizer(DataConfig(vocab_size=1024), documents)
    stream = encode_documents(tokenizer, documents)
    assert tokenizer.decode(stream.tokens) == Path(wikitext2, "wiki.valid.tokens").read_bytes().decode()
    assert (stream.words, stream.bytes) == (217_646, 1_121_681)


@pytest.mark.parametrize(
    ("records", "given"),
    [
        ([{"blocks": ["a field", "two\nlines"]}], "fields"),
        ([{"blocks": ["a field", "another"]}, {"text": "two\nlines"}], "lines"),
    ],
)
def test_a_data_set_knows_whether_its_blocks_are_lines(tmp_path, records, given):
    path = tmp_path / "r.jsonl"
    lines = [json.dumps({**record, "title": 1}) for record in records]
    distinct = [json.dumps({"text": f"line {number}"}) for number in range(9)]
    path.write_text("\n".join([*lines, *distinct, '{"text": null}']))
    config = DataConfig(corpus="text", files=(str(path),), vocab_size=300, cache_dir=str(tmp_path / "cache"))
    data = load_dataset(config)
    assert data.given == given
    assert data.notes == (f"1 of {len(lines) + 10} records left out: they have no text",)
    told = (
        "text: train [\\d,]+ \\(7\\d\\.\\d%\\), validation [\\d,]+ \\(.*\\), test .* tokens of [\\d]+ types"
    )
    assert re.fullmatch(told, data.described[0]) and data.described[1:] == data.notes
