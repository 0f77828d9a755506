"""Tests of the CoNLL-U reader: what is read, and what is refused with its line."""

from pathlib import Path

import pytest

from aila_jax.data.conllu import Sentence, Word, parse_conllu

EXAMPLE = Path(__file__).parent / "examples" / "sentences.conllu"


def row(identity: str, form: str, tag: str = "NOUN", head: str = "0", relation: str = "root") -> str:
    return "\t".join([identity, form, "_", tag, "_", "_", head, relation, "_", "_"])


def lines(*rows: str) -> str:
    return "\n".join(rows) + "\n"


def test_words_are_read_and_the_rest_is_left_out():
    text = lines(
        "# a comment without meaning",
        "",
        "",
        "# newdoc id = A day = 1",
        "# text = We don't pay 1 000",
        row("1", "We", "PRON", "4", "nsubj"),
        row("2-3", "don't", "_", "_", "_"),
        row("2", "do", "AUX", "4", "aux"),
        row("3", "n't", "PART", "4", "advmod"),
        row("3.1", "ever", "ADV", "_", "_"),
        row("3.2", "ever", "ADV", "_", "_"),
        row("4", "pay", "VERB", "0", "root"),
        row("5", "1\u00a0 000", "NUM", "4", "obj"),
        "   ",
        "# newdocument = no",
        row("0.1", "nothing", "_", "_", "_"),
        row("1", "#", "_", "_", "_"),
        "# newdoc",
    )
    with pytest.raises(
        ValueError,
        match=r"^f:18 has the comment '# newdoc' inside a sentence; it must be before its first word\. Fix",
    ):
        parse_conllu(text, "f")
    assert parse_conllu(text.removesuffix("# newdoc\n") + "\n# newdoc\n" + row("1", "x"), "f") == [
        Sentence(
            (
                Word("We", "PRON", 4, "nsubj", 6),
                Word("do", "AUX", 4, "aux", 8),
                Word("n't", "PART", 4, "advmod", 9),
                Word("pay", "VERB", 0, "root", 12),
                Word("1 000", "NUM", 4, "obj", 13),
            ),
            "A day = 1",
        ),
        Sentence((Word("#", "_", -1, "_", 17),), None),
        Sentence((Word("x", "NOUN", 0, "root", 20),), ""),
    ]


def test_the_example_file_has_13_sentences_in_2_documents():
    sentences = parse_conllu(EXAMPLE.read_text(encoding="utf-8"), "e")
    assert len(sentences) == 13
    assert [sentence.document for sentence in sentences if sentence.document is not None] == [
        "bridge",
        "market",
    ]
    assert [word.form for word in sentences[10].words] == ["The", "price", "rose", "1 000", "euros", "."]


FINE = row("1", "a")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["1\ta\t_"],
            (
                r"f:1 has 3 columns; it must be 10 columns with a tab between them\. Fix: write _ for"
                r" nothing, or leave"
            ),
        ),
        ([FINE.replace("\t", "  ")], r"f:1 has 1 columns.*Fix: write tabs, not spaces"),
        ([FINE + "\t_"], r"f:1 has 11 columns"),
        (["no annotation at all"], r"f:1 has 1 columns"),
        (
            [FINE, "\t" * 9, FINE],
            r"f:2 has '' for ID; it must be a value without space around it\. Fix: write _",
        ),
        ([row("1", "")], r"f:1 has '' for FORM; it must be a value without space around it\. Fix: write _"),
        ([row("1", " a")], r"f:1 has ' a' for FORM"),
        ([row("1", "a\u00a0")], r"f:1 has 'a\\xa0' for FORM"),
        ([FINE, row("3", "b")], r"f:2 has ID 3; it must be 2, since words count from 1\. Fix: number"),
        ([FINE, row("1", "b")], r"f:2 has ID 1; it must be 2.*put a blank line between sentences"),
        (
            [row("0", "b")],
            (
                r"f:1 has ID '0'; it must be a number \(1\), a range \(1-2\) or an empty node, which is 0\.1"
                r" here"
            ),
        ),
        ([row("01", "b")], r"f:1 has ID '01'"),
        ([row("²", "b")], r"f:1 has ID '²'"),
        ([row("x", "b")], r"f:1 has ID 'x'"),
        ([FINE, row("1.2", "b")], r"f:2 has ID '1\.2'.*which is 1\.1 here"),
        ([row("1.1", "b"), FINE], r"f:1 has ID '1\.1'.*which is 0\.1 here"),
        (
            [row("2-3", "b"), FINE],
            r"f:1 has ID 2-3; it must be a range from the next word, 1, on, outside other ranges\. Fix",
        ),
        ([FINE, row("2-1", "b")], r"f:2 has ID 2-1; it must be a range"),
        ([row("1-3", "b"), FINE, row("2-3", "b"), row("2", "b"), row("3", "b")], r"f:3 has ID 2-3"),
        (
            [FINE, row("2-3", "b"), row("2", "b")],
            r"f:3 has a range up to word 3; it must be at most the last word, 2",
        ),
        (
            [row("1-2", "b"), "", FINE],
            r"f:1 has a sentence of 0 words; it must be a sentence of at least 1 word",
        ),
        ([row("1", "a", head="x")], r"f:1 has HEAD 'x'; it must be the number of a word, 0 or _"),
        ([row("1", "a", head="-1")], r"f:1 has HEAD '-1'"),
        ([FINE, row("2", "b", head="3")], r"f:2 has HEAD 3; it must be at most the last word, 2"),
        (["# only a comment"], r"^f has no sentence; it must be CoNLL-U with at least 1 sentence"),
        ([""], r"^f has no sentence"),
        (
            [row("1", "_"), row("2", "_")],
            r"^f has '_' for every FORM; it must be a corpus with its text.*Fix",
        ),
    ],
)
def test_malformed_files_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        parse_conllu(lines(*rows), "f")
    if not message.startswith("^"):  # and the line is counted over the whole file
        number = int(message.partition(":")[2].partition(" ")[0])
        with pytest.raises(ValueError, match=rf"f:{number + 3} "):
            parse_conllu(lines("# before", FINE, "", *rows), "f")


def test_a_message_shows_a_part_of_a_long_line():
    with pytest.raises(ValueError, match=r"\[\[…; it must be the number of a word") as caught:
        parse_conllu(lines(row("1", "a", head="[" * 50_000)), "x")
    assert len(str(caught.value)) < 600
