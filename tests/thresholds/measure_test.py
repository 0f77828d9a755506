"""The threshold experiment: its runs, its table on rows made up so that the answer is known, and the whole
command on a tiny run.
"""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from aila_jax import runs
from aila_jax.config import Config, LocalityConfig, ModelConfig, TrainConfig, from_dict
from aila_jax.config.options import SweepOptions, ThresholdOptions
from aila_jax.loading.models import load
from aila_jax.loss.importance import size_weights
from aila_jax.presets import small
from aila_jax.thresholds.estimates import formula_undefined, spread_batches
from aila_jax.thresholds.measure import ThresholdSettings, check, measure, threshold_runs
from aila_jax.thresholds.path import PathSettings, ZeroingPath, zeroing_path
from aila_jax.thresholds.plot import threshold_figure
from aila_jax.thresholds.ranks import correlate, show_correlation
from aila_jax.thresholds.report import collect, describe, uniform_bits
from aila_jax.thresholds.rows import (
    ThresholdMeta,
    ThresholdResult,
    ThresholdRow,
    read_threshold,
    write_threshold,
)
from aila_jax.training.locality import training_dial
from aila_jax.types import Batch
from experiments import launcher as experiment
from experiments.threshold import __main__ as launcher
from tests.support.tiny import make_config, write_corpus
from tests.support.untrained import with_dial_weights


def test_the_runs_differ_in_their_windows_alone():
    found = threshold_runs(small())
    assert list(found) == ["window3", "window5", "window10"]
    for name, config in found.items():
        assert replace(config, partition=found["window5"].partition) == found["window5"]
        assert config.partition.size == int(name.removeprefix("window"))
        assert config.feature_groups == math.ceil(128 / config.partition.size)
        assert (config.model.localist, config.model.film, config.model.dial_weights, config.locality.lam) == (
            True,
            False,
            "none",
            0.0,
        )
        assert config.train.steps * config.train.batch_size * config.model.length == 1_638_400
        assert formula_undefined(config) == ""


def test_where_the_formula_does_not_apply_a_reason_is_given():
    config = threshold_runs(small())["window5"]
    assert "not localist" in formula_undefined(replace(config, model=replace(config.model, localist=False)))
    assert "16 groups for 26 blocks" in formula_undefined(
        replace(config, penalty=replace(config.penalty, groups=16))
    )


def test_what_cannot_be_measured_is_refused():
    config = threshold_runs(small())["window5"]
    settings = ThresholdSettings()
    no_groups = replace(
        config, model=replace(config.model, localist=False), partition=replace(config.partition, kind="given")
    )
    with pytest.raises(
        ValueError, match=r"penalty\.groups is 0; it must be above 0 for thresholds of groups"
    ):
        check(no_groups, settings)
    with pytest.raises(ValueError, match=r"model\.qk_norm is True; it must be false for the path"):
        check(replace(config, model=replace(config.model, qk_norm=True)), settings)
    check(replace(config, model=replace(config.model, qk_norm=True)), replace(settings, path=None))
    with pytest.raises(
        ValueError, match=r"threshold\.at_zero is 9; it must be at most threshold\.gradients \(8\)"
    ):
        ThresholdSettings(gradients=8, at_zero=9)
    with pytest.raises(ValueError, match=r"threshold\.held_out is 0; it must be at least 1"):
        ThresholdSettings(held_out=0)
    for name, value in (
        ("first", 0.0),
        ("ratio", 1.0),
        ("most_levels", 0),
        ("steps", 0),
        ("learning_rate", -1.0),
    ):
        with pytest.raises(ValueError, match=rf"path\.{name} is {value}; it must be .*Fix: "):
            PathSettings(**{name: value})


def test_batches_are_spread_over_the_text_without_repetition():
    batch = Batch.from_tokens(np.arange(40, dtype=np.int32).reshape(20, 2))
    chosen = spread_batches(batch, 3, 4)
    assert [part.tokens.shape for part in chosen] == [(3, 2)] * 4
    rows = np.concatenate([part.tokens[:, 0] for part in chosen]) // 2
    assert (rows[0], rows[-1], len(set(rows.tolist()))) == (0, 19, 12)
    assert np.diff(rows).max() <= 2
    assert len(spread_batches(batch, 8, 99)) == 2


