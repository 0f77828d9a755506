"""Attention removed: against a model whose output projections are 0, and against the sweep's own
perplexity.
"""

from dataclasses import replace
from types import SimpleNamespace

import jax
import pytest

from aila_jax.config.options import ScoringOptions
from aila_jax.evaluation import without_attention as module
from aila_jax.evaluation.sweep import sweep
from aila_jax.evaluation.without_attention import AttentionCost, without_attention
from aila_jax.model.interface import Request
from aila_jax.model.stats import StatsRequest


@pytest.fixture(scope="module")
def rows(trained):
    return without_attention(trained.model, trained.dataset)


def test_removing_attention_is_the_model_with_output_projections_of_zero(trained, rows):
    silent = jax.tree_util.tree_map_with_path(
        lambda path, x: 0 * x if "out" in [part.key for part in path] else x, trained.model.params
    )
    cells = sweep(
        replace(trained.model, params=silent), trained.dataset, lams=(0.0, 1.0), taus=(1.0,), quiet=True
    ).cells
    assert [(row.lam, row.tau, row.split, row.targets) for row in rows] == [
        (c.lam, c.tau, c.split, c.targets) for c in cells
    ]
    assert [row.perplexity_without for row in rows] == pytest.approx(
        [cell.perplexity_token for cell in cells], rel=1e-5
    )


def test_with_attention_it_is_the_sweeps_perplexity(trained, rows):
    cells = sweep(trained.model, trained.dataset, lams=(0.0, 1.0), taus=(1.0,), quiet=True).cells
    assert [row.perplexity for row in rows] == pytest.approx(
        [cell.perplexity_token for cell in cells], rel=1e-5
    )
    assert all(row.perplexity != pytest.approx(row.perplexity_without, rel=1e-4) for row in rows)


def test_a_new_lam_does_not_compile_again(trained, rows):
    before = module._loss._cache_size()
    assert [row.lam for row in without_attention(trained.model, trained.dataset, (0.3, 0.7), tau=0.5)] == [
        0.3,
        0.7,
    ]
    assert module._loss._cache_size() == before


@pytest.mark.parametrize(
    ("without", "cost", "used"), [(110.0, 0.1, True), (109.9, 0.099, False), (90.0, -0.1, False)]
)
def test_attention_is_used_where_it_is_worth_a_tenth(without, cost, used):
    row = AttentionCost(0.0, 1.0, "test", 7, 100.0, without)
    assert row.cost == pytest.approx(cost)
    assert row.used is used


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lams": ()}, r"lams is \(\); it must be at least one λ"),
        ({"lams": (2,)}, r"lams is 2.0; it must be a number in \[0, 1\]"),
        ({"tau": 0}, "tau is 0.0"),
        ({"hard": True}, "hard block attention; it must be 1"),
        ({"split": "dev"}, "split is 'dev'"),
        ({"max_batches": -1}, "max_batches is -1"),
    ],
)
def test_what_is_refused(trained, settings, message):
    dial = {name: settings[name] for name in settings.keys() & {"lams", "tau"}}
    read = {name: settings[name] for name in settings.keys() - dial.keys()}
    with pytest.raises(ValueError, match=message):
        without_attention(trained.model, trained.dataset, **dial, options=ScoringOptions(**read))


@pytest.mark.parametrize("asked", [{"stats": StatsRequest()}, {"weights": True}], ids=["stats", "weights"])
def test_there_are_no_statistics_of_attention_that_is_removed(asked):
    with pytest.raises(
        ValueError, match=r"Request\.no_attention is True; it must be false with stats or weights"
    ):
        Request(no_attention=True, **asked)


def test_text_of_another_tokenizer_is_refused(trained):
    other = replace(trained.dataset, tokenizer=SimpleNamespace(fingerprint="other"))
    with pytest.raises(ValueError, match=r"dataset\.tokenizer is 'other'; it must be the model's"):
        without_attention(trained.model, other)
