"""Rows of a model with a relation: keys inside and mass by kind against NumPy from `apply`, pointer fidelity
of the relation's pointers, what files hold, and that plain blocks write what they did.
"""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from aila_jax.config import RelationConfig
from aila_jax.evaluation.rows import CellRow, HeadRow
from aila_jax.evaluation.sweep import sweep
from aila_jax.reporting import read_sweep, write_sweep
from aila_jax.reporting.html_tables import cell_columns, head_columns
from aila_jax.reporting.table import dial_table
from tests.oracles.kinds import WindowRelation

NEW = {
    "n_in", "block_mass_local_uniform", "pointer_mass", "pointer_mass_uniform", "sink_mass", "sink_mass_uniform",
}  # fmt: skip
RELATIONS = {
    "ends, sink": (RelationConfig(pointers="ends", sink=True), WindowRelation(5, sink=True, ends=True)),
    "horizon": (RelationConfig(pointers="ends", horizon=1), WindowRelation(5, ends=True, horizon=1)),
    "shifted": (RelationConfig(shift=2), WindowRelation(5, shift=2)),
}


def related(model, relation, **model_settings):
    """The same weights with another relation."""
    config = model.config
    changed = replace(config, relation=relation, model=replace(config.model, **model_settings))
    return replace(model, config=changed)


@pytest.fixture(scope="module", params=RELATIONS)
def read(request, trained):
    """A sweep of one cell, and its oracle."""
    relation, oracle = RELATIONS[request.param]
    model = related(trained.model, relation)
    return model, oracle, sweep(model, trained.dataset, lams=(0.5,), taus=(1.0,), quiet=True)


def by_kind(model, dataset, oracle, lam=0.5):
    """Mean mass [layer, head], mean keys and mean share of uniform attention [layer] of each kind over the
    real queries of the split; of queries with pointers, the mass on them and its uniform share.
    """
    windows = dataset.windows("validation", 16, False).batch
    output = model.apply(windows.tokens, lam=lam, doc_ids=windows.doc_ids, weights=True)
    weights, real = np.asarray(output.weights, np.float64), windows.doc_ids >= 0
    found = {}
    for layer in range(2):
        for row in range(len(real)):
            length = int(real[row].sum())
            for kind, mask in oracle.masks(layer, length).items():
                of_query = mask.sum(-1)
                mass = (weights[layer, row, :, :length, :length] * mask).sum(-1)
                uniform = of_query / np.arange(1, length + 1)
                found.setdefault((kind, layer), []).append((of_query, mass, uniform))
    means = {}
    for at, parts in found.items():
        keys, mass, uniform = (np.concatenate([part[i] for part in parts], axis=-1) for i in range(3))
        some = keys > 0
        pointed = (mass[:, some].mean(-1), uniform[some].mean()) if some.any() else (0.0, 0.0)
        means[at] = keys.mean(), mass.mean(-1), uniform.mean(), *pointed
    return means


def test_masses_and_keys_by_kind_are_what_numpy_makes_of_the_weights(trained, read):
    model, oracle, result = read
    found = by_kind(model, trained.dataset, oracle)
    (cell,) = result.cells
    for layer, head in np.ndindex(2, 2):
        row = result.heads[2 * layer + head]
        assert (row.layer, row.head) == (layer, head)
        keys, own, pointer, sink = (
            found["own", layer][0] + found["pointer", layer][0] + found["sink", layer][0],
            found["own", layer], found["pointer", layer], found["sink", layer],
        )  # fmt: skip
        assert row.n_in == pytest.approx(keys, rel=1e-6)
        assert row.block_mass_local == pytest.approx(own[1][head], rel=1e-4)
        assert row.block_mass_local_uniform == pytest.approx(own[2], rel=1e-5)
        assert row.block_mass == pytest.approx(own[1][head] + pointer[1][head] + sink[1][head], rel=1e-4)
        assert row.block_mass_uniform == pytest.approx(own[2] + pointer[2] + sink[2], rel=1e-5)
        assert row.block_mass_lift == pytest.approx(row.block_mass / row.block_mass_uniform, rel=1e-5)
        for name, kind, there in (("pointer", pointer, oracle.ends), ("sink", sink, oracle.sink)):
            mass, uniform = getattr(row, f"{name}_mass"), getattr(row, f"{name}_mass_uniform")
            assert (mass is None, uniform is None) == (not there, not there)
            if there:
                assert mass == pytest.approx(kind[1][head], rel=1e-4)
                assert uniform == pytest.approx(kind[2], rel=1e-5)
    for name in ("n_in", "block_mass_local", "block_mass_local_uniform"):
        assert getattr(cell, name) == pytest.approx(np.mean([getattr(row, name) for row in result.heads]))
    if oracle.ends:
        assert cell.pointer_mass == pytest.approx(np.mean([row.pointer_mass for row in result.heads]))


