"""Tests of the token cache: hits, damage, failures while writing."""

import os
from pathlib import Path

import numpy as np
import pytest

from aila_jax.data import cache
from aila_jax.data.cache import cache_directory, key_of, load_or_build

ARRAYS = {"tokens": np.arange(1000, dtype=np.int32), "counts": np.array([3, 2**40])}


def never() -> dict[str, np.ndarray]:
    raise AssertionError("built again")


def check(found: dict[str, np.ndarray]) -> None:
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A cache that holds ARRAYS under the key `k`."""
    check(load_or_build(tmp_path, "k", lambda: ARRAYS))
    return tmp_path


def test_the_second_call_reads_what_the_first_wrote(stored):
    check(load_or_build(stored, "k", never))
    assert [path.name for path in stored.iterdir()] == ["k.npz"]


def test_another_key_builds(stored):
    assert load_or_build(stored, "other", lambda: {"x": np.zeros(1)}).keys() == {"x"}
    check(load_or_build(stored, "k", never))


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "longer", *range(0, 4000, 97)])
def test_a_damaged_file_is_noticed_and_replaced(stored, damage):
    path = stored / "k.npz"
    data = bytearray(path.read_bytes())
    if isinstance(damage, int):
        data[damage] ^= 1  # one bit of the checksum, a header or an array
    path.write_bytes(
        {"truncated": data[:-100], "empty": b"", "garbage": b"\0" * 5000, "longer": data + b"x"}.get(
            damage, data
        )
    )
    with pytest.warns(UserWarning, match=r"k\.npz is damaged .* it is built again"):
        check(load_or_build(stored, "k", lambda: ARRAYS))
    check(load_or_build(stored, "k", never))


def test_objects_are_never_unpickled(stored):
    with pytest.raises(ValueError, match="allow_pickle"):
        load_or_build(stored, "objects", lambda: {"x": np.array([{}], dtype=object)})
    assert [path.name for path in stored.iterdir()] == ["k.npz"]


def test_a_failed_write_keeps_the_arrays_and_leaves_nothing_behind(stored, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.warns(
        UserWarning, match=r"cannot be written \(disk full\).*Fix: set --config\.data\.cache_dir"
    ):
        check(load_or_build(stored, "new", lambda: ARRAYS))
    assert [path.name for path in stored.iterdir()] == ["k.npz"]


def test_a_directory_that_cannot_be_made_gives_a_warning(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.warns(UserWarning, match="cannot be written"):
        check(load_or_build(tmp_path / "file" / "tokens", "k", lambda: ARRAYS))


def test_keys_depend_on_every_part_and_on_the_format(monkeypatch):
    keys = [key_of("a", 1), key_of("a", 2), key_of("a1"), key_of("a", "1")]
    assert len(set(keys)) == 4
    assert key_of("a", 1) == keys[0]
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    assert key_of("a", 1) != keys[0]


def test_the_default_directory_is_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory("") == tmp_path / ".cache" / "aila_jax"
    assert cache_directory("~/x") == tmp_path / "x"
    assert cache_directory("/y") == Path("/y")
