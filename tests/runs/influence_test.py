"""`runs.influence` on a small run: its files, its table and its figure."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from aila_jax import runs
from aila_jax.config.options import InfluenceOptions
from aila_jax.evaluation.certify import certify
from aila_jax.evaluation.influence import influence
from aila_jax.evaluation.influence_rows import InfluenceRow
from aila_jax.evaluation.without_attention import without_attention
from aila_jax.formats import nats, perplexity
from aila_jax.guarantees.influence import value_bounds
from aila_jax.reporting.influence_files import read_influence, write_influence
from aila_jax.reporting.plots_influence import influence_figure

SMALL = InfluenceOptions(positions=20, draws=2)


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory):
    directory = tmp_path_factory.mktemp("influence")
    return (
        runs.influence(trained.run.workdir, SMALL, directory, quiet=True),
        directory,
    )


def test_rows_are_the_cells_and_the_files_are_the_rows(trained, written):
    result, directory = written
    cells = influence(trained.model, trained.dataset, SMALL, quiet=True)
    assert [(row.lam, row.kl_outside, row.kl_inside) for row in result.rows] == [
        (c.lam, c.outside.kl, c.inside.kl) for c in cells
    ]
    assert {(row.run, row.seed, row.split, row.positions, row.draws) for row in result.rows} == {
        ("run", 0, "validation", 20, 2)
    }
    document = json.loads((directory / "influence.json").read_text(encoding="utf-8"))
    beyond = {field.name for field in dataclasses.fields(InfluenceRow) if "beyond" in field.name}
    plain = [dataclasses.asdict(row) for row in result.rows]
    assert document["rows"] == [
        {name: value for name, value in row.items() if name not in beyond} for row in plain
    ]
    assert all(row[name] is None for row in plain for name in beyond)
    assert document["heads"] == [dataclasses.asdict(row) for row in result.heads]
    assert document["meta"]["unit"] == "nats"
    assert document["meta"]["draws_seed"] == 0
    for name, rows in (("influence", result.rows), ("influence_heads", result.heads)):
        table = list(csv.DictReader((directory / f"{name}.csv").read_text(encoding="utf-8").splitlines()))
        assert [float(line["lam"]) for line in table] == [row.lam for row in rows]
        names = [field.name for field in dataclasses.fields(rows[0])]
        assert list(table[0]) == [name for name in names if name not in beyond]
    assert (directory / "influence.png").stat().st_size > 5000


def test_each_head_has_its_bounds(trained, written):
    result, _ = written
    assert [(row.lam, row.layer, row.head) for row in result.heads] == [
        (lam, layer, head) for lam in (0.0, 0.5, 1.0) for layer in (0, 1) for head in (0, 1)
    ]
    for row in result.heads:
        assert (
            row.value_bound
            == value_bounds(trained.model.params, trained.config.model, row.lam)[row.layer, row.head]
        )
        assert row.contribution_measured == pytest.approx(row.out_mass_measured * row.value_bound)
        assert row.guarantee == "parameters"
        # Windows of 5 in a text of 16: the worst query begins the last window, with one key in its block and
        # 15 outside.
        gap = certify(trained.model, row.lam).gap.nats[row.layer, row.head]
        assert row.out_mass_guaranteed == pytest.approx(1 / (1 + np.exp(gap) / 15), rel=1e-9)
        assert row.contribution_guaranteed == pytest.approx(row.out_mass_guaranteed * row.value_bound)
        assert row.out_mass_guaranteed > row.out_mass_measured
    means = [
        np.mean([row.out_mass_measured for row in result.heads if row.lam == lam]) for lam in (0.0, 0.5, 1.0)
    ]
    np.testing.assert_allclose(
        means, [1 - row.block_mass for row in result.rows], atol=1e-6
    )  # block mass is rounded near 1


def test_hard_blocks_guarantee_that_nothing_comes_from_outside(trained, tmp_path):
    hard = dataclasses.replace(SMALL, lams=(1.0,), hard=True)
    result = runs.influence(trained.run.workdir, hard, tmp_path, quiet=True)
    assert (result.rows[0].kl_outside, result.rows[0].hard) == (0.0, True)
    assert {(row.guarantee, row.contribution_guaranteed) for row in result.heads} == {("hard", 0.0)}
    text = runs.describe_influence(result)
    assert "1 hard" in text
    assert "no head adds more than 0 at any query (guaranteed mass, hard)" in text


def test_the_table_says_what_was_measured(written):
    result, _ = written
    text = runs.describe_influence(result)
    assert text.startswith(
        "run, seed 0: validation, 20 queries, 2 draws, τ = 1\nKL divergence of the next-token distribution in"
        " nats"
    )
    row = result.rows[0]
    assert f"{row.kl_outside:.3g} ± {row.kl_outside_error:.3g}" in text
    assert text.count("of its attention outside the block, which adds at most") == 3


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.0, "0"), (0.012345, "0.0123"), (1e-9, "1e-09")])
def test_numbers_are_shown_with_three_digits_and_zero_as_zero(value, text):
    assert nats(value) == text


def test_the_figure_shows_both_sides_and_says_where_influence_is_zero(written):
    result, _ = written
    near = tuple(
        dataclasses.replace(row, kl_outside=0.5 - 0.1 * row.lam, kl_inside=0.3) for row in result.rows
    )
    assert influence_figure(dataclasses.replace(result, rows=near)).axes[0].get_yscale() == "linear"
    left, right = influence_figure(result).axes
    assert list(left.containers[0].lines[0].get_ydata()) == [row.kl_outside for row in result.rows]
    assert list(left.containers[1].lines[0].get_ydata()) == [row.kl_inside for row in result.rows]
    assert list(right.lines[0].get_ydata()) == pytest.approx([1 - row.block_mass for row in result.rows])
    rows = (
        dataclasses.replace(result.rows[0], kl_outside=1e-6),
        result.rows[1],
        dataclasses.replace(result.rows[2], kl_outside=0.0),
    )
    left = influence_figure(dataclasses.replace(result, rows=rows)).axes[0]
    assert left.get_yscale() == "log"
    assert left.get_title(loc="right") == "exactly 0 outside at λ = 1"
    assert list(left.containers[0].lines[0].get_xdata()) == [0.0, 0.5]


def test_nothing_is_written_that_is_not_a_number(written, tmp_path):
    result, _ = written
    bad = dataclasses.replace(result, rows=(dataclasses.replace(result.rows[0], kl_outside=float("nan")),))
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_influence(bad, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_output_below_a_file_is_refused_before_any_work(trained, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="output folder is"):
        runs.influence(trained.run.workdir, out=tmp_path / "file" / "below", quiet=True)


def test_attention_removed_is_scored_on_request_at_both_ends(trained, written, tmp_path):
    both = dataclasses.replace(SMALL, without_attention=True)
    found = runs.influence(trained.run.workdir, both, tmp_path, quiet=True)
    costs = found.meta.without_attention
    assert costs == tuple(without_attention(trained.model, trained.dataset, lams=(0.0, 1.0)))
    lines = runs.describe_influence(found).splitlines()
    assert [line.split(":")[0] for line in lines[-2:]] == ["λ = 0", "λ = 1"]
    for cost, line in zip(costs, lines[-2:], strict=True):
        assert cost.perplexity != cost.perplexity_without
        assert (
            f"perplexity per token {perplexity(cost.perplexity)}, without attention"
            f" {perplexity(cost.perplexity_without)} (" in line
        )
        assert f"{cost.targets:,} targets)" in line
    assert read_influence(tmp_path) == found
    assert json.loads((tmp_path / "influence.json").read_text(encoding="utf-8"))["meta"][
        "without_attention"
    ] == [dataclasses.asdict(cost) for cost in costs]
    assert "without attention" not in runs.describe_influence(written[0])
