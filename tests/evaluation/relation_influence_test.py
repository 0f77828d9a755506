"""Influence with a relation: sides by enumeration of paths, exactly 0 beyond the reach at a hard end, above 0
outside where information travels in two steps, and plain blocks as they were.
"""

from dataclasses import replace

import numpy as np
import pytest

from aila_jax.config import PartitionConfig, RelationConfig
from aila_jax.config.options import InfluenceOptions
from aila_jax.evaluation.influence import influence
from aila_jax.evaluation.influence_rows import HeadInfluenceRow, InfluenceResult, _row
from aila_jax.evaluation.meta import origin_of
from aila_jax.evaluation.origin import InfluenceMeta
from aila_jax.evaluation.resampling import SIDES, choose_queries, resampled_texts
from aila_jax.evaluation.rows import RowLabel
from aila_jax.partition.fit import fit_partition
from aila_jax.reporting.influence_files import describe_influence, read_influence, write_influence
from aila_jax.reporting.plots_influence import influence_figure
from tests.oracles.kinds import WindowRelation

HARD = {"positions": 24, "draws": 2, "lams": (1.0,), "hard": True}
RELATIONS = {
    "shifted": (RelationConfig(shift=2), WindowRelation(5, shift=2)),
    "horizon": (RelationConfig(pointers="ends", horizon=1), WindowRelation(5, ends=True, horizon=1)),
    "sink, shifted": (RelationConfig(sink=True, shift=4), WindowRelation(5, sink=True, shift=4)),
}


def related(model, relation, **model_settings):
    """The same weights with another relation."""
    config = model.config
    changed = replace(config, relation=relation, model=replace(config.model, **model_settings))
    return replace(model, config=changed)


@pytest.fixture(params=RELATIONS)
def case(request, trained):
    relation, oracle = RELATIONS[request.param]
    return related(trained.model, relation), oracle


def test_sides_are_what_paths_lead_to(trained, case):
    model, oracle = case
    queries = choose_queries(model, trained.dataset.windows("validation", 16, False), 60, seed=0)
    assert queries.sides == SIDES
    lengths = (queries.windows.doc_ids >= 0).sum(-1)
    for row, at in enumerate(queries.at):
        length = int(lengths[row])
        masks = [oracle.masks(layer, length) for layer in range(2)]
        inside = sum(mask[at] for one in masks for mask in one.values()) > 0
        reach = oracle.reach(2, length)[at]
        before = np.arange(length) <= at
        want = (before & ~inside, before & inside & (np.arange(length) != at), before & ~reach)
        for side, keys in enumerate(want):
            found = queries.resampled[side, row]
            assert found[:length].tolist() == keys.tolist(), (SIDES[side], row, at)
            assert not found[length:].any()


@pytest.mark.parametrize("end", ["hard", "gate"])
def test_beyond_the_reach_nothing_moves_to_the_last_bit(trained, case, end):
    """By the flag, and by the gate at λ = 1; outside, what travels in two steps moves the prediction."""
    model, _ = case
    settings = dict(HARD)
    if end == "gate":
        margin = replace(model.config.model.margin, gate=1.0)
        model, settings["hard"] = related(model, model.config.relation, margin=margin), False
    (cell,) = influence(model, trained.dataset, InfluenceOptions(**settings), quiet=True)
    assert cell.beyond is not None and cell.beyond.positions >= 2
    assert (cell.beyond.kl, cell.beyond.error, cell.beyond.spread) == (0.0, 0.0, 0.0)
    assert cell.beyond.tokens * cell.beyond.positions < cell.outside.tokens * cell.outside.positions
    assert cell.outside.kl > 1e-6
    assert cell.inside.kl > 1e-6
    assert (cell.out_mass == 0.0).all()
    np.testing.assert_allclose(cell.block_mass, 1.0, rtol=1e-6)


