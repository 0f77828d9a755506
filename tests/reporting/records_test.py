"""Sweeps on disk: exact round trips, tidy CSV, whole files, refusals."""

import csv
import dataclasses
import json
import math
import stat
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax import files
from aila_jax.config import Config
from aila_jax.evaluation.origin import SweepMeta
from aila_jax.evaluation.rows import CellRow, HeadRow, SweepResult
from aila_jax.reporting.records import check_sweep, read_sweep, write_sweep
from aila_jax.reporting.tables import names_of
from experiments.faults.damage import json_places, with_another_value

RESULTS = Path(__file__).parents[2] / "docs" / "results"

FINITE = st.floats(allow_nan=False, allow_infinity=False)
LIMITED = {"lam": st.floats(0.0, 1.0), "tau": st.floats(1e-6, 1e6)}
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
OPTIONAL = st.none() | FINITE
CELLS = st.builds(
    CellRow,
    run=TEXT,
    seed=st.integers(),
    commit=TEXT,
    split=TEXT,
    targets=st.integers(0),
    hard=st.booleans(),
    **LIMITED,
    **dict.fromkeys(("loss", "perplexity_token", "accuracy", "entropy_bits", "entropy_fraction"), FINITE),
    **dict.fromkeys(("block_mass", "block_mass_uniform", "block_mass_lift", "block_mass_local"), FINITE),
    **dict.fromkeys(
        ("perplexity_word", "perplexity_byte", "delta_imposed", "delta_measured", "delta_share"), OPTIONAL
    ),
    **dict.fromkeys(
        ("pointer_fidelity", "pointer_uniform", "pointer_lift", "pointer_block_ratio", "pointer_key_share"),
        OPTIONAL,
    ),
    **dict.fromkeys(("pointer_queries", "determined"), st.none() | st.integers(0)),
    **dict.fromkeys(("guaranteed_block_mass", "guaranteed_entropy_bits"), OPTIONAL),
    pointers=st.none() | TEXT,
    accuracy_determined=OPTIONAL,
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(CELLS, max_size=3),
    st.integers(0, 2**31 - 1),
    st.dictionaries(TEXT, PLAIN, max_size=3),
)
def test_json_comes_back_exactly(cells: list[CellRow], seed: int, meta: dict[str, Any]) -> None:
    result = SweepResult(tuple(cells), (), Config(seed=seed), SweepMeta.from_json(meta))
    with tempfile.TemporaryDirectory() as folder:
        write_sweep(result, folder)
        assert read_sweep(folder) == result


def test_heads_and_nested_tuples_come_back(sweep: SweepResult, tmp_path: Path) -> None:
    path = write_sweep(sweep, tmp_path / "new" / "folder", stem="other")[2]
    back = read_sweep(path)
    assert back == sweep
    assert back.config.sweep.taus == (0.5, 1.0, 2.0)


def test_a_file_from_before_a_column_is_read_without_it(sweep: SweepResult, tmp_path: Path) -> None:
    """Pointer fidelity came later than the first result files; what every file has is still asked for."""
    path = write_sweep(sweep, tmp_path)[2]
    document = json.loads(path.read_text(encoding="utf-8"))
    later = {field.name for field in dataclasses.fields(CellRow) if field.default is None}
    assert {"pointer_fidelity", "guaranteed_block_mass"} <= later
    del document["files"], document["sha256"]  # which came later still
    for row in (*document["cells"], *document["heads"]):
        for name in later & row.keys():
            del row[name]
    path.write_text(json.dumps(document), encoding="utf-8")
    back = read_sweep(path)
    assert (back.cells, back.heads) == (sweep.cells, sweep.heads)
    del document["cells"][0]["delta_share"]
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ValueError, match=r"cells\[0\] differs in \['delta_share'\]"):
        read_sweep(path)


@pytest.mark.parametrize(
    "file",
    sorted(RESULTS.glob("first_dial/*.json")) + [RESULTS / "demo" / "sweep.json"],
    ids=lambda path: path.stem,
)
def test_committed_results_are_readable(file: Path) -> None:
    assert read_sweep(file).cells


