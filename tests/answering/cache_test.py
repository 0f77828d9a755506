"""Kept keys and values: what names them, what is not used, and how many there are."""

import os
import warnings
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from aila_jax.answering.cache import Cache, Disk, Memory, Reader, weights_checksum
from aila_jax.answering.modes import Passages
from aila_jax.answering.slots import Setting
from aila_jax.model.kept import KeysValues
from tests.support.passages import SHAPE, model_of, prompt_of_tokens

MODEL = replace(SHAPE)
READER = Reader("a" * 64, MODEL, 1.0, 1.0, True, (1, 2))
SHAPE_OF = (2, 1, 32, 4, 4)


def keys_values(seed: int = 0) -> KeysValues:
    draw = np.random.default_rng(seed).standard_normal((2, *SHAPE_OF)).astype(np.float32)
    return KeysValues(draw[0], draw[1])


def same(a: KeysValues | None, b: KeysValues) -> bool:
    return a is not None and np.array_equal(a.keys, b.keys) and np.array_equal(a.values, b.values)


def test_everything_that_they_depend_on_names_them() -> None:
    others = [
        replace(READER, weights="b" * 64), replace(READER, lam=0.5), replace(READER, tau=2.0), replace(READER, hard=False),
        replace(READER, header=(1, 3)), replace(READER, header=(1, 2, 3)), replace(READER, model=replace(MODEL, d_ff=25)),
    ]  # fmt: skip
    keys = [one.key((3, 4)) for one in (READER, *others)]
    keys += [READER.key((3, 5)), READER.key((3,)), READER.key(()), READER.key(None)]
    assert len(set(keys)) == len(keys)
    assert READER.key((3, 4)) == replace(READER).key([3, 4])


def test_the_checksum_is_that_of_the_weights_there_are() -> None:
    params = model_of("rotary").params
    found = weights_checksum(params)
    assert weights_checksum(params) == found
    changed = jax.tree.map(lambda one: one + (one.ndim == 1), params)
    assert weights_checksum(changed) != found
    assert weights_checksum(params) == found
    loose = {"a": np.ones(3, np.float32)}
    before = weights_checksum(loose)
    loose["a"][1] = 2.0  # an array that can be changed is read each time
    assert weights_checksum(loose) != before


def test_memory_forgets_what_was_not_used_for_the_longest() -> None:
    size = keys_values().keys.nbytes * 2
    memory = Memory(3 * size)
    for name in "abc":
        memory.put(name, keys_values())
    assert memory.get("a") is not None
    memory.put("d", keys_values())
    assert (memory.get("b"), len(memory), memory.bytes) == (None, 3, 3 * size)
    assert all(memory.get(name) is not None for name in "acd")
    Memory(size - 1).put("a", keys_values())


def test_the_disk_gives_back_what_it_was_given(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "kept", 2**20)
    assert disk.get("k", SHAPE_OF, "float32") is None
    disk.put("k", keys_values())
    assert same(disk.get("k", SHAPE_OF, "float32"), keys_values())
    assert [one.name for one in (tmp_path / "kept").iterdir()] == ["k.passage"]
    half = jax.tree.map(lambda one: one.astype(jax.numpy.bfloat16), keys_values())
    disk.put("h", half)
    assert same(disk.get("h", SHAPE_OF, "bfloat16"), half)


@pytest.mark.parametrize(
    "damage", ["first", "head", "value", "last", "cut", "longer", "empty", "foreign", "shape", "type"]
)
def test_what_is_not_what_it_should_be_is_not_used(tmp_path: Path, damage: str) -> None:
    disk = Disk(tmp_path, 2**20)
    disk.put("k", keys_values())
    path, shape, dtype = disk.path("k"), SHAPE_OF, "float32"
    content = bytearray(path.read_bytes())
    places = {"first": 0, "head": 40, "value": len(content) // 2, "last": -1}
    if damage in places:
        content[places[damage]] ^= 1
    elif damage == "cut":
        del content[-4:]
    elif damage == "longer":
        content += b"\0"
    elif damage == "empty":
        content.clear()
    elif damage == "foreign":  # whole, but of another name
        disk.put("o", keys_values(1))
        content = bytearray(disk.path("o").read_bytes())
    elif damage == "shape":
        shape = (2, 1, 16, 4, 8)  # as many bytes
    else:
        dtype = "int32"
    path.write_bytes(bytes(content))
    with pytest.warns(UserWarning, match="is damaged or of another model: it is not used"):
        assert disk.get("k", shape, dtype) is None
    disk.put("k", keys_values())
    assert same(disk.get("k", SHAPE_OF, "float32"), keys_values())


def test_links_are_not_followed(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "kept", 2**20)
    disk.put("k", keys_values())
    disk.path("k").rename(tmp_path / "elsewhere")
    disk.path("k").symlink_to(tmp_path / "elsewhere")
    assert disk.get("k", SHAPE_OF, "float32") is None
    with pytest.raises(ValueError, match="is a link"):
        disk.put("k", keys_values())


def test_the_disk_is_bounded_and_the_oldest_go_first(tmp_path: Path) -> None:
    size = 2 * keys_values().keys.nbytes + 200
    disk = Disk(tmp_path, 3 * size)
    (tmp_path / "theirs.txt").write_text("not ours")
    for number, name in enumerate("abc"):
        disk.put(name, keys_values())
        os.utime(disk.path(name), (number, number))
    assert disk.get("a", SHAPE_OF, "float32") is not None  # used now
    disk.put("d", keys_values())
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "a.passage",
        "c.passage",
        "d.passage",
        "theirs.txt",
    ]
    Disk(tmp_path / "none", 100).put("k", keys_values())
    assert not (tmp_path / "none").exists()


def test_passages_come_from_the_disk_and_damaged_ones_are_made_again(tmp_path: Path) -> None:
    setting, prompt = Setting(model_of("rotary"), 1.0, 1.0, True), prompt_of_tokens()
    disk = Disk(tmp_path, 2**24)
    want = Passages(setting, prompt, Cache(Memory(), disk))
    files = sorted(tmp_path.iterdir())
    assert len(files) == 4
    content = files[0].read_bytes()
    files[0].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.warns(UserWarning, match="made again"):
        again = Passages(setting, prompt, Cache(Memory(), disk))
    assert files[0].read_bytes() == content
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        third = Passages(setting, prompt, Cache(Memory(), disk))
    for found in (again, third):
        assert same(found.header, want.header)
        assert all(same(a, b) for a, b in zip(found.bodies, want.bodies, strict=True))
    changed = replace(
        setting, model=replace(setting.model, params=jax.tree.map(lambda x: 1.5 * x, setting.model.params))
    )
    other = Passages(changed, prompt, Cache(Memory(), disk))
    assert len(list(tmp_path.iterdir())) == 8
    assert not same(other.header, want.header)
