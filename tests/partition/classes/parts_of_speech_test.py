"""Tests of the rule-based part-of-speech classes on words whose class is beyond doubt, and on whole
vocabularies.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aila_jax.config import DataConfig
from aila_jax.data.documents import Document
from aila_jax.data.tokenizer import Tokenizer, train_tokenizer
from aila_jax.partition.classes.english_words import CLOSED, OPEN
from aila_jax.partition.classes.parts_of_speech import NAMES, class_of, pos_classes

WORDS = {
    "determiner": "the a The an these every",
    "possessive": "his their 's ’s Her whose",
    "pronoun": "he She it I them something themselves it's I'm he'd",
    "wh-word": "which who when Where",
    "preposition": "of in On during towards According including",
    "coordinator": "and or But &",
    "subordinator": "because although That whether",
    "particle": "to not n't 't",
    "auxiliary": "was is been having do 're 'm Don't isn't haven't",
    "modal": "would can may 'll won't can't",
    "adverb": "also quickly however e.g. originally never",
    "adjective": (
        "large new beautiful political famous American British useless tropical capable early friendly"
        " well-known"
    ),
    "number": "two 12 1,234 1960s 3D twenty-one million",
    "ordinal": "first 19th second 2nd",
    "noun": (
        "house government information family king morning bus series state music hospital process teacher"
        " table kilometres-per-hour"
    ),
    "plural noun": "games stories characters countries nations dog-houses",
    "proper noun": "Beyoncé London U.S. A. Smith's O'Brien II NASA McDonald Anglo-Saxon",
    "verb": "make becomes organize includes carries",
    "verb -ed": "made walked wrote used",
    "verb -ing": "making walking",
    "sentence end": ". ! ? … ...",
    "comma": ",",
    "colon": "; :",
    "dash": "– — - -- @-@",
    "quotation mark": "\" ' “ ” ''",
    "bracket": "( ) [ ] {}",
    "symbol": "% $ = @,@ @.@ £ ° #",
}
# Beginnings of words carry their space in byte-level BPE.
PIECES = {
    "determiner": [" the", " The", "The"],
    "noun": [" day", " house"],
    "plural noun": [" games", " days"],
    "proper noun": [" B", " Lon", " St", "Lon"],
    "word beginning": [" comp", " str", " res", " b"],
    "word piece": ["the", "and", "on", "b", "B", "al"],
    "noun ending": ["tion", "ment", "s", "ication"],
    "verb ending": ["ing", "ed", "ating"],
    "adjective ending": ["ly", "able", "ically"],
    "comma": [",", " ,"],
    "sentence end": [".", " ."],
    "bracket": ["(", " ("],
    "symbol": ["=", " =", "�", " @,@"],
    "number": ["12", " 12", "0"],
    "space": [" ", "    ", "\t"],
    "possessive": ["'s"],
}


def test_words_by_hand() -> None:
    assert set(WORDS) <= set(NAMES)
    listed = [(name, word) for name, words in WORDS.items() for word in words.split()]
    assert {word: class_of(word, lower_is_more_frequent=word == "Her") for _, word in listed} == {
        word: name for name, word in listed
    }


def test_pieces_by_hand() -> None:
    listed = [(name, text) for name, texts in PIECES.items() for text in texts]
    assert {text: class_of(text, byte_level=True) for _, text in listed} == {
        text: name for name, text in listed
    }


def test_a_capitalised_word_is_a_name_unless_its_lower_form_is_more_frequent() -> None:
    assert [class_of("Game", lower_is_more_frequent=more) for more in (False, True)] == [
        "proper noun",
        "noun",
    ]
    assert [class_of(word, lower_is_more_frequent=True) for word in ("May", "US", "THE", "Later")] == [
        "proper noun",
        "proper noun",
        "determiner",
        "adverb",
    ]
    assert class_of("US") == "proper noun"
    # The order of a vocabulary made here is that of the counts.
    tokenizer = train_tokenizer(
        DataConfig(tokenizer="word"), [Document("d", ("game game Game King King king the , .",))]
    )
    found = pos_classes(tokenizer)
    assert {
        word: found.names[found.table[tokenizer.encode(word)[0]]] for word in ("game", "Game", "King", "king")
    } == {
        "game": "noun",
        "Game": "noun",
        "King": "proper noun",
        "king": "noun",
    }


@given(st.text(min_size=1), st.booleans(), st.booleans())
def test_any_text_has_exactly_one_class(text: str, byte_level: bool, more: bool) -> None:
    if not byte_level:
        text = "".join(text.split()) or "x"  # types of the word level hold no whitespace
    assert class_of(text, byte_level=byte_level, lower_is_more_frequent=more) in NAMES


def test_word_lists_hold_lower_case_words_of_known_classes() -> None:
    assert not set(CLOSED) & set(OPEN)
    assert {*CLOSED.values(), *OPEN.values()} <= set(NAMES)
    assert all(word == word.lower() for word in (*CLOSED, *OPEN))


TEXT = (
    "the small cat sat on the mat , and the dogs were happily watching it .",
    "Nothing ended ; The End",
    "a small cat , a mat",
)


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_a_vocabulary_gets_one_named_class_a_type(kind: str) -> None:
    tokenizer = train_tokenizer(DataConfig(tokenizer=kind, vocab_size=300), [Document("d", TEXT)])
    found = pos_classes(tokenizer)
    assert found.vocab_size == tokenizer.vocab_size
    assert set(found.table) == set(range(found.n_classes))  # no class without a type
    assert [name for name in NAMES if name in found.names] == list(found.names)
    again = pos_classes(Tokenizer.from_json(tokenizer.to_json()))
    assert again.names == found.names
    np.testing.assert_array_equal(again.table, found.table)
    of = dict(zip(tokenizer.types, (found.names[index] for index in found.table), strict=True))
    space = " " if kind == "bpe" else ""
    assert found.names[found.table[tokenizer.eos_id]] == "line end"
    assert (of[f"{space}the"], of[f"{space},"], of[f"{space}cat"]) == ("determiner", "comma", "noun")
    if kind == "word":
        assert of["<unk>"] == "unknown"
        assert of["happily"] == "adverb"
    else:
        assert of["t"] == "word piece"
        assert of[" "] == "space"


def test_a_vocabulary_without_words_is_refused() -> None:
    tokenizer = Tokenizer('{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,"pre_tokenizer":null,'
                          '"post_processor":null,"decoder":null,"model":{"type":"WordLevel","vocab":{"<eos>":0},"unk_token":"<eos>"}}')  # fmt: skip
    with pytest.raises(ValueError, match=r"has 1 classes \('line end'\); it must have at least 2"):
        pos_classes(tokenizer)