def test_pointer_fidelity_is_of_the_relations_pointers(trained, read):
    model, oracle, result = read
    (cell,) = result.cells
    if not oracle.ends:
        assert cell.pointers is None and cell.pointer_fidelity is None
        with pytest.raises(
            ValueError, match=r"pointers is 'relation'; it must be left out where relation\.pointers"
        ):
            sweep(model, trained.dataset, pointers="relation", lams=(0.5,), taus=(1.0,), quiet=True)
        return
    found = by_kind(model, trained.dataset, oracle)
    want = np.mean([found["pointer", layer][3] for layer in range(2)])
    uniform = np.mean([found["pointer", layer][4] for layer in range(2)])
    assert cell.pointers == "relation"
    assert cell.pointer_fidelity == pytest.approx(want, rel=1e-4)
    assert cell.pointer_uniform == pytest.approx(uniform, rel=1e-5)
    assert cell.pointer_lift == pytest.approx(want / uniform, rel=1e-4)
    (unasked,) = sweep(model, trained.dataset, pointers="none", lams=(0.5,), taus=(1.0,), quiet=True).cells
    assert (unasked.pointers, unasked.pointer_fidelity, unasked.pointer_mass) == (
        None,
        None,
        cell.pointer_mass,
    )


def test_files_hold_the_columns_that_there_are_and_say_the_relation(read, tmp_path):
    model, oracle, result = read
    write_sweep(result, tmp_path)
    assert read_sweep(tmp_path) == result
    there = {name for name in NEW if getattr(result.cells[0], name) is not None}
    assert ("pointer_mass" in there, "sink_mass" in there) == (oracle.ends, oracle.sink)
    for name in ("sweep.csv", "sweep_heads.csv"):
        header = next(csv.reader((tmp_path / name).read_text(encoding="utf-8").splitlines()))
        assert set(header) & NEW == there
    document = json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))
    assert document["meta"]["relation"] == model.config.relation.settings
    assert all(set(row) & NEW == there for row in document["cells"] + document["heads"])
    table = dial_table(result)
    assert ("on pointers" in table, "on sink" in table) == (oracle.ends, oracle.sink)
    assert "keys inside" in table and "local mass" in table
    for columns in (cell_columns(result.cells), head_columns(result.heads)):
        titles = {column.title for column in columns}
        assert {"keys inside", "uniform local"} <= titles
        assert ("on pointers" in titles, "on sink" in titles) == (oracle.ends, oracle.sink)


def test_plain_blocks_write_no_new_column(trained, tmp_path):
    result = sweep(trained.model, trained.dataset, lams=(0.5,), taus=(1.0,), quiet=True)
    write_sweep(result, tmp_path)
    for name in ("sweep.csv", "sweep_heads.csv"):
        header = next(csv.reader((tmp_path / name).read_text(encoding="utf-8").splitlines()))
        assert not set(header) & NEW
    document = json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))
    assert not any(set(row) & NEW for row in document["cells"] + document["heads"])
    assert "relation" not in document["meta"]
    assert all(getattr(row, name) is None for row in result.cells + result.heads for name in NEW)
    assert "local mass" not in dial_table(result)
    pytest.importorskip("pandas")
    assert not set(result.to_pandas().columns) & NEW
    assert not set(result.to_pandas(heads=True).columns) & NEW


def test_the_new_columns_are_the_optional_ones():
    from aila_jax.columns import columns_of

    for cls in (CellRow, HeadRow):
        assert {column.name for column in columns_of(cls) if column.optional} == NEW