def test_the_formula_is_fed_from_the_whole_split(trained, monkeypatch):
    """Its first windows alone are its first articles."""
    read = []
    monkeypatch.setattr(
        "aila_jax.thresholds.measure.formula_undefined", lambda config: ""
    )  # its positions are not localist
    monkeypatch.setattr(
        "aila_jax.thresholds.measure.input_estimates",
        lambda model, batches, quiet: read.extend(batches) or 1 / 0,
    )
    windows = trained.dataset.windows("train", trained.config.model.length, False).batch.tokens
    rows = trained.config.sweep.batch_size
    for inputs in (2, 0):
        with pytest.raises(ZeroDivisionError):
            measure(trained.model, trained.dataset, ThresholdSettings(inputs=inputs, path=None))
    assert [len(batch.tokens) for batch in read[:2]] == [rows, rows]
    np.testing.assert_array_equal(read[0].tokens[0], windows[0])
    np.testing.assert_array_equal(read[1].tokens[-1], windows[-1])
    assert sum((batch.doc_ids[:, 0] >= 0).sum() for batch in read[2:]) == len(windows)  # 0 is all of it


def test_a_group_counts_from_where_it_stays_zero():
    """Four groups: zero from the first level, zero and back and zero, never, only in between."""
    zero = np.array([[1, 0, 0, 0], [1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 0, 0]], bool).reshape(4, 1, 2, 2, 1)
    path = ZeroingPath(np.array([0.0, 1.0, 2.0, 4.0]), zero, np.zeros(4), np.zeros((4, 1)))
    np.testing.assert_array_equal(path.zeroed().ravel(), [0.0, 4.0, np.inf, np.inf])
    assert path.eta == 4.0


@pytest.mark.parametrize("turning", [False, True])
def test_the_path_ends_where_every_group_is_zero_and_leaves_the_model_alone(trained, turning):
    """At first nothing is 0; the last level zeroes all of both layers, so attention is uniform there; the
    checkpoint is untouched.
    """
    model = replace(
        trained.model, config=replace(trained.config, locality=LocalityConfig(mode="fixed", lam=0.0))
    )
    model = with_dial_weights(model) if turning else model
    windows = trained.dataset.windows("train", 16, False)
    held_out = spread_batches(trained.dataset.windows("validation", 16, False).batch, 8, 1)
    before = np.asarray(model.params["layer_0"]["attention"]["query"]["kernel"]).copy()
    importance = size_weights(16, 2, 4)
    settings = PathSettings(first=1e-4, ratio=1000.0, most_levels=9, steps=6, learning_rate=0.05)
    path = zeroing_path(model, windows, held_out, importance, settings, quiet=True)
    assert path.zero.shape[1:] == (2, 2, 4, 2)
    assert not path.zero[0].any()
    assert path.zero[-1].all()
    assert not path.zero[-2].all()
    np.testing.assert_allclose(path.levels[1:], 1e-4 * 1000.0 ** np.arange(len(path.levels) - 1))
    assert np.isfinite(path.zeroed()).all()
    assert path.zeroed().max() == path.eta
    keys = held_out[0].positions + 1  # of a causal query; the last window is a part of one
    uniform = np.log2(keys[held_out[0].doc_ids >= 0]).mean()
    np.testing.assert_allclose(path.entropy[-1], uniform, rtol=1e-5)
    assert (path.entropy[0] < uniform - 0.01).all()
    np.testing.assert_array_equal(model.params["layer_0"]["attention"]["query"]["kernel"], before)
    np.testing.assert_array_equal(importance, size_weights(16, 2, 4))


