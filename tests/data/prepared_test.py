"""Tests of the builders' shared part: round trip, reuse, damage, and no TensorFlow."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aila_jax.data import prepared
from aila_jax.data.documents import Document
from aila_jax.data.prepared import DocumentBuilder, Splits, read_or_prepare

SPLITS: Splits = {
    "train": (
        Document("first", ("a line", "", " spaced ", "été 👩‍👧\x00")),
        *(Document(f"number {n}", (str(n),) * 3) for n in range(50)),
    ),
    "validation": (Document("", ("",)),),
    "test": (Document("t", ("two\nlines", "x" * 10_000)),),
}


class Fake(DocumentBuilder, skip_registration=True):
    """A builder that counts how often its source is read."""

    reads = 0

    def read(self, download) -> Splits:
        type(self).reads += 1
        return SPLITS


@pytest.fixture(autouse=True)
def _no_reads_yet():
    Fake.reads = 0


def load(directory: Path) -> Splits:
    return read_or_prepare(lambda where: Fake(data_dir=where, file_format="array_record"), directory)


def test_documents_come_back_exactly_and_in_order(tmp_path):
    assert load(tmp_path / "d") == SPLITS


def test_the_second_call_reads_the_prepared_files(tmp_path):
    load(tmp_path / "d")
    assert load(tmp_path / "d") == SPLITS
    assert Fake.reads == 1


def test_preparing_is_quiet(tmp_path, capfd, caplog):
    load(tmp_path / "d")
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelname not in ("INFO", "DEBUG")]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(
            (name, damage)
            for name in ("fake-train.array_record*", "fake-test.array_record*", "metadata.json")
            for damage in ("flip", "truncate", "remove")
        ),
        ("dataset_info.json", "truncate"),
        ("dataset_info.json", "remove"),
    ],
)
def test_damaged_files_are_noticed_and_prepared_again(tmp_path, name, damage):
    load(tmp_path / "d")
    (path,) = (tmp_path / "d").rglob(name)
    data = bytearray(path.read_bytes())
    path.unlink()
    # One bit of a letter or digit: in a record, or in a checksum of metadata.json.
    data[next(index for index in range(len(data) // 2, len(data)) if chr(data[index]).isalnum())] ^= 1
    if damage != "remove":
        path.write_bytes(data if damage == "flip" else data[: len(data) // 2])
    with pytest.warns(UserWarning, match=r"the prepared data set .* is damaged .* it is prepared again"):
        assert load(tmp_path / "d") == SPLITS
    assert Fake.reads == 2
    assert load(tmp_path / "d") == SPLITS
    assert Fake.reads == 2


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EMFILE, "too many open files"), PermissionError(errno.EACCES, "denied"), MemoryError()],
)
def test_what_is_no_damage_deletes_nothing(tmp_path, monkeypatch, error):
    load(tmp_path / "d")
    before = sorted(tmp_path.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(prepared, "_read", lambda builder: (_ for _ in ()).throw(error))
        with pytest.raises(type(error)):
            load(tmp_path / "d")
    assert sorted(tmp_path.rglob("*")) == before
    assert load(tmp_path / "d") == SPLITS
    assert Fake.reads == 1


def test_damaged_files_stay_until_they_are_made_again(tmp_path, monkeypatch):
    load(tmp_path / "d")
    (path,) = (tmp_path / "d").rglob("fake-train.array_record*")
    path.write_bytes(b"damaged")
    with monkeypatch.context() as patch:
        patch.setattr(Fake, "read", lambda self, download: (_ for _ in ()).throw(ValueError("no network")))
        with (
            pytest.warns(UserWarning, match="it is prepared again"),
            pytest.raises(ValueError, match="no network"),
        ):
            load(tmp_path / "d")
    assert [found.read_bytes() for found in (tmp_path / "d.damaged").rglob(path.name)] == [b"damaged"]
    assert load(tmp_path / "d") == SPLITS
    assert not (tmp_path / "d.damaged").exists()


def test_another_version_is_prepared_beside_the_old_one(tmp_path, monkeypatch):
    load(tmp_path / "d")
    monkeypatch.setattr(Fake, "VERSION", type(Fake.VERSION)("1.0.1"))
    assert load(tmp_path / "d") == SPLITS
    assert Fake.reads == 2
    assert {path.name for path in (tmp_path / "d" / "fake").iterdir()} == {"1.0.0", "1.0.1"}


def test_a_preparation_that_stopped_half_way_is_not_used(tmp_path):
    (tmp_path / "d" / "fake" / "incomplete.ABCDEF_1.0.0").mkdir(parents=True)
    assert load(tmp_path / "d") == SPLITS


def test_a_process_that_comes_second_uses_the_files_of_the_first(tmp_path):
    class Second(Fake, skip_registration=True):
        name = "fake"

        def read(self, download) -> Splits:
            if not any((tmp_path / "d").glob("fake/[0-9]*")):
                load(tmp_path / "d")  # the other process finishes while this one reads
            return SPLITS

    assert (
        read_or_prepare(lambda where: Second(data_dir=where, file_format="array_record"), tmp_path / "d")
        == SPLITS
    )


def test_errors_of_the_source_pass_through_and_leave_nothing_prepared(tmp_path):
    class Broken(Fake, skip_registration=True):
        name = "fake"

        def read(self, download) -> Splits:
            raise ValueError("the source is bad")

    with pytest.raises(ValueError, match=r"^the source is bad$"):
        read_or_prepare(lambda where: Broken(data_dir=where, file_format="array_record"), tmp_path / "d")
    assert load(tmp_path / "d") == SPLITS


def test_a_cache_directory_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(
        ValueError,
        match=r"data\.cache_dir cannot hold .*it must be writable\. Fix: set --config\.data\.cache_dir",
    ):
        load(tmp_path / "file" / "d")


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("write() failed")]
)
def test_a_full_disk_does_not_keep_the_documents_back(tmp_path, monkeypatch, error):
    """The writer of records raises a RuntimeError there."""

    def write(*_):
        raise error

    monkeypatch.setattr(prepared.tfds.core.file_adapters.ArrayRecordFileAdapter, "write_examples", write)
    with pytest.warns(UserWarning, match=r"d cannot be written \(.*\); the next run prepares it again"):
        assert load(tmp_path / "d") == SPLITS
    monkeypatch.undo()
    assert load(tmp_path / "d") == SPLITS
    assert Fake.reads == 2


def test_corpora_need_no_tensorflow_and_text_needs_no_builders(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\nfour\n")
    program = f"""
import sys
from aila_jax.config import DataConfig
from aila_jax.data.corpora import load_corpus
corpus = load_corpus(DataConfig(corpus="text", files=({str(tmp_path / "a.txt")!r},)))
assert [document.pieces for documents in corpus.splits.values() for document in documents] == [("one", "two"), ("three",), ("four",)]
assert "tensorflow_datasets" not in sys.modules
from tests.data.prepared_test import SPLITS, load
from pathlib import Path
assert load(Path({str(tmp_path)!r}) / "d") == SPLITS
assert load(Path({str(tmp_path)!r}) / "d") == SPLITS
assert "tensorflow" not in sys.modules
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
