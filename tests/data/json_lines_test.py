"""Tests of JSON-lines documents and of the messages for lines that are none."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aila_jax.data.documents import Document
from aila_jax.data.text_files import parse_json_lines

PATH = Path("r.jsonl")


def test_text_has_lines_and_blocks_are_pieces():
    lines = [
        '{"text": "one\\r\\n\\ntwo\\n", "title": "T", "meta": 3}',
        "",
        '{"blocks": ["a field", "", "two\\r\\nlines"]}',
    ]
    assert parse_json_lines("\n".join(lines), PATH) == [
        Document("T", ("one", "", "two")),
        Document("r.jsonl:3", ("a field", "", "two\nlines")),
    ]


def test_a_title_is_only_a_name_and_records_without_text_are_left_out():
    titles = [None, 1, "", "name", ["a", "b"], 2.5, "half \ud83d"]
    records = [{"text": f"text {number}", "title": title} for number, title in enumerate(titles)]
    empty = [{"text": ""}, {"text": None}, {"text": " \n"}, {"blocks": []}, {"blocks": ["", " "]}]
    lines = "\n".join(json.dumps(record) for record in [*empty, *records, {"text": None, "blocks": ["b"]}])
    found = parse_json_lines(lines, PATH)
    assert [document.title for document in found] == [
        "r.jsonl:6", "1", "r.jsonl:8", "name", '["a", "b"]', "2.5", "half ?", "r.jsonl:13"
    ]  # fmt: skip
    assert [document.pieces[0] for document in found] == [*(f"text {number}" for number in range(7)), "b"]


@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"])), min_size=1),
        max_size=4,
    )
)
def test_blocks_come_back_exactly(records):
    records = [[*blocks, "end"] for blocks in records]
    text = "\n".join(json.dumps({"blocks": blocks}, ensure_ascii=False) for blocks in records)
    assert [list(document.pieces) for document in parse_json_lines(text, PATH)] == records


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"is no JSON \(.*\)\. Fix: write one object a line"),
        ("[" * 100_000, "is nested too deeply|is no JSON"),
        ('["a"]', r'has list; it must be an object with either "text" or "blocks"'),
        ('{"Text": "a"}', r"has \['Text'\]; it must be an object"),
        ('{"text": "a", "blocks": ["b"]}', r"has \['blocks', 'text'\]; it must be"),
        ('{"text": 3}', r"has 3, a int, where text must stand\. Fix"),
        ('{"title": "no text"}', r"has \['title'\]; it must be an object"),
        ('{"blocks": "a"}', r"has 'a' for \"blocks\"; it must be a list of strings"),
        ('{"blocks": ["a", 1]}', r"has 1, a int, where text"),
        ('{"text": "a \\ud83d b"}', r"has half a surrogate pair, '\\ud83d'"),
    ],
)
def test_malformed_lines_are_named(line, message):
    with pytest.raises(ValueError, match=rf"^r\.jsonl:3 {message}"):
        parse_json_lines('{"text": "fine"}\n\n' + line + "\n", PATH)