@pytest.mark.medium  # the path compiles once for each
def test_a_run_that_reads_sequences_twice_is_measured_with_one_view_and_pressed_as_in_training(trained):
    """As the preset `certified` is trained: two views, the second distilled, with pressure, without
    which attention would be another.
    """
    settings = PathSettings(first=1e-9, most_levels=1, steps=15, learning_rate=0.02)
    held_out = spread_batches(trained.dataset.windows("validation", 16, False).batch, 8, 1)
    entropy = {}
    for pressure in (0.0, 5.0):
        locality = LocalityConfig(mode="conditional", at_one=1.0, views=2, distill=0.5, pressure=pressure)
        model = replace(trained.model, config=replace(trained.config, locality=locality))
        lam, tau = training_dial(model.config, 5)
        assert (lam.tolist(), tau.tolist()) == ([1.0] * 5, [1.0] * 5)
        path = zeroing_path(
            model,
            trained.dataset.windows("train", 16, False),
            held_out,
            size_weights(16, 2, 4),
            settings,
            quiet=True,
        )
        entropy[pressure] = path.entropy[-1].mean()
    assert abs(entropy[5.0] - entropy[0.0]) > 0.005  # the same training to the last bit otherwise


def row(window: int, group: int, head: int, projection: str, **values) -> ThresholdRow:
    given = {
        "run": f"window{window}-seed0",
        "seed": 0,
        "commit": "c",
        "layer": 0,
        "coordinates": window,
        "importance": 1.0,
    }
    measured = {
        "tokens": float(window),
        "sigma": 1.0,
        "delta": -1.0,
        "predicted": 8.0,
        "gradient": 0.2,
        "noise": 0.05,
    }
    measured |= {"stationarity": 0.2, "path": 0.1, "path_lam": 0.5}
    return ThresholdRow(
        window=window, group=group, head=head, projection=projection, **{**given, **measured, **values}
    )


def made_up(window: int, length: int = 128, **meta) -> ThresholdResult:
    """Eight groups whose predicted value rises with the group, and with it the stationarity threshold; the
    path falls. All grow as √window.
    """
    size = math.sqrt(window)
    rows = [
        row(
            window,
            group,
            head,
            projection,
            predicted=size * (8 + group),
            stationarity=size * 2.0**group,
            path=size / (1 + group),
        )
        for group in range(8)
        for head in range(2)
        for projection in ("query", "key")
    ]
    config = threshold_runs(small())["window5"]
    config = replace(
        config, model=replace(config.model, length=length), partition=replace(config.partition, size=window)
    )
    path = {
        "eta": 0.2,
        "levels": [0.0, 1.0, 100.0],
        "share_zero": [[0.0], [0.5], [1.0]],
        "loss": [1.0, 1.0, 1.0],
    }
    path["entropy_bits"] = [[6.2, 1.0], [6.1, 1.0], [5.5, 1.0]]
    base = {"undefined": "", "rho": 0.5, "targets": 1000, "targets_at_zero": 100, "path": path}
    base |= {"settings": {}, "inputs_read": 0}
    return ThresholdResult(tuple(rows), config, ThresholdMeta.from_json({**base, **meta}))


def cells(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def test_the_table_says_what_was_put_in():
    text = describe([made_up(3), made_up(5), made_up(10)])
    found = cells(text)
    assert ["3", "0", "8", "3", "0.500", "−1.00", "1.00"] in [line[:7] for line in found]
    ranks = next(line for line in found if line[:3] == ["5", "0", "32"])
    assert ranks[3:] == ["1.00 [1.00, 1.00]", "−1.00 [−1.00, −1.00]", "−1.00 [−1.00, −1.00]"] * 2
    assert next(line for line in found if line[0] == "all")[1:3] == ["", "96"]
    # Both heads of a run have the same medians, which rise with the window.
    heads = next(line for line in found if line[:2] == ["all", "6"])
    assert heads[2:5] == ["1.00", "1.00", "1.00"]
    assert heads[5:] == ["–", "–", "–"]  # δ and noise are the same for all of them
    for name in ("predicted", "stationarity", "path"):
        slope = next(line for line in found if line[0] == name)[-2]
        assert slope.startswith("0.50 [")
    assert "no evidence for the law by itself" in text
    assert "the mark decides nothing here" in text
    assert "Not measured" not in text


def test_the_scatter_has_a_colour_a_window_size_and_every_row_of_every_seed():
    results = [
        replace(made_up(window), config=replace(made_up(window).config, seed=seed))
        for window in (3, 5, 10)
        for seed in range(3)
    ]
    figure = threshold_figure(results)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "windows of 3",
        "windows of 5",
        "windows of 10",
    ]
    for axes in figure.axes:
        assert sum(len(line.get_xdata()) for line in axes.lines) == 9 * len(results[0].rows)
        assert len({line.get_color() for line in axes.lines}) == 3


