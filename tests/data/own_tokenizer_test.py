"""Tokenizers that users bring, and characters: what is read as the library reads it, what is given back, how
types stand for words, and what is refused by name.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from aila_jax.config import DataConfig
from aila_jax.data import tokenizer_file
from aila_jax.data.dataset import _word_blocks_of, encode_documents, load_dataset
from aila_jax.data.documents import Document
from aila_jax.data.tokenizer import EOS, UNK, Tokenizer, train_tokenizer
from aila_jax.data.tokenizer_file import PATTERNS, Spelling
from aila_jax.partition.boundaries import punctuation_boundaries
from aila_jax.partition.classes.class_file import read_class_file
from aila_jax.partition.classes.parts_of_speech import pos_classes
from tests.support.tiny import write_corpus
from tests.support.tokenizers import ALL, LINES, byte_fallback, byte_level, metaspace, wordpiece

LINE_ENDS = {"byte_level": "Ċ", "byte_fallback": "<0x0A>", "wordpiece": "[SEP]"}
DOCUMENTS = [Document("d", tuple(LINES))]
CHARACTERS = train_tokenizer(DataConfig(tokenizer="characters"), DOCUMENTS)
KNOWN = "".join(sorted(set("".join(LINES))))


@pytest.fixture(params=sorted(ALL))
def name(request) -> str:
    return request.param


@pytest.fixture
def own(name) -> Tokenizer:
    return Tokenizer(ALL[name]())


def test_a_file_is_read_as_the_library_reads_it(name, own):
    library = tokenizers.Tokenizer.from_str(ALL[name]())
    for line in (*LINES[:3], "the zebra café", ""):
        assert own.encode(line) == library.encode(line, add_special_tokens=False).ids
    end = library.token_to_id(LINE_ENDS.get(name, "</s>"))
    assert own.eos_id == end
    assert own.encode("the\n\ncat") == [*library.encode("the").ids, end, end, *library.encode("cat").ids]
    assert own.vocab_size == library.get_vocab_size()
    assert own.to_json() == ALL[name]()


def test_lines_are_given_back(name, own):
    lossy = {"wordpiece": "the cat sat.\nthe dog, and the cat!"}
    text = "the cat sat .\nthe dog, and the cat!"
    if name == "byte_fallback":
        text = "the  café\n  the 中\n"
    assert own.decode(own.encode(text)) == lossy.get(name, text)


@pytest.mark.parametrize("file", [byte_level, byte_fallback])
@given(text=st.text().filter(lambda text: "▁" not in text))
def test_what_spells_bytes_gives_any_text_back(file, text):
    own = Tokenizer(file())
    assert own.decode(own.encode(text)) == text
    assert own.encode(text).count(own.eos_id) == text.count("\n")


@given(st.text(st.sampled_from([*KNOWN, "\n", "é", "中", "<", ">"])))
def test_characters_are_a_type_each(text):
    vocabulary = json.loads(CHARACTERS.to_json())["model"]["vocab"]
    unknown, end = vocabulary[UNK], vocabulary[EOS]
    assert CHARACTERS.encode(text) == [end if one == "\n" else vocabulary.get(one, unknown) for one in text]
    back = "".join(one if one in KNOWN or one == "\n" else UNK for one in text)
    assert CHARACTERS.decode(CHARACTERS.encode(text)) == back
    assert "".join(CHARACTERS.pieces(CHARACTERS.encode(text))) == back


def test_characters_are_the_most_frequent_with_ties_by_code_point():
    counts = {one: "".join(LINES).count(one) for one in KNOWN}
    wanted = [EOS, UNK, *sorted(counts, key=lambda one: (-counts[one], one))]
    for size in (3, 9, 500):
        config = DataConfig(tokenizer="characters", vocab_size=size)
        vocabulary = json.loads(train_tokenizer(config, DOCUMENTS).to_json())["model"]["vocab"]
        assert sorted(vocabulary, key=vocabulary.get) == wanted[:size]
    assert (CHARACTERS.spelling, CHARACTERS.spaced, CHARACTERS.byte_level) == (
        Spelling.CHARACTERS,
        False,
        False,
    )


def test_no_text_becomes_a_special_token(name, own):
    for special in ("</s>", "<|endoftext|>", "[SEP]", "<unk>", "<eos>"):
        assert own.eos_id not in own.encode(f"the {special} cat{special}")
    if name in ("byte_level", "byte_fallback"):
        text = "the <|endoftext|></s> cat"
        assert own.decode(own.encode(text)) == text


@pytest.mark.parametrize("kind", [*sorted(ALL), "characters", "bpe", "word"])
def test_pieces_are_the_text_with_words_at_their_starts(kind):
    own = (
        Tokenizer(ALL[kind]())
        if kind in ALL
        else train_tokenizer(DataConfig(tokenizer=kind, vocab_size=300), DOCUMENTS)
    )
    text = "the cat sat on the mat .\nthe plays the"
    pieces = own.pieces(own.encode(text))
    assert "".join(pieces) == text
    begun = [piece for number, piece in enumerate(pieces) if piece.startswith(" ") or number == 0]
    if kind != "characters":
        assert len(begun) == len(text.replace("\nthe", "").split())
    assert pieces.count("\n") == 1
    alone = [own.token_text(token) for token in own.encode("the the cat")]
    spaced = " the the cat" if own.spaced and not own.byte_level else "the the cat"
    assert "".join(alone) == (spaced if kind != "word" else "thethecat")
    assert own.token_text(own.eos_id) == "\n"
    with pytest.raises(ValueError, match=r"token id is -1; it must be from 0"):
        own.token_text(-1)


def test_pieces_keep_the_space_that_a_line_begins_with():
    stored = json.loads(metaspace())
    never = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True}
    files = (byte_level(), byte_fallback(), json.dumps({**stored, "pre_tokenizer": never, "decoder": never}))
    for own in (*map(Tokenizer, files), CHARACTERS):
        for text in (" the cat\n the", "the\n\n  the"):
            ids = own.encode(text)
            assert "".join(own.pieces(ids)) == own.decode(ids) == text


def test_types_are_spelled_as_they_stand_inside_a_line(name, own):
    library = tokenizers.Tokenizer.from_str(ALL[name]())
    spelled = {
        "byte_level": {"Ġthe": " the", "e": "e", "<|endoftext|>": "<|endoftext|>"},
        "metaspace": {"▁the": " the", "e": "e", "<unk>": "<unk>"},
        "unigram": {"▁": " ", "e": "e"},
        "wordpiece": {"the": " the", "##s": "s", ".": " .", "[UNK]": "[UNK]"},
        "byte_fallback": {"▁the": " the", "e": "e", "<0x41>": "A", "<0xC3>": "\ufffd"},
    }[name]
    assert {symbol: own.types[library.token_to_id(symbol)] for symbol in spelled} == spelled
    assert own.types[own.eos_id] == "\n"
    assert len(own.types) == own.vocab_size
    assert own.spaced


@pytest.mark.parametrize("kind", [*sorted(ALL), "characters"])
def test_sentences_end_where_they_end(kind):
    own = CHARACTERS if kind == "characters" else Tokenizer(ALL[kind]())
    boundary = punctuation_boundaries(own, "sentence")
    ids = own.encode("the cat sat .\nthe dog , the")
    ended = [piece.strip(" ") for piece, closes in zip(own.pieces(ids), boundary[ids], strict=True) if closes]
    assert ended == [".", "\n"]
    clauses = punctuation_boundaries(own, "clause")[ids]
    assert clauses.sum() == 3  # a comma that is spelled <0x2C> too


def test_classes_know_words_and_pieces(tmp_path):
    own = Tokenizer(wordpiece())
    library = tokenizers.Tokenizer.from_str(wordpiece())
    (tmp_path / "c").write_text("the A\n##s B\n", encoding="utf-8")
    table = read_class_file(tmp_path / "c", own).table
    assert [table[library.token_to_id(symbol)] for symbol in ("the", "##s")] == [0, 1]
    parts = pos_classes(own)
    assert parts.names[parts.table[library.token_to_id("the")]] == "determiner"
    with pytest.raises(ValueError, match=r"data\.tokenizer is 'characters'; it must be of words"):
        pos_classes(CHARACTERS)


def edited(text, **parts) -> str:
    return json.dumps({**json.loads(text), **parts})


def with_model(text, **changes) -> str:
    stored = json.loads(text)
    return json.dumps({**stored, "model": {**stored["model"], **changes}})


SPLIT = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (edited(byte_level(), pre_tokenizer={**BYTES, "add_prefix_space": True}), "add_prefix_space of pre_tokenizer ByteLevel is 'True'"),
        (edited(byte_level(), pre_tokenizer={"type": "Sequence", "pretokenizers": [SPLIT, BYTES]}), "pattern of pre_tokenizer Split is"),
        (edited(byte_level(), pre_tokenizer={"type": "UnicodeScripts"}), "pre_tokenizer is 'UnicodeScripts'"),
        (edited(byte_level(), normalizer={"type": "Precompiled", "precompiled_charsmap": "AA"}), "normalizer is 'Precompiled'"),
        (edited(byte_level(), decoder=None), "decoder is None"),
        (edited(byte_level(), decoder={"type": "CTC"}), "decoder is 'CTC'"),
        (edited(byte_level(), pre_tokenizer={"type": "WhitespaceSplit"}), "decoder is 'ByteLevel'"),
        (edited(byte_level(), truncation={"max_length": 4}), "truncation is"),
        (edited(byte_level(), added_tokens=[{"id": 3, "content": "zz"}]), "ids is"),
        (edited(byte_level(), added_tokens=[{"id": 290, "content": "zz", "lstrip": True}]), "lstrip of 'zz' is True"),
        (edited(byte_level(), added_tokens=5), "added_tokens is"),
        (with_model(byte_level(), end_of_word_suffix="</w>"), "end_of_word_suffix of model BPE is"),
        (with_model(byte_level(), dropout=0.1), "dropout of model BPE is"),
        (with_model(metaspace(), unk_token=None), "unk_token is None"),
        (with_model(wordpiece(), unk_token="zz"), "unk_token is 'zz'"),
        (with_model(wordpiece(), type="Word2Vec"), "model is 'Word2Vec'"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_refused_by_name(text, named):
    with pytest.raises(ValueError, match="the tokenizer's") as caught:
        Tokenizer(text)
    message = str(caught.value)
    assert named in message
    assert "; it must be " in message
    assert "Fix: train it with aila_jax, or take one of the kinds that docs/howto/tokenizer.md" in message


@pytest.mark.parametrize("name", ["truncation", "padding"])
def test_a_file_may_leave_out_what_is_null_where_it_is_there(name):
    stored = json.loads(byte_level())
    assert stored.pop(name) is None
    assert Tokenizer(json.dumps(stored)).encode("cat") == Tokenizer(byte_level()).encode("cat")


def test_bytes_that_a_vocabulary_lacks_are_its_end_of_text_and_are_seen():
    """As in SmolLM2's; the library by itself would leave them out."""
    stored = json.loads(byte_level())["model"]
    vocabulary = [symbol for symbol in stored["vocab"] if symbol not in ("z", "<|endoftext|>")]
    vocabulary = {symbol: number for number, symbol in enumerate([*vocabulary, "<|endoftext|>"])}
    text = edited(with_model(byte_level(), vocab=vocabulary), added_tokens=[])
    assert tokenizers.Tokenizer.from_str(text).encode("zqz").tokens == ["q"]
    found = Tokenizer(text)
    assert found.encode("zqz") == [vocabulary[one] for one in ("<|endoftext|>", "q", "<|endoftext|>")]
    assert found.to_json() == text


