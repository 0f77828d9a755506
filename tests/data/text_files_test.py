"""Tests of the user's own text: files, held-out text, refusals."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aila_jax.config import DataConfig
from aila_jax.data.corpora import load_corpus
from aila_jax.data.documents import Corpus, Document
from aila_jax.data.held_out import hold_out
from aila_jax.data.text_files import find_files


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """An empty folder that relative paths start at."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(*files: str, **settings) -> Corpus:
    return load_corpus(DataConfig(corpus="text", files=files, **settings))


def texts(corpus: Corpus) -> list[list[str]]:
    return [[document.text for document in documents] for documents in corpus.splits.values()]


def numbered(count: int, start: int = 0) -> str:
    return "".join(f"line {number}\n" for number in range(start, start + count))


def test_named_files_are_the_splits(folder):
    for name in ("b", "a", "v", "t"):
        Path(f"{name}.txt").write_text(f"{name} one\n\n{name} two\n")
    corpus = load("b.txt", "a.txt", valid_files=("v.txt",), test_files=("t.txt",))
    assert [document.title for document in corpus.splits["train"]] == ["b.txt", "a.txt"]
    assert corpus.splits["validation"] == (Document("v.txt", ("v one", "", "v two")),)
    assert corpus.splits["test"][0].pieces == ("t one", "", "t two")


def test_globs_are_sorted_and_files_count_once(folder):
    for name in ("sub/deep/z.txt", "sub/b.txt", "a.txt", "sub/x.md", "sub/od[d].txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    os.symlink("a.txt", "link.txt")
    patterns = ("sub/**/*.txt", "a.txt", str(folder / "sub/b.txt"), "sub/od[d].txt", "link.txt")
    assert [str(path) for path in find_files(patterns, "data.files")] == [
        "sub/b.txt",
        "sub/deep/z.txt",
        "sub/od[d].txt",
        "a.txt",
    ]


def test_the_last_lines_are_held_out_in_order(folder):
    Path("a.txt").write_text(numbered(60))
    Path("b.txt").write_text(numbered(40, start=60))
    train, validation, test = texts(load("a.txt", "b.txt", valid_fraction=0.3, test_fraction=0.25))
    assert train == [numbered(45)]
    assert validation == [numbered(15, start=45), numbered(15, start=60)]
    assert test == [numbered(25, start=75)]


@pytest.mark.parametrize("given", ["valid_files", "test_files"])
def test_only_the_split_without_files_is_held_out(folder, given):
    Path("a.txt").write_text(numbered(100))
    Path("g.txt").write_text("given\n")
    corpus = texts(load("a.txt", **{given: ("g.txt",)}))
    assert corpus[0] == [numbered(95)]
    assert sorted(corpus[1:]) == [["given\n"], [numbered(5, start=95)]]


def test_records_are_held_out_whole(folder):
    Path("a.jsonl").write_text(
        "".join(f'{{"text": "record {number}\\nsecond line"}}\n' for number in range(10))
    )
    train, validation, test = texts(load("a.jsonl", valid_fraction=0.2, test_fraction=0.1))
    assert train == [f"record {number}\nsecond line\n" for number in range(7)]
    assert validation == ["record 7\nsecond line\n", "record 8\nsecond line\n"]
    assert test == ["record 9\nsecond line\n"]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.data())
def test_hold_out_cuts_once_and_loses_nothing(sizes, data):
    lines = [[f"{number} {line}" for line in range(size)] for number, size in enumerate(sizes)]
    documents = [Document(str(number), tuple(pieces)) for number, pieces in enumerate(lines)]
    by_line = data.draw(st.booleans())
    total = sum(sizes) if by_line else len(sizes)
    count = data.draw(st.integers(0, total))
    kept, held = hold_out(documents, count, by_line)
    flat = [piece for pieces in lines for piece in pieces]
    kept_lines, held_lines = (
        [piece for document in side for piece in document.pieces] for side in (kept, held)
    )
    assert kept_lines + held_lines == flat
    assert (len(held_lines) if by_line else len(held)) == count
    if not by_line:
        assert kept + held == documents


def test_line_ends_byte_order_marks_and_missing_last_line_ends(folder):
    Path("a.txt").write_bytes("\ufeffone\r\ntwo\rthree\n\nfour".encode())
    (document,) = (
        load("a.txt", valid_files=("v.txt",), test_files=("t.txt",)).splits["train"]
        if write("v.txt", "v") and write("t.txt", "t")
        else ()
    )
    assert document.pieces == ("one", "two", "three", "", "four")