def test_six_bits_decide_where_attention_can_have_more_of_them():
    """At 256 tokens uniform attention has 6.58 bits. Predicted at most √5 · 15 = 33.5: the level 100 is above
    it, and alone under 6 bits.
    """
    result = made_up(5, length=256)
    assert uniform_bits(result) == pytest.approx(8 - 1.44 + math.log2(2 * math.pi * 256) / 512, abs=1e-2)
    text = describe([result])
    assert ["5", "0", "6.58", "6.20", "5.50", "3", "1", "1", "3 of 3"] in cells(text)
    assert "decides nothing" not in text
    assert "Not measured yet: window3, window10." in text


def test_groups_that_never_were_zero_have_the_highest_thresholds_of_the_path():
    """The two lowest of the predicted, which the path puts last: left out, the rest would be in perfect
    agreement.
    """
    result = made_up(5)
    rows = tuple(
        replace(one, path=None if one.group < 2 else float(one.group), path_lam=None) for one in result.rows
    )
    path = replace(result.meta.path, eta=9.0, share_zero=[[0.0, 0.0], [0.5, 1.0], [0.75, 1.0]])
    result = replace(result, rows=rows, meta=replace(result.meta, path=path))
    assert not result.path_ended
    ranks = [6.5, 6.5, 0, 1, 2, 3, 4, 5]  # ties at their mean
    assert correlate([result], "predicted", "path").value == pytest.approx(
        np.corrcoef(np.arange(8), ranks)[0, 1]
    )
    text = describe([result])
    assert (
        "8 groups were not 0 at the path's last level: medians and ranks count their path thresholds as above"
        " all others" in text
    )
    line = next(line for line in cells(text) if line[:3] == ["5", "0", "8"])
    assert line[10:12] == ["5.5 (2 to above 9)", "above 9"]
    # Where most were never 0, all that is known of the median is that it is above.
    most = replace(result, rows=tuple(replace(one, path=None if one.group < 6 else 1.0) for one in rows))
    line = next(line for line in cells(describe([most])) if line[:3] == ["5", "0", "8"])
    assert line[10] == "above 9 (1 to above 9)"


def test_what_is_missing_is_a_dash_and_never_a_number():
    """No prediction, one group that never was 0, one batch: no noise."""
    result = made_up(5, undefined="ρ_max is 0.999 or more", rho=None)
    rows = tuple(
        replace(one, predicted=None, noise=None, path=None if one.group == 7 else one.path)
        for one in result.rows
    )
    result = replace(result, rows=rows)
    assert correlate([result], "predicted", "path") is None
    assert show_correlation(None) == "–"
    assert correlate([result], "stationarity", "path").count == 32
    text = describe([result])
    assert "Windows of 5: no prediction, since ρ_max is 0.999 or more." in text
    assert "4 groups were not 0 at the path's last level" in text
    line = next(line for line in cells(text) if line[:3] == ["5", "0", "8"])
    assert (line[4], line[7], line[9]) == ("–", "–", "–")


def test_rows_come_back_from_their_files(tmp_path):
    result = made_up(5)
    result = replace(result, rows=(replace(result.rows[0], path=None, noise=None), *result.rows[1:]))
    write_threshold(result, tmp_path / "window5-seed0")
    assert read_threshold(tmp_path / "window5-seed0.json") == result
    assert (tmp_path / "window5-seed0.csv").read_text().count("\n") == 1 + len(result.rows)
    (tmp_path / "window9-seed0.json").write_text('{"format": "other"}')
    with pytest.raises(
        ValueError, match=r"window9-seed0\.json is no result of the threshold experiment .*Fix: "
    ):
        collect(tmp_path)
    with pytest.raises(ValueError, match=r"holds no result file"):
        collect(tmp_path / "nothing")


CONFIG = """
from tests.thresholds.measure_test import tiny
def get_config():
    return tiny({directory!r})
"""


