"""Tests of lines that are put together again: cases solved by hand, and that no word is lost."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aila_jax.config import DataConfig
from aila_jax.data.corpora import load_corpus
from aila_jax.data.paragraphs import WRAPPED, join_lines

LONG = "This line is long enough to have been broken to fit a page,"


@pytest.mark.parametrize(
    ("lines", "joined"),
    [
        ([LONG, "so it goes on here."], [f"{LONG} so it goes on here."]),
        ([LONG, LONG, "end."], [f"{LONG} {LONG} end."]),
        (["A heading", "and its text."], ["A heading", "and its text."]),
        ([LONG, "", "another one."], [LONG, "another one."]),
        ([LONG, ">>> code()"], [LONG, ">>> code()"]),
        ([f"- {LONG}", "  which goes on", "- another"], [f"- {LONG} which goes on", "- another"]),
        ([f"1. {LONG}", "2. another"], [f"1. {LONG}", "2. another"]),
        ([LONG, "    indented code"], [LONG, "    indented code"]),
        ([f"  {LONG}", "back again"], [f"  {LONG}", "back again"]),
        ([f"    {LONG}", "    and on"], [f"    {LONG} and on"]),
        ([LONG, "short.", "a verse"], [f"{LONG} short.", "a verse"]),
        (["", " "], ["", " "]),
    ],
)
def test_lines_of_a_paragraph_become_one(lines: list[str], joined: list[str]) -> None:
    assert join_lines(lines) == tuple(joined)


@given(st.lists(st.text(st.sampled_from("ab .-1)"), max_size=2 * WRAPPED), min_size=1, max_size=8))
def test_no_word_is_lost_and_joining_is_done_once(lines: list[str]) -> None:
    joined = join_lines(lines)
    assert " ".join(joined).split() == " ".join(lines).split()
    assert [line for line in joined if not line.strip()] == [] or list(joined) == lines


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_the_users_own_text_is_joined_where_asked(name: str, tmp_path: Path) -> None:
    text = "".join(f"{LONG}\nand paragraph {number} ends here.\n\n" for number in range(40))
    path = tmp_path / name
    if name.endswith(".jsonl"):
        records = [{"text": f"{LONG}\nand record {number} ends here."} for number in range(40)]
        path.write_text("\n".join(json.dumps(record) for record in records))
    else:
        path.write_text(text)
    config = DataConfig(corpus="text", files=(str(path),), join_lines=True)
    pieces = [piece for document in load_corpus(config).splits["train"] for piece in document.pieces]
    assert len(pieces) == 36
    assert all(piece.startswith(f"{LONG} and ") and piece.endswith("ends here.") for piece in pieces)


def test_the_blocks_of_a_record_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"blocks": [LONG, f"and {number}"]}) for number in range(40)))
    config = DataConfig(corpus="text", files=(str(path),), join_lines=True)
    assert load_corpus(config).splits["train"][0].pieces == (LONG, "and 0")


def test_the_embedded_corpus_keeps_its_words_and_splits() -> None:
    as_it_is, joined = (load_corpus(DataConfig(join_lines=value)).splits for value in (False, True))
    for split, documents in as_it_is.items():
        assert [document.title for document in documents] == [one.title for one in joined[split]]
        assert [one.text.split() for one in documents] == [one.text.split() for one in joined[split]]
    lines = {
        key: sum(len(one.pieces) for one in splits["train"])
        for key, splits in (("as", as_it_is), ("jo", joined))
    }
    assert lines["jo"] < 0.7 * lines["as"]


def test_a_corpus_whose_lines_are_its_own_refuses() -> None:
    with pytest.raises(
        ValueError, match=r"data\.join_lines is True; it must be left alone when data\.corpus is 'tfds'"
    ):
        DataConfig(corpus="tfds", tfds_name="glue/sst2", join_lines=True)