def write(name: str, text: str) -> bool:
    return Path(name).write_text(text) > 0


@pytest.mark.parametrize("setting", ["files", "valid_files", "test_files"])
def test_patterns_without_files_are_refused(folder, setting):
    Path("a.txt").write_text(numbered(50))
    settings = {"files": ("a.txt",), setting: ("*.text",)}
    with pytest.raises(
        ValueError,
        match=(
            rf"data\.{setting} has '\*\.text', which matches 0 files; it must match at least 1\. Fix: correct"
            rf" the path .*{folder}"
        ),
    ):
        load(*settings.pop("files"), **settings)
    with pytest.raises(ValueError, match=r"has 'gone\.txt', which matches 0 files"):
        load("a.txt", "gone.txt")


def test_a_folder_is_refused_with_the_glob_to_use(folder):
    (folder / "sub").mkdir()
    with pytest.raises(
        ValueError, match=r"data\.files has 'sub', which matches 0 files.*Fix: use 'sub/\*\.txt'"
    ):
        load("sub")


@pytest.mark.parametrize("text", ["", " \n\t\n", "\ufeff"])
def test_files_without_text_are_refused(folder, text):
    Path("a.txt").write_text(numbered(50))
    Path("empty.txt").write_text(text)
    with pytest.raises(
        ValueError,
        match=rf"empty\.txt has {len(text.encode())} bytes and no text; it must have at least one word\. Fix",
    ):
        load("a.txt", "empty.txt")


@given(st.text(max_size=20), st.sampled_from([b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xe2\x82"]))
def test_the_offset_of_a_bad_byte_is_named(tmp_path_factory, text, bad):
    path = tmp_path_factory.mktemp("utf8") / "bad.txt"
    path.write_bytes(text.encode() + bad)
    with pytest.raises(
        ValueError,
        match=rf"bad\.txt is not UTF-8: byte 0x{bad[0]:02x} at offset {len(text.encode())} .*Fix: convert it",
    ):
        load(str(path))


def test_one_file_in_two_splits_is_refused(folder):
    Path("a.txt").write_text(numbered(50))
    Path("b.txt").write_text("other\n")
    os.symlink("a.txt", "link.txt")
    for name in ("a.txt", "./a.txt", str(folder / "a.txt"), "link.txt", "a*"):
        with pytest.raises(
            ValueError,
            match=(
                r"a\.txt|link\.txt is in data\.files and in data\.valid_files; splits must not overlap\. Fix"
            ),
        ):
            load("a.txt", valid_files=(name,))
    with pytest.raises(ValueError, match=r"b\.txt is in data\.valid_files and in data\.test_files"):
        load("a.txt", valid_files=("b.txt",), test_files=("b.txt",))


def test_identical_documents_in_two_splits_are_refused(folder):
    Path("a.txt").write_text(numbered(50))
    Path("copy.txt").write_bytes(numbered(50).replace("\n", "\r\n").encode())
    with pytest.raises(
        ValueError,
        match=(
            r"copy\.txt \(validation\) has the same content as a\.txt \(train\); splits must not"
            r" overlap\. Fix"
        ),
    ):
        load("a.txt", valid_files=("copy.txt",))
    Path("r.jsonl").write_text(
        '{"text": "x"}\n{"text": "y"}\n{"text": "z"}\n{"text": "x", "title": "again"}\n'
    )
    with pytest.raises(ValueError, match=r"again \(test\) has the same content as r\.jsonl:1 \(train\)"):
        load("r.jsonl")


def test_text_too_short_to_hold_out_is_refused(folder):
    Path("a.txt").write_text("one\ntwo\n")
    with pytest.raises(
        ValueError,
        match=(
            r"data\.files has 2 lines; holding out test and validation needs more than 2\. Fix: .*valid_files"
        ),
    ):
        load("a.txt")
    Path("a.txt").write_text("one\ntwo\nthree\n")
    assert texts(load("a.txt")) == [["one\n"], ["two\n"], ["three\n"]]
    Path("r.jsonl").write_text('{"text": "x\\ny\\nz"}\n')
    with pytest.raises(ValueError, match=r"data\.files has 1 documents"):
        load("r.jsonl")


def test_all_files_are_checked_before_any_is_cut(folder):
    Path("a.txt").write_text("one\n")
    Path("bad.txt").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"bad\.txt is not UTF-8"):
        load("a.txt", valid_files=("bad.txt",))
