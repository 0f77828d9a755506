"""The training curve, read back from its lines."""

import math
from typing import Any

import pytest

from aila_jax.reporting.plots_training import training_figure


def test_lines_hold_the_records(log: list[dict[str, Any]]) -> None:
    axes = training_figure(log).axes[0]
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}
    train = [record for record in log if record["kind"] == "train"]
    assert lines["training"] == ([record["step"] for record in train], [record["loss"] for record in train])
    for lam in (0.0, 0.5, 1.0):
        records = [record for record in log if record["kind"] == "eval" and record["lam"] == lam]
        assert lines[f"evaluation, λ = {lam:g}"] == ([400, 800, 1200], [record["loss"] for record in records])
    assert axes.get_xlabel() == "optimizer step"
    assert "nats" in axes.get_ylabel()


def test_tau_is_named_where_it_is_not_one(log: list[dict[str, Any]]) -> None:
    records = [{**record, "tau": 0.5} if record["kind"] == "eval" else record for record in log]
    labels = [text.get_text() for text in training_figure(records).legends[0].get_texts()]
    assert labels == ["training", *(f"evaluation, λ = {lam}, τ = 0.5" for lam in ("0", "0.5", "1"))]


def test_a_continued_run_counts_the_later_record_and_a_loss_that_was_not_finite_is_a_gap(
    log: list[dict[str, Any]],
) -> None:
    train = [record for record in log if record["kind"] == "train"][:4]
    records = [*train, {**train[1], "loss": 1.25}, {**train[2], "loss": None}]
    line = training_figure(records).axes[0].get_lines()[0]
    assert list(line.get_xdata()) == [20, 40, 60, 80]
    assert line.get_ydata()[1] == 1.25
    assert math.isnan(line.get_ydata()[2])


def test_steps_are_marked_in_whole_numbers(log: list[dict[str, Any]]) -> None:
    axes = training_figure([{**log[0], "step": step} for step in (1, 2, 3)]).axes[0]
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_an_empty_log_is_refused() -> None:
    with pytest.raises(ValueError, match="the training log has 0 records"):
        training_figure([])