def test_a_vocabulary_without_some_bytes_or_a_line_end_is_refused():
    stored = json.loads(byte_level())["model"]
    vocabulary = [symbol for symbol in stored["vocab"] if symbol not in ("z", "<|endoftext|>")]
    vocabulary = {symbol: number for number, symbol in enumerate(vocabulary)}
    with pytest.raises(ValueError, match=r"bytes that the tokenizer lacks is 1; it must be none"):
        Tokenizer(edited(with_model(byte_level(), vocab=vocabulary), added_tokens=[]))
    library = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(ValueError, match=r"no <eos> among its 1 types, nor '\\n', '</s>'"):
        Tokenizer(library.to_str())


@pytest.mark.parametrize("pattern", PATTERNS[1:])
def test_patterns_of_known_tokenizers_are_read(pattern):
    split = {**SPLIT, "pattern": {"Regex": pattern}}
    own = Tokenizer(edited(byte_level(), pre_tokenizer={"type": "Sequence", "pretokenizers": [split, BYTES]}))
    text = "It's 12345 cats!\n\n  naïve\t"
    assert own.decode(own.encode(text)) == text


def test_what_a_file_adds_to_every_text_is_not_even_read():
    own = Tokenizer(edited(byte_level(), post_processor={"type": "Unheard of"}))
    assert own.encode("the cat") == Tokenizer(byte_level()).encode("the cat")


