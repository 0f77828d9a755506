"""Tests of blocks by tag, sentence and clause, against clauses marked by hand."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aila_jax.data.conllu import Sentence, Word, parse_conllu
from aila_jax.data.conllu_blocks import TAGS, BlockIds, clause_heads

EXAMPLE = Path(__file__).parent / "examples" / "sentences.conllu"
# The head of each word's clause.
CLAUSES = """
creaked creaked creaked creaked creaked
thought thought fall fall fall fall thought
moved moved built built built moved moved moved moved
came came looked looked laughed laughed came
want want want cross cross cross want
fell fell fell fell crossed crossed crossed
cost cost cost cost cost cost
know know know know know said said know
baker baker baker baker baker baker
sold sold sold sold sold sold sold
rose rose rose rose rose rose
Buying Buying pays pays
went went went went
""".strip().split("\n")


@pytest.fixture(scope="module")
def sentences() -> list[Sentence]:
    return parse_conllu(EXAMPLE.read_text(encoding="utf-8"), "e")


def test_clauses_by_hand(sentences):
    found = [
        [sentence.words[head - 1].form for head in clause_heads(sentence.words, "e")]
        for sentence in sentences
    ]
    assert found == [line.split() for line in CLAUSES]


def test_a_noun_beside_a_predicate_noun_is_a_clause_only_with_a_copula_or_subject_of_its_own():
    def heads(*words: str) -> list[int]:
        rows = [word.split("/") for word in words]
        return clause_heads(
            tuple(Word(form, tag, int(head), relation, 1) for form, tag, head, relation in rows), "f"
        )

    baker = ["he/PRON/2/nsubj", "baker/NOUN/0/root"]
    assert heads(*baker, "teacher/NOUN/2/conj") == [2, 2, 2]
    assert heads(*baker, "she/PRON/4/nsubj:pass", "teacher/NOUN/2/conj") == [2, 2, 4, 4]
    assert heads(*baker, "is/AUX/4/cop", "teacher/NOUN/2/conj") == [2, 2, 4, 4]
    # A verb beside a word that heads no clause begins none.
    assert heads("bread/NOUN/0/root", "shop/NOUN/1/compound", "buy/VERB/2/conj") == [1, 1, 1]


def test_ids_of_sentences_clauses_and_classes(sentences):
    by_sentence, by_clause, by_class = (
        BlockIds(blocks) for blocks in ("sentences", "constituents", "classes")
    )
    few = [sentences[0], sentences[1], sentences[10]]
    assert [by_sentence.of(sentence, "e") for sentence in few] == [
        (0,) * 6,
        (1,) * 8,
        (2,) * 8,
    ]  # "1 000" is two words of the text
    assert [by_clause.of(sentence, "e") for sentence in few] == [(0,) * 6, (1, 1, 2, 2, 2, 2, 1, 1), (3,) * 8]
    names = [*TAGS, "line end"]
    assert [[names[index] for index in by_class.of(sentence, "e")] for sentence in few] == [
        ["DET", "ADJ", "NOUN", "VERB", "PUNCT", "line end"],
        ["PRON", "VERB", "SCONJ", "PRON", "AUX", "VERB", "PUNCT", "line end"],
        ["DET", "NOUN", "VERB", "NUM", "NUM", "NOUN", "PUNCT", "line end"],
    ]
    assert len(TAGS) == 17


RELATIONS = ("nsubj", "ccomp", "obj", "conj", "advcl:relcl", "cop", "punct")


@given(
    st.integers(1, 9).flatmap(
        lambda n: st.tuples(st.permutations(range(1, n + 1)), st.integers(0, 2**32 - 1))
    )
)
def test_clause_heads_are_those_of_a_walk_upwards(case):
    """Any tree: a word's clause is headed by the first word on its way to the root that heads one."""
    order, seed = case
    rng = np.random.default_rng(seed)
    words = [Word("w", "NOUN", 0, "root", 1)] * len(order)
    for place, number in enumerate(order[1:], start=1):
        words[number - 1] = Word(
            "w",
            str(rng.choice(["NOUN", "VERB"])),
            int(rng.choice(order[:place])),
            str(rng.choice(RELATIONS)),
            1,
        )
    found = clause_heads(tuple(words), "f")

    def is_head(number: int) -> bool:
        word = words[number - 1]
        if word.relation in ("root", "ccomp", "advcl:relcl"):
            return True
        own = {words[other].relation for other in range(len(words)) if words[other].head == number}
        return (
            word.relation == "conj"
            and is_head(word.head)
            and (word.tag == "VERB" or bool(own & {"nsubj", "cop"}))
        )

    for number in range(1, len(words) + 1):
        above = number
        while not is_head(above):
            above = words[above - 1].head
        assert found[number - 1] == above


@pytest.mark.parametrize(
    ("blocks", "rows", "message"),
    [
        ("classes", ["a/Noun/0/root"], r"^f:7 has UPOS 'Noun'; it must be one of ADJ, .* when blocks are classes\. Fix: correct it, or set --config"),
        ("classes", ["a/_/0/root"], r"UPOS '_'"),
        ("constituents", ["a/NOUN/-1/root"], r"^f:7 has '_' for HEAD or DEPREL; blocks by clause need both.*Fix"),
        ("constituents", ["a/NOUN/0/root", "b/NOUN/1/_"], r"^f:8 has '_' for HEAD or DEPREL"),
        ("constituents", ["a/NOUN/0/nsubj"], r"^f:7 has HEAD 0 with DEPREL 'nsubj'; HEAD 0 and 'root' must stand together"),
        ("constituents", ["a/NOUN/0/root", "b/NOUN/1/root"], r"^f:8 has HEAD 1 with DEPREL 'root'"),
        ("constituents", ["a/NOUN/0/root", "b/NOUN/0/root"], r"^f:8 has HEAD 0, which line 7 has too; a sentence must have 1 root"),
        ("constituents", ["a/NOUN/0/root", "b/X/3/obj", "c/X/2/obj"], r"^f:8 has HEAD 3, from which no path leads to a root; heads must be a tree"),
        ("constituents", ["a/NOUN/1/obj"], r"^f:7 has HEAD 1, from which no path"),
    ],
)  # fmt: skip
def test_missing_and_wrong_annotation_is_refused_where_it_is_needed(blocks, rows, message):
    rows = [row.split("/") for row in rows]
    words = tuple(
        Word(form, tag, int(head), relation, 7 + number)
        for number, (form, tag, head, relation) in enumerate(rows)
    )
    with pytest.raises(ValueError, match=message):
        BlockIds(blocks).of(Sentence(words, None), "f")
    assert BlockIds("sentences").of(Sentence(words, None), "f") == (0,) * (len(words) + 1)


def test_ids_go_on_from_sentence_to_sentence(sentences):
    for blocks in ("sentences", "constituents"):
        ids = BlockIds(blocks)
        found = [set(ids.of(sentence, "e")) for sentence in sentences]
        assert sorted(itertools.chain(*found)) == list(range(sum(map(len, found))))
