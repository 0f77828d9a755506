"""Writing files: whole or not at all, and never through a link in a folder that may be a stranger's."""

import errno
import os

import pytest

from aila_jax import files
from aila_jax.files import folder_inside, new_file, replaced, write_atomically, write_whole


@pytest.fixture
def elsewhere(tmp_path):
    """A file of the user's own, outside the folder that is written."""
    path = tmp_path / "elsewhere"
    path.write_text("precious")
    return path


def test_a_link_in_place_of_the_file_is_replaced(tmp_path, elsewhere):
    (tmp_path / "a.json").symlink_to(elsewhere)
    write_atomically(tmp_path / "a.json", b"new")
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert not (tmp_path / "a.json").is_symlink()
    assert elsewhere.read_text() == "precious"


def test_a_link_in_place_of_the_temporary_file_is_not_followed(tmp_path, elsewhere, monkeypatch):
    """Its name cannot be foretold; if it is, the file is not opened."""
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: "foretold")
    (tmp_path / ".a.json.foretold.tmp").symlink_to(elsewhere)
    (tmp_path / f".a.json.{os.getpid()}.tmp").symlink_to(elsewhere)
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "a.json", b"new")
    assert elsewhere.read_text() == "precious"
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_a_new_file_is_new(tmp_path, elsewhere, target):
    (tmp_path / "link").symlink_to(tmp_path / target)
    with pytest.raises(FileExistsError):
        new_file(tmp_path / "link")
    assert not (tmp_path / "nowhere").exists()
    assert elsewhere.read_text() == "precious"


def test_a_folder_is_not_reached_through_a_link_below_the_first(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "real")  # the user's own
    assert folder_inside(tmp_path / "run", "certificate", "text").is_dir()
    assert folder_inside(tmp_path / "run", "certificate", "text") == tmp_path / "run" / "certificate" / "text"
    (tmp_path / "real" / "window3").symlink_to(tmp_path / "other")
    with pytest.raises(ValueError, match=r"'.*/window3' is a link; it must be .*Fix: remove it"):
        folder_inside(tmp_path / "run", "window3", "certificate")
    assert list((tmp_path / "other").iterdir()) == []


def test_what_cannot_be_written_whole_is_not_there(tmp_path):
    class Full:
        """A disk with room for 3 bytes at a time and 5 in all."""

        def __init__(self, file):
            self.file, self.room = file, 5

        def write(self, content):
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = self.file.write(content[: min(3, self.room)])
            self.room -= written
            return written

        def __getattr__(self, name):
            return getattr(self.file, name)

    with replaced(tmp_path / "log", b"first\n") as file:
        full = Full(file)
        write_whole(full, b"2nd\n")
        with pytest.raises(OSError, match="No space left"):
            write_whole(full, b"third\n")
        full.room = 9
        write_whole(full, b"fourth\n")
    assert (tmp_path / "log").read_bytes() == b"first\n2nd\nfourth\n"


def test_an_error_names_the_file_that_was_asked_for(tmp_path, monkeypatch):
    def full_disk(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically(tmp_path / "a.json", b"new")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "a.json"))