def test_a_corpus_is_read_with_the_file_that_the_settings_name(tmp_path, name, own):
    (tmp_path / "tokenizer.json").write_text(ALL[name](), encoding="utf-8")
    data = replace(write_corpus(tmp_path), tokenizer=str(tmp_path / "tokenizer.json"), vocab_size=2)
    found = load_dataset(data)
    assert found.tokenizer.fingerprint == own.fingerprint
    text = (tmp_path / "files.txt").read_text(encoding="utf-8")
    np.testing.assert_array_equal(found.splits["train"].tokens, own.encode(text))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("nowhere/tokenizer.json", r"data\.tokenizer is 'nowhere/tokenizer\.json'; it must be the path of a file that is there"),
        ("bytes.json", r"'bytes\.json' is not UTF-8 \(byte 1\)"),
        ("text.json", r"the tokenizer is 'hello'…, which cannot be read .* Fix: pass the text of a tokenizer\.json"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path, monkeypatch, value, problem):
    monkeypatch.chdir(tmp_path)
    data = write_corpus(tmp_path)
    (tmp_path / "bytes.json").write_bytes(b"{\xff")
    (tmp_path / "text.json").write_text("hello")
    with pytest.raises(ValueError, match=problem):
        load_dataset(replace(data, tokenizer=value))
    monkeypatch.setattr(tokenizer_file, "MAX_BYTES", 3)
    with pytest.raises(ValueError, match=r"the size of 'text\.json' is 5; it must be at most 3 bytes"):
        load_dataset(replace(data, tokenizer="text.json"))