def tiny(directory: str) -> Config:
    """Texts of 15 tokens in three windows of 5, one layer of width 12; 40 steps."""
    config = make_config(write_corpus(Path(directory)), accumulate=1)
    model = ModelConfig(length=15, d_model=12, n_heads=2, d_ff=16, n_layers=1)
    train = TrainConfig(
        steps=120, batch_size=8, learning_rate=1e-2, warmup_steps=4, eval_every=120, eval_batches=1
    )
    return replace(config, model=model, train=train, sweep=replace(config.sweep, batch_size=8))


@pytest.mark.medium  # training, sweep, gradients and path are six compilations
def test_the_whole_command_and_a_users_own_run(monkeypatch, tmp_path, capsys):
    """One run: trained, measured, described; then its checkpoint again, without the path, as `aila threshold`
    does it.
    """
    (tmp_path / "config.py").write_text(CONFIG.format(directory=str(tmp_path / "text")))
    folders = {
        "config": str(tmp_path / "config.py"),
        "out": str(tmp_path / "out"),
        "runs": str(tmp_path / "runs"),
    }
    values = flags.FlagValues()
    launcher.define_flags(values)
    asked = ["--only=window5", "--gradients=4", "--at_zero=2", "--steps=4", "--ratio=10"]
    values(["threshold", *(f"--{name}={value}" for name, value in folders.items()), *asked])
    monkeypatch.setattr(experiment, "FLAGS", values)
    launcher.measure_all(["threshold"])
    assert "Not measured yet: window3, window10." in capsys.readouterr().out
    found = read_threshold(tmp_path / "out" / "window5-seed0.json")
    assert len(found.rows) == 3 * 2 * 2
    assert found.config.train.steps == 40
    assert found.meta.path.share_zero[-1] == [1.0]
    for one in found.rows:
        expected = (
            2
            * math.sqrt(2 * 12)
            * one.sigma
            * math.sqrt(one.tokens)
            / (1 - found.meta.rho)
            * math.exp(-one.delta)
        )
        assert one.predicted == pytest.approx(expected, rel=1e-6)
        assert (one.tokens, one.stationarity, one.path_lam) == (
            5.0,
            one.gradient / one.importance,
            one.path / found.meta.path.eta,
        )
    assert (tmp_path / "out" / "threshold.png").stat().st_size > 10_000
    run = tmp_path / "runs" / "window5-seed0"
    sweep = runs.sweep(
        run,
        SweepOptions(lams=(0.0,), taus=(1.0,), split="train", delta=True),
        tmp_path / "sweep",
        quiet=True,
    )
    gaps = {head.head: head.delta_measured for head in sweep.heads}
    assert {one.head: one.delta for one in found.rows} == pytest.approx(gaps, rel=0.2)
    trained_model = load(run)
    dataset = runs.dataset_of(trained_model)
    colder = replace(trained_model.config, locality=replace(trained_model.config.locality, tau=0.5))
    once = ThresholdSettings(gradients=1, at_zero=1, path=None)
    predicted = [
        measure(replace(trained_model, config=one), dataset, once, quiet=True).rows
        for one in (trained_model.config, colder)
    ]
    for one, other in zip(*predicted, strict=True):  # λ(τ, δ) at the τ of training: 1/τ, and exp(−δ/τ)
        assert other.predicted == pytest.approx(one.predicted * 2.0 * math.exp(-one.delta), rel=1e-6)
    own = runs.threshold(run, ThresholdOptions(gradients=4, at_zero=2), tmp_path / "own", quiet=True)
    assert [one.gradient for one in own.rows] == pytest.approx([one.gradient for one in found.rows])
    assert {one.path for one in own.rows} == {None}
    assert {file.name for file in (tmp_path / "own").iterdir()} == {
        f"threshold.{kind}" for kind in ("csv", "json", "png", "svg")
    }
    assert (
        from_dict(
            Config, json.loads((tmp_path / "own" / "threshold.json").read_text())["config"]
        ).partition.size
        == 5
    )


def test_the_committed_table_is_that_of_the_committed_files(tmp_path):
    committed = Path(__file__).parents[2] / "docs" / "results" / "threshold"
    copy = Path(
        shutil.copytree(
            committed, tmp_path / "threshold", ignore=shutil.ignore_patterns("*.png", "*.svg", "table.md")
        )
    )
    assert collect(copy) == (committed / "table.md").read_text(encoding="utf-8")
