"""Tests of the user's own text: files, held-out text, refusals."""

import bz2
import gzip
import json
import lzma
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aila_jax.config import DataConfig
from aila_jax.data.corpora import load_corpus
from aila_jax.data.documents import Corpus, Document
from aila_jax.data.held_out import hold_out, hold_out_text
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


def test_identical_files_in_two_splits_are_refused(folder):
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


def test_documents_of_an_earlier_split_leave_the_later_ones(folder):
    """Case `duplicates.jsonl`: five records are one sentence, which was refused, a pair at a time."""
    texts_of = [f"Ticket {number}: the printer shows code {number}." for number in range(60)]
    for number in (12, 25, 38, 51, 59):
        texts_of[number] = "The same sentence."
    write_records("r.jsonl", texts_of)
    corpus = load("r.jsonl")
    assert {split: len(found) for split, found in corpus.splits.items()} == {
        "train": 54, "validation": 3, "test": 2
    }  # fmt: skip
    assert corpus.notes == (
        "1 of 3 documents of test left out: they are in train or validation too (data.repeated)",
    )
    kept = load("r.jsonl", repeated="keep")
    assert len(kept.splits["test"]) == 3 and not kept.notes


def test_no_text_is_in_two_splits_whatever_its_white_space_and_form(folder):
    Path("t.jsonl").write_text('{"text": "a b\\nc"}\n{"text": "d"}\n')
    Path("v.jsonl").write_text('{"blocks": ["a b", "c"]}\n{"blocks": ["a", "b c"]}\n{"text": "e"}\n')
    Path("s.jsonl").write_text('{"text": "a  b c"}\n{"text": "e "}\n{"text": "f"}\n')
    corpus = load("t.jsonl", valid_files=("v.jsonl",), test_files=("s.jsonl",))
    assert texts(corpus) == [["a b\nc\n", "d\n"], ["e\n"], ["f\n"]]
    assert [note.split(" left out")[0] for note in corpus.notes] == [
        "2 of 3 documents of validation", "2 of 3 documents of test"
    ]  # fmt: skip


def test_a_split_of_which_nothing_is_left_is_refused(folder):
    write_records("r.jsonl", ["x", "y", "z", "x"])
    with pytest.raises(
        ValueError, match=r"split 'test' has 1 documents and all of them are in train or validation.*repeated"
    ):
        load("r.jsonl")


def write_records(name: str, texts: list[str]) -> None:
    Path(name).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


@pytest.mark.parametrize("name", ["RECORDS.JSONL", "r.Jsonl", "r.ndjson", "r.txt", "r.json"])
def test_json_lines_are_read_so_whatever_the_suffix(folder, name):
    """Case `RECORDS.JSONL`: braces and keys were learned, as plain text."""
    reports = [f"Report {number}: level {number} metres.\nNext at {number}." for number in range(60)]
    write_records(name, reports)
    corpus = load(name)
    assert [len(found) for found in corpus.splits.values()] == [54, 3, 3]
    assert corpus.splits["train"][0].text == f"{reports[0]}\n"
    assert bool(corpus.notes) == (not name.lower().endswith(".jsonl"))
    assert load(name, file_kinds="suffix").splits["train"][0].pieces[0].startswith('{"text"')


def test_a_text_with_a_line_that_is_no_object_is_plain(folder):
    objects = [f'{{"text": "{number}"}}\n' for number in range(100)]
    Path("a.txt").write_text("".join([*objects[:50], "a line\n", *objects[50:]]))
    assert load("a.txt").splits["train"][0].pieces[0] == '{"text": "0"}'


def test_records_without_text_are_counted_in_one_line(folder):
    """Case `optional_values.jsonl`."""
    lines = [
        {"title": [None, 1, "n"][number % 3], "text": f"Note {number} of {number}."} for number in range(58)
    ]
    lines[30:30] = [{"text": ""}, {"text": None}]
    Path("r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    corpus = load("r.jsonl")
    assert sum(len(found) for found in corpus.splits.values()) == 58
    assert corpus.notes == ("2 of 60 records left out: they have no text",)
    write_records("none.jsonl", ["", " "])
    with pytest.raises(ValueError, match=r"none\.jsonl has 2 records and none has text"):
        load("none.jsonl")


@pytest.mark.parametrize(
    ("compress", "suffix"), [(gzip.compress, "gz"), (bz2.compress, "bz2"), (lzma.compress, "xz")]
)
def test_compressed_files_are_read(folder, compress, suffix):
    """Case `compressed.py`: the advice was iconv -f latin1, whose output was accepted and trained on."""
    write_records("r.jsonl", [f"Letter {number}" for number in range(60)])
    Path(f"r.jsonl.{suffix}").write_bytes(compress(Path("r.jsonl").read_bytes()))
    Path("t.txt").write_bytes(compress(numbered(60).encode()))
    assert texts(load(f"r.jsonl.{suffix}")) == texts(load("r.jsonl"))
    Path("plain.txt").write_text(numbered(60))
    assert texts(load("t.txt")) == texts(load("plain.txt"))
    Path("cut.gz").write_bytes(compress(numbered(60).encode())[:30])
    with pytest.raises(ValueError, match=r"cut\.gz is compressed \(.*cannot be unpacked.*Fix: copy"):
        load("cut.gz")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%PDF-1.7\n\xff", r"a PDF; .*pdftotext bad\.txt"),
        (b"PAR1\x15\x04", r"a Parquet table; .*read_parquet\('bad\.txt'\)"),
        (b"\x28\xb5\x2f\xfd\x04\x58", r"compressed \(Zstandard\); .*zstd -d bad\.txt"),
        (b"  \n<!DOCTYPE html>\n<html><body>Hello", "HTML; .*pandoc"),
        (b"<?xml version='1.0'?><a>b</a>", "XML; .*pandoc"),
        ("Büro\n".encode("utf-16"), r"text in UTF-16; .*iconv -f utf-16 -t utf-8 bad\.txt"),
        (("A line of text.\n" * 9).encode("utf-16-le"), r"text in UTF-16LE; .*iconv -f utf-16le"),
        (("A line of text.\n" * 9).encode("utf-16-be"), r"text in UTF-16BE; .*iconv -f utf-16be"),
        (b"ab\x00\x00\x00\x01" * 50, "no text: many of its bytes are 0; .*leave it out"),
        (b"SQLite format 3\x00", "an SQLite database"),
        (b"PK\x03\x04broken", "a damaged zip archive"),
        ("Stra\u00dfe Gr\u00f6\u00dfe".encode("latin1"), r"not UTF-8: byte 0xdf .*iconv -f latin1 "),
        ("\u201eStra\u00dfe\u201c".encode("cp1252"), r"not UTF-8: byte 0x84 .*iconv -f windows-1252 "),
        ("Straße und ".encode() + b"\xfc ber", r"not UTF-8: byte 0xfc .*iconv -c -f utf-8"),
        ("Straße".encode()[:5], r"not UTF-8: byte 0xc3 .*cut off at its end: iconv -c -f utf-8"),
        (b"\x01\x02\xff\x03", "not UTF-8: byte 0xff .*control bytes"),
        (b'[{"text": "a"},\n {"text": "b"}]', r"one JSON array; .*jq -c '\.\[\]' bad\.txt"),
        (b'{\n "text": "a"\n}\n', "one JSON object; it must have one object a line"),
    ],
)
def test_advice_fits_the_bytes_that_are_there(folder, data, what):
    Path("bad.txt").write_bytes(data)
    with pytest.raises(ValueError, match=f"^bad\\.txt is {what}") as told:
        load("bad.txt")
    assert "\n" not in str(told.value)
    assert ("latin1" in str(told.value)) == ("latin1" in what)