def test_the_setting_names_what_it_takes():
    with pytest.raises(
        ValueError, match=r"data\.tokenizer is 'bep'; it must be one of bpe, word, characters, the path"
    ) as caught:
        DataConfig(tokenizer="bep")
    assert "did you mean 'bpe'" in str(caught.value)
    with pytest.raises(ValueError, match=r"data\.vocab_size is 2; it must be at least 3 for characters"):
        DataConfig(tokenizer="characters", vocab_size=2)


@pytest.mark.parametrize("kind", ["byte_level", "metaspace", "wordpiece", "characters", "byte_fallback"])
def test_annotated_words_keep_their_blocks_or_the_tokenizer_is_refused(kind):
    own = CHARACTERS if kind == "characters" else Tokenizer(ALL[kind]())
    documents = [Document("d", ("the cat plays .",), blocks=((0, 1, 2, 3, 3),))]
    stream = encode_documents(own, documents)
    if kind == "byte_fallback":  # it would put one more ▁ before a word that has a space
        with pytest.raises(ValueError, match=r"data\.tokenizer is 'pieces with ▁'; it must be one that"):
            _word_blocks_of(stream, own, documents)
        return
    blocks = _word_blocks_of(stream, own, documents)
    words = ["", "", "", ""]
    for piece, block in zip(own.pieces(stream.tokens.tolist()), blocks, strict=True):
        words[block] += piece
    assert [word.strip() for word in words] == ["the", "cat", "plays", "."]