def test_a_soft_end_moves_beyond_too_and_masses_are_by_layer(trained, case):
    model, oracle = case
    options = InfluenceOptions(positions=24, draws=2, lams=(0.0,))
    (cell,) = influence(model, trained.dataset, options, quiet=True)
    assert cell.beyond.kl > 1e-6
    queries = choose_queries(model, trained.dataset.windows("validation", 16, False), 24, seed=0)
    output = model.apply(queries.windows.tokens, lam=0.0, doc_ids=queries.windows.doc_ids, weights=True)
    weights = np.asarray(output.weights, np.float64)
    for layer in range(2):
        masses = []
        for row, at in enumerate(queries.at):
            length = int((queries.windows.doc_ids[row] >= 0).sum())
            inside = sum(mask[at] for mask in oracle.masks(layer, length).values()) > 0
            masses.append((weights[layer, row, :, at, :length] * inside).sum(-1))
        np.testing.assert_allclose(cell.block_mass[layer], np.mean(masses, axis=0), rtol=1e-4)


def test_pointers_stay_those_of_the_text_as_it_is(trained):
    """One token of each sentence, which new tokens would move: at a hard end, with blocks and pointers as
    they were, exactly 0 beyond.
    """
    relation = RelationConfig(pointers="random")
    partition = PartitionConfig(kind="segments", unit="sentence")
    fitted = fit_partition(partition, trained.model.tokenizer, trained.dataset.splits["train"], quiet=True)
    model = trained.model.with_partition(partition, fitted)
    model = replace(model, config=replace(model.config, relation=relation))
    queries = choose_queries(model, trained.dataset.windows("validation", 16, False), 24, seed=0)
    texts = resampled_texts(queries, trained.dataset.splits["train"].tokens, 2, seed=0)
    moved = replace(queries.windows, tokens=texts[0, 0])
    ids = np.asarray(model.partition(moved))
    assert (ids != queries.blocks.ids).any(), "the new tokens move no block: the test shows nothing"
    (cell,) = influence(model, trained.dataset, InfluenceOptions(**HARD), quiet=True)
    assert cell.beyond.positions >= 2
    assert cell.beyond.kl == 0.0
    assert cell.outside.kl > 1e-6


def test_a_sink_alone_has_no_third_side_and_is_zero_outside(trained):
    model = related(trained.model, RelationConfig(sink=True))
    (cell,) = influence(model, trained.dataset, InfluenceOptions(**HARD), quiet=True)
    assert not cell.reach and cell.beyond is None
    assert cell.outside.kl == 0.0
    assert cell.inside.kl > 1e-6


def test_ends_for_all_later_blocks_leave_nothing_beyond(trained):
    model = related(trained.model, RelationConfig(pointers="ends"))
    (cell,) = influence(model, trained.dataset, InfluenceOptions(**HARD), quiet=True)
    assert cell.reach and cell.beyond is None
    row = _row(cell, RowLabel("run", 0, "commit", "validation", 1.0, 1.0))
    assert (row.positions_beyond, row.kl_beyond) == (0, None)


def test_rows_table_figure_and_files(trained, tmp_path):
    model = related(trained.model, RelationConfig(shift=2))
    options = InfluenceOptions(positions=24, draws=2, lams=(1.0,), hard=True)
    (cell,) = influence(model, trained.dataset, options, quiet=True)
    row = _row(cell, RowLabel("run", 0, "commit", "validation", 1.0, 1.0))
    assert (row.positions_beyond, row.tokens_beyond) == (cell.beyond.positions, cell.beyond.tokens)
    assert (row.kl_beyond, row.kl_beyond_error, row.kl_beyond_spread) == (0.0, 0.0, 0.0)
    meta = InfluenceMeta(**vars(origin_of(model, trained.dataset)))
    assert meta.relation == {"shift": 2}
    result = InfluenceResult((row,), (), model.config, meta)
    write_influence(result, tmp_path)
    assert read_influence(tmp_path) == result
    assert "kl_beyond" in (tmp_path / "influence.csv").read_text(encoding="utf-8").splitlines()[0]
    figure = influence_figure(result)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [
        "tokens outside resampled",
        "tokens inside resampled",
        "tokens beyond the reach resampled",
    ]
    assert "exactly 0 beyond at λ = 1" in figure.axes[0].get_title(loc="right")
    head = HeadInfluenceRow("run", 0, "commit", "validation", 1.0, 1.0, 0, 0, 1.0, 0.0, 0.0, None, None, None)
    text = describe_influence(replace(result, heads=(head,)))
    assert "KL beyond" in text.splitlines()[3] and text.splitlines()[4].split()[-2] == "0"
