"""The frontier: what its runs share and differ in, its controls, and its tables on results made by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aila_jax.config import MarginForm
from aila_jax.presets import as_measured, certified, certified_windows5
from experiments.frontier import report
from experiments.frontier.measure import (
    FrontierResult,
    Influence,
    Reading,
    Spread,
    read_result,
    write_result,
)
from experiments.frontier.runs import (
    CONTROLS,
    MAKERS,
    MEAN_N_IN,
    at_one,
    bound_runs,
    control_of,
    control_size,
    dial_runs,
    fixed_name,
    frontier_runs,
    lams_of,
    mean_of_windows,
    points,
)

BASE = as_measured(certified_windows5())


def test_the_preset_is_the_one_checkpoint_that_was_measured() -> None:
    """But for when it is evaluated and saved."""
    measured, saved = dial_runs(BASE)["5M-dial-cap"], ("eval_every", "checkpoint_every", "keep")
    train = replace(measured.train, **{name: getattr(BASE.train, name) for name in saved})
    assert replace(measured, sweep=BASE.sweep, train=train) == as_measured(certified())


def test_every_relation_of_the_study_has_a_run_and_a_control() -> None:
    made = frontier_runs(BASE)
    kinds = ("ends", "ends-h2", "ends-h4", "ends-h8", "anchors1", "anchors2", "random")
    wanted = {
        *(f"windows{size}{shift}" for size, by in ((5, 2), (10, 5), (16, 8), (30, 15)) for shift in ("", f"-shift{by}")),
        *(f"windows{size}-shift{size // 2}" for size in (20, 22, 24, 40)),
        *(f"{unit}{shift}" for unit in ("clause", "sentence") for shift in ("", "-shift1")),
        *(f"{blocks}-{kind}" for blocks in ("windows5", "sentence") for kind in kinds),
        "windows5-ends-shift2-sink",
        "sentence-ends-shift1-sink",
    }  # fmt: skip
    assert points().keys() == wanted
    assert wanted | {"plain"} <= made.keys()
    for name in wanted:
        assert control_of(BASE, name) in made
        config = made[name]
        assert (config.partition, config.relation) == (points()[name].partition, points()[name].relation)


def test_all_runs_of_the_frontier_differ_in_blocks_alone() -> None:
    made = frontier_runs(BASE)
    plain = made.pop("plain")
    assert plain.locality.lam == 0.0
    one = made["windows5"]
    for config in made.values():
        assert replace(config, partition=one.partition, relation=one.relation) == one
        assert lams_of(config) == (1.0,)
    assert replace(one, locality=plain.locality, sweep=plain.sweep) == plain
    assert one.train.steps * one.train.batch_size * one.model.length == 4_915_200
    assert one.model.margin.gate == 1.0


@pytest.mark.parametrize("name", points())
def test_a_control_has_nearly_the_same_mean_n_in(name: str) -> None:
    point = points()[name]
    target = MEAN_N_IN[name] if name in MEAN_N_IN else mean_of_windows(BASE, point)
    size = control_size(BASE, name, point)
    mean = np.mean([t % size + 1 for t in range(BASE.model.length)])
    assert size in CONTROLS
    assert mean == pytest.approx(target, rel=0.055)


def test_bounds_and_the_dial_change_what_bounds_scores() -> None:
    for name, config in {**bound_runs(BASE), **dial_runs(BASE)}.items():
        way = (config.model.score_cap > 0, config.model.qk_norm, config.model.margin.form)
        expected = {
            "qk-norm": (False, True, MarginForm.FIXED),
            "self-scaling": (False, False, MarginForm.SELF_SCALING),
        }
        kind = next((kind for kind in expected if name.endswith(kind)), None)
        assert way == (expected[kind] if kind else (True, False, MarginForm.FIXED)), name
    dial = dial_runs(BASE)
    assert dial["18M-dial-cap"].train.steps == 4500
    assert dial["5M-dial-cap"].locality == BASE.locality
    assert dial["5M-fixed-0.4"].locality.lam == 0.4
    assert {fixed_name("5M", lam) for lam in (0.0, 1.0)} <= frontier_runs(BASE).keys()
    assert {fixed_name("18M", lam) for lam in (0.0, 0.4, 1.0)} | {"5M-fixed-0.4"} <= dial.keys()
    local, cap = dial["5M-dial-windows20-shift10"], dial["5M-dial-cap"]
    assert (local.partition.size, local.relation.shift) == (20, 10)
    assert replace(local, partition=cap.partition, relation=cap.relation) == cap
    assert fixed_name("5M", 1.0, "5M-dial-windows20-shift10") == "windows20-shift10"
    assert fixed_name("18M", 1.0, "18M-dial-windows20-shift10") not in dial
    assert "5M-fixed-1" not in dial  # the relation's own run is that
    assert set(MAKERS) == {"relations", "bounds", "dial"}


def result(name: str, perplexity: float, seed: int = 0, lam: float = 1.0, **reading: float) -> FrontierResult:
    one = Reading(lam, True, perplexity, 0.3, 1.5, 0.6, 0.3, 0.1, 0.0, 1.0, 0.25, 0.1)
    one = replace(one, **reading)
    return FrontierResult(
        run=name,
        seed=seed,
        commit="abc",
        tokens=4_915_200,
        n_in=8.5,
        n_in_layers=(8.5, 8.5),
        reach=Spread(20.0, 10.0, 18.0, 30.0, 45),
        readings=(one, replace(one, gate=False, outside=0.01, perplexity=perplexity - 1.0, guaranteed=0.9)),
        influence=(
            Influence(1.0, "outside", 512, 9.0, 0.125, 0.01),
            Influence(1.0, "beyond", 512, 9.0, 0.0, 0.0),
        ),
        config=at_one(BASE, lam),
    )


def test_a_result_comes_back_from_its_file(tmp_path: Path) -> None:
    made = result("windows5", 60.0)
    write_result(made, tmp_path, "windows5-seed0")
    assert read_result(tmp_path / "windows5-seed0.json") == made
    (tmp_path / "windows5-seed0.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="is no result of the frontier experiment"):
        read_result(tmp_path / "windows5-seed0.json")


def test_the_tables_by_hand(tmp_path: Path) -> None:
    for seed, plain, own, control in ((0, 50.0, 55.0, 60.0), (1, 40.0, 46.0, 48.0)):
        plain_result = result("plain", plain, seed, lam=0.0, entropy_bits=4.0)
        plain_result = replace(plain_result, readings=(replace(plain_result.readings[0], lam=0.0),))
        write_result(plain_result, tmp_path, f"plain-seed{seed}")
        write_result(result("windows10-shift5", own, seed), tmp_path, f"windows10-shift5-seed{seed}")
        write_result(result("windows10", control, seed), tmp_path, f"windows10-seed{seed}")
    text = report.collect(tmp_path)
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| windows10")}
    # 55/50 = 1.1 and 46/40 = 1.15; 55/60 = .917 and 46/48 = .958
    (row,) = [line for line in text.splitlines() if line.startswith("| windows10-shift5 | 2 |")]
    assert "| 50.50 ± 4.50 | 1.125 ± 0.025 | windows10 | 0.938 ± 0.021 |" in row
    assert "| 20.0 ± 0.0 (45) | 1.50 ± 0.00 | 0.38 ± 0.00 |" in row
    assert "windows10" in lines
    (inside,) = [line for line in text.splitlines() if line.startswith("| windows10-shift5 | 60.0")]
    assert "| 30.0 ± 0.0 | 10.0 ± 0.0 | 0.250 ± 0.000 | 2.50 ± 0.00 |" in inside
    assert inside.endswith("| 0.1250 ± 0.0000 | 0 |")
    assert "Not measured yet: windows5, " in text
    assert (tmp_path / "frontier.png").is_file()


def test_regret_and_goals_by_hand(tmp_path: Path) -> None:
    for lam, perplexity in ((0.0, 50.0), (0.4, 50.0), (1.0, 52.0)):
        name = fixed_name("5M", lam)
        made = result(name, perplexity, lam=lam)
        made = replace(made, readings=(replace(made.readings[0], lam=lam),))
        write_result(made, tmp_path, f"{name}-seed0")
    dial = result("5M-dial-cap", 0.0)
    one = dial.readings[0]
    values = {0.0: (50.5, 4.0), 0.2: (50.2, 3.0), 0.4: (51.5, 2.5), 0.6: (52.0, 2.2), 0.8: (52.5, 2.0), 1.0: (52.4, 1.5)}  # fmt: skip
    readings = [replace(one, lam=lam, perplexity=p, entropy_bits=e) for lam, (p, e) in values.items()]
    write_result(replace(dial, readings=tuple(readings)), tmp_path, "5M-dial-cap-seed0")
    text = report.collect(tmp_path)
    assert "| dial-cap | 1.0 | 3.0 | 0.8 |" in text  # 50.5/50, 51.5/50, 52.4/52
    assert "| dial-cap: perplexity at λ = 1 ÷ plain training's | 1 | 1.048 | ≤ 1.05 | yes |" in text
    assert "| dial-cap: entropy at λ = 1 ÷ at λ = 0 | 1 | 0.375 | ≤ 0.4 | yes |" in text
    assert "| dial-cap: largest reach ÷ tokens of a window | 1 | 0.352 | ≤ 0.5 | yes |" in text
    assert "| dial-cap: regret at λ = 0.4 | 1 | 0.030 | ≤ 0.02 | no |" in text
    found = report.read_results(tmp_path)
    np.testing.assert_allclose(report.regret(found, "5M", "5M-dial-cap", 1.0), [52.4 / 52 - 1])