def test_zip_archives_and_documents_are_told_apart(folder):
    for name, member in (("a.zip", "a.txt"), ("b.docx", "[Content_Types].xml")):
        with zipfile.ZipFile(name, "w") as archive:
            archive.writestr(member, "text")
    with pytest.raises(ValueError, match=r"a\.zip is a zip archive; .*unzip a\.zip"):
        load("a.zip")
    with pytest.raises(ValueError, match=r"b\.docx is a document .*save it as plain text"):
        load("b.docx")


def test_annotated_files_name_their_corpus(folder):
    Path("a.conllu").write_text("1\ta" + "\t_" * 8 + "\n\n")
    with pytest.raises(ValueError, match=r"a\.conllu is annotated text.*--config\.data\.corpus=conllu"):
        load("a.conllu")


def test_what_is_held_out_are_shares_of_the_text(folder):
    """Case `held_out_share.py`: 950 short lines, then 100 long ones; by lines it was .07, .45, .49."""
    long = "".join("w x " * 400 + f"{number}\n" for number in range(100))
    Path("a.txt").write_text("".join(f"short {number}\n" for number in range(950)) + long)
    assert shares(load("a.txt")) == pytest.approx([0.9, 0.05, 0.05], abs=0.01)
    assert shares(load("a.txt", hold_out="lines"))[1] > 0.4
    write_records("r.jsonl", [f"short {number}" for number in range(950)] + long.splitlines())
    assert shares(load("r.jsonl")) == pytest.approx([0.9, 0.05, 0.05], abs=0.01)
    assert shares(load("r.jsonl", hold_out="lines"))[1] > 0.4


def shares(corpus: Corpus) -> list[float]:
    sizes = [sum(len(document.text) for document in found) for found in corpus.splits.values()]
    return [size / sum(sizes) for size in sizes]


def test_a_text_without_line_ends_is_cut_between_words(folder):
    """Case `one_line.py`: "has 1 lines … give more text"."""
    words = " ".join(f"item{number % 97} follows step {number}" for number in range(2000))
    Path("a.txt").write_text(words)
    corpus = load("a.txt")
    assert shares(corpus) == pytest.approx([0.9, 0.05, 0.05], abs=0.001)
    assert " ".join(found[0].text.strip() for found in corpus.splits.values()) == words
    Path("b.txt").write_text("一二三四五六七八九十" * 100)  # no space to cut at
    assert shares(load("b.txt")) == pytest.approx([0.9, 0.05, 0.05], abs=0.01)
    Path("c.txt").write_text("a few words\n")
    with pytest.raises(ValueError, match=r"data\.files has 1 lines; holding out test and validation needs"):
        load("c.txt")


@given(
    st.lists(st.lists(st.integers(0, 400), min_size=1, max_size=6), min_size=1, max_size=4),
    st.floats(0.01, 0.49),
    st.booleans(),
)
def test_hold_out_text_loses_no_word_and_holds_out_about_what_is_asked(sizes, share, by_line):
    documents = [
        Document(str(number), tuple(("ab " * size)[: size + number].strip() for size in pieces))
        for number, pieces in enumerate(sizes)
    ]
    total = sum(len(document.text) for document in documents)
    units = sum(map(len, sizes)) if by_line else len(sizes)
    cut = by_line and share * total >= 32
    if units < 2 and not cut:
        return
    kept, held = hold_out_text(documents, share * total, by_line, cut)
    assert kept and held
    words = " ".join(document.text for document in [*kept, *held]).split()
    assert "".join(words) == "".join("".join(document.text.split()) for document in documents)
    if cut:
        assert sum(len(document.text) for document in held) == pytest.approx(
            share * total, abs=share * total / 2 + 3
        )


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