def test_csv_has_a_row_per_cell_and_per_head(sweep: SweepResult, tmp_path: Path) -> None:
    paths = write_sweep(sweep, tmp_path)
    assert [path.name for path in paths] == ["sweep.csv", "sweep_heads.csv", "sweep.json"]
    for path, rows, cls in ((paths[0], sweep.cells, CellRow), (paths[1], sweep.heads, HeadRow)):
        with open(path, encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
        assert list(table[0]) == names_of(cls)
        assert len(table) == len(rows)
        for read, row in zip(table, rows, strict=True):
            assert float(read["entropy_bits"]) == row.entropy_bits
            assert read["delta_measured"] == ""
            assert float(read["delta_imposed"]) == row.delta_imposed
    assert json.loads(paths[2].read_text(encoding="utf-8"))["cells"][0]["delta_measured"] is None


def test_numpy_scalars_become_plain_numbers(sweep: SweepResult, tmp_path: Path) -> None:
    cell = dataclasses.replace(sweep.cells[0], loss=np.float32(4.5), targets=np.int64(7), lam=0)
    write_sweep(dataclasses.replace(sweep, cells=(cell,)), tmp_path)
    back = read_sweep(tmp_path).cells[0]
    assert (back.loss, back.targets, back.lam) == (4.5, 7, 0.0)
    assert (type(back.loss), type(back.targets), type(back.lam)) == (float, int, float)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused_and_nothing_is_written(
    sweep: SweepResult, tmp_path: Path, value: float
) -> None:
    cells = (*sweep.cells[:2], dataclasses.replace(sweep.cells[2], accuracy=value))
    with pytest.raises(ValueError, match=r"cells\[2\]\.accuracy is -?(nan|inf); it must be finite\. Fix: "):
        write_sweep(dataclasses.replace(sweep, cells=cells), tmp_path)
    heads = (dataclasses.replace(sweep.heads[0], block_mass=value),)
    with pytest.raises(ValueError, match=r"heads\[0\]\.block_mass is -?(nan|inf)"):
        write_sweep(dataclasses.replace(sweep, heads=heads), tmp_path)
    with pytest.raises(ValueError, match=r"meta\.speed\[1\]\.best is -?(nan|inf)"):
        write_sweep(
            dataclasses.replace(sweep, meta=SweepMeta(more={"speed": [1, {"best": value}]})), tmp_path
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": {1: "cpu"}}, r"meta\.device has the key 1; it must be text"),
        ({"path": Path("runs")}, r"meta\.path is .*Path\('runs'\), a PosixPath; it must be text"),
        ({"mean": np.float64(1.0)}, r"meta\.mean is .*, a float64; it must be"),
    ],
)
def test_what_json_would_change_is_refused(
    sweep: SweepResult, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_sweep(dataclasses.replace(sweep, meta=SweepMeta(more=changes)), tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("lam", 1.5, r"cells\[0\]\.lam is 1\.5; it must be a number in \[0, 1\]"),
        ("tau", 0.0, r"cells\[0\]\.tau is 0\.0; it must be a number from 1e-06 to 1e"),
        ("loss", None, r"cells\[0\]\.loss is None; it must be a float\. Fix"),
        ("loss", "4.2", r"cells\[0\]\.loss is '4\.2'; it must be a float\. Fix"),
        ("hard", 1, r"cells\[0\]\.hard is 1; it must be a bool"),
        ("targets", True, r"cells\[0\]\.targets is True; it must be a int"),
        ("perplexity_word", "x", r"cells\[0\]\.perplexity_word is 'x'; it must be a float or None"),
    ],
)
def test_malformed_values_are_refused_on_reading(
    sweep: SweepResult, tmp_path: Path, field: str, value: Any, message: str
) -> None:
    path = write_sweep(sweep, tmp_path)[2]
    document = json.loads(path.read_text(encoding="utf-8"))
    document["cells"][0][field] = value
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        read_sweep(path)
    assert str(path) in str(caught.value)


def test_missing_and_unknown_fields_are_named(sweep: SweepResult, tmp_path: Path) -> None:
    path = write_sweep(sweep, tmp_path)[2]
    document = json.loads(path.read_text(encoding="utf-8"))
    document["heads"][3]["entropy_nats"] = document["heads"][3].pop("entropy_bits")
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(
        ValueError,
        match=r"heads\[3\] differs in \['entropy_bits', 'entropy_nats'\]; a HeadRow must have exactly",
    ):
        read_sweep(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run,seed\n1,2\n", "is not strict JSON"),
        ('{"format": NaN}', "it contains NaN"),
        ("[]", "holds 'list'; it must hold exactly the keys format"),
        ('{"cells": []}', r"holds \('cells',\); it must hold exactly"),
        (
            '{"format": "other", "config": {}, "meta": {}, "cells": [], "heads": []}',
            "has format 'other'; it must be 'aila_jax sweep",
        ),
        (
            '{"format": "aila_jax sweep, version 1", "config": {}, "meta": 0, "cells": [], "heads": []}',
            "meta is a int; it must be a dict",
        ),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "sweep.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_sweep(tmp_path)


def test_a_missing_file_is_refused_with_its_path(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.json"):
        with pytest.raises(ValueError, match=r"no sweep at '.*(sweep|absent)\.json'; it must be .* Fix: "):
            read_sweep(path)


def test_a_failed_write_keeps_the_old_files(
    sweep: SweepResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sweep(sweep, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_sweep(dataclasses.replace(sweep, meta=SweepMeta()), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_files_are_as_readable_as_any_other(sweep: SweepResult, tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.write_text("x", encoding="utf-8")
    for path in write_sweep(sweep, tmp_path):
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


def test_any_value_that_was_changed_is_found(sweep: SweepResult, tmp_path: Path) -> None:
    path = write_sweep(sweep, tmp_path)[2]
    document = json.loads(path.read_text(encoding="utf-8"))
    assert check_sweep(tmp_path) == ""
    places = list(json_places(document))
    for place in places[:: max(len(places) // 60, 1)]:
        changed = with_another_value(document, place)
        path.write_text(json.dumps(changed), encoding="utf-8")
        with pytest.raises(ValueError, match=r"sweep\.json"):
            read_sweep(path)
        assert check_sweep(tmp_path) != ""


@pytest.mark.parametrize("name", ["sweep.csv", "sweep_heads.csv"])
def test_a_table_beside_it_that_was_changed_is_found(sweep: SweepResult, tmp_path: Path, name: str) -> None:
    write_sweep(sweep, tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    assert check_sweep(tmp_path) == f"{name} does not match its checksum"
    (tmp_path / name).unlink()
    assert check_sweep(tmp_path) == f"{name} is missing"
