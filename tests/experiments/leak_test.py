"""The leak experiment: its law by hand, its runs, what it measures against NumPy, and the whole command at
tiny size.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from aila_jax import runs
from aila_jax.config import ModelConfig, SweepConfig, TrainConfig
from aila_jax.data.packing import pack
from aila_jax.presets import small
from experiments import launcher as experiment
from experiments.leak import __main__ as launcher
from experiments.leak.report import collect, copy_law
from experiments.leak.runs import WINDOWS, LeakRow, leak_runs, measure, read_rows, write_rows
from tests.support.tiny import make_config, write_corpus


@pytest.mark.parametrize(("length", "window", "p", "accuracy"), [
    (10, 5, 0.235, 0.847),  # (w − 1)/w + p/w: the paper's 84.7 % is p = 23.5 % at windows of 5
    (9, 3, 0.235, 0.745),
    (30, 10, 0.235, 0.9235),
    (128, 5, 0.235, 1 - 26 / 128 * 0.765),  # the cut window ends too
    (128, 1, 0.3, 0.3),  # every position is the last of its window
    (10, 5, 1.0, 1.0),
])  # fmt: skip
def test_the_law_by_hand(length, window, p, accuracy) -> None:
    found = copy_law(length, window, p, perplexity_last=32.0)
    assert found.accuracy == pytest.approx(accuracy, abs=1e-12)
    assert np.log(found.perplexity) == pytest.approx(found.share * np.log(32.0))


def test_the_papers_perplexity_needs_worse_than_a_uniform_guess() -> None:
    """4.65 at windows of 5 and a whole number of windows: 4.65⁵ = 2,174 at the last positions."""
    assert copy_law(10, 5, 0.235, perplexity_last=2174.0).perplexity == pytest.approx(4.65, abs=1e-3)


def test_leaky_and_causal_runs_differ_in_the_mask_alone() -> None:
    found = leak_runs(small())
    assert list(found) == [
        f"{mask}{kind}" for mask in ("leaky", "causal") for kind in ("", "-window3", "-window5", "-window10")
    ]
    for name, config in found.items():
        assert config.model.bidirectional == name.startswith("leaky")
        other = found[name.replace("leaky", "causal")]
        assert replace(config, model=replace(config.model, bidirectional=False)) == other
        size = int(name.partition("-window")[2] or 0)
        assert (config.model.hard, config.locality.lam, config.train.steps) == (
            (True, 1.0, 600) if size else (False, 0.0, 1200)
        )
        assert config.partition.size == (size or 5)
        assert (config.locality.mode, config.model.film) == ("fixed", False)


def test_a_row_is_what_numpy_makes_of_the_logits(trained) -> None:
    """Windows of 5 in texts of 16: the positions 4, 9, 14 and 15 end a window; the end of the split ends one
    too.
    """
    config = replace(trained.config, sweep=replace(trained.config.sweep, lams=(0.5,)))
    model = replace(trained.model, config=config)
    rows = measure(model, trained.dataset, quiet=True)
    assert [row.window for row in rows] == list(WINDOWS)
    stream = trained.dataset.splits["validation"]
    batch = pack(stream, 16, False).batch
    logits = np.asarray(
        model.with_window(5).apply(batch.tokens, lam=0.5, doc_ids=batch.doc_ids).logits, np.float64
    )
    hit = logits.argmax(-1) == batch.targets
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    loss = -np.take_along_axis(log_p, batch.targets[..., None], -1)[..., 0]
    scored = batch.weights > 0
    ends = np.isin(np.arange(16), [4, 9, 14, 15])[None] | np.concatenate(
        [scored[:, :-1] & ~scored[:, 1:], scored[:, -1:]], axis=1
    )
    row = rows[1]
    assert (row.targets, row.targets_last) == (len(stream.tokens) - 1, (ends & scored).sum())
    assert row.accuracy == pytest.approx(hit[scored].mean())
    assert row.accuracy_last == pytest.approx(hit[ends & scored].mean())
    assert row.accuracy_others == pytest.approx(hit[~ends & scored].mean())
    assert row.perplexity_last == pytest.approx(np.exp(loss[ends & scored].mean()), rel=1e-4)
    assert row.perplexity_others == pytest.approx(np.exp(loss[~ends & scored].mean()), rel=1e-4)
    place = np.broadcast_to(np.arange(16) % 5, scored.shape)
    assert row.accuracy_by_place == pytest.approx([hit[scored & (place == k)].mean() for k in range(5)])
    cell = runs.evaluate(str(trained.run.workdir), lam=0.5, window=5, quiet=True)
    for name in ("accuracy", "entropy_bits", "block_mass"):
        assert getattr(row, name) == pytest.approx(getattr(cell, name), rel=1e-5)
    assert len({row.block_mass for row in rows}) == 3


def test_rows_come_back_from_their_file(trained, tmp_path) -> None:
    row = LeakRow(
        "r",
        0,
        "c",
        "validation",
        True,
        False,
        3,
        16,
        24,
        0.2,
        9,
        3.5,
        0.5,
        1.0,
        0.75,
        0,
        None,
        None,
        3.5,
        0.5,
        (0.1, None, 0.3),
    )
    write_rows([row], trained.model, trained.dataset, tmp_path / "leaky-seed0")
    assert read_rows(tmp_path / "leaky-seed0.json") == [row]
    document = json.loads((tmp_path / "leaky-seed0.json").read_text())
    assert document["meta"]["checkpoint_step"] == 24
    assert (tmp_path / "leaky-seed0.csv").read_text().count("\n") == 2
    (tmp_path / "leaky-seed1.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match=r"leaky-seed1\.json is no result of the leak experiment .*Fix: "):
        collect(tmp_path)
    with pytest.raises(ValueError, match=r"holds no result file NAME-seedS\.json"):
        collect(tmp_path / "nothing")


def row(leaky: bool, hard: bool, window: int, lam: float, **values) -> LeakRow:
    shared = dict(  # noqa: C408
        run="r",
        seed=0,
        commit="c",
        split="validation",
        length=10,
        steps=1,
        targets=100,
        block_mass=1.0,
        targets_last=20,
    )
    scores = {
        "perplexity": 2.0,
        "accuracy": 0.8,
        "entropy_bits": 1.0,
        "perplexity_last": 32.0,
        "accuracy_last": 0.25,
    }
    scores |= {"perplexity_others": 1.0, "accuracy_others": 1.0, "accuracy_by_place": (1.0,) * window}
    return LeakRow(leaky=leaky, hard=hard, window=window, lam=lam, **{**shared, **scores, **values})


def test_the_table_sets_the_measured_beside_the_law_and_the_paper(trained, tmp_path) -> None:
    """p = 25 % at the last positions, a fifth of all: the law says 1 − .2 · .75 = 85 %, and 32^.2 = 2 for the
    perplexity.
    """
    files = {
        "causal-window5": [row(False, True, 5, 1.0)],
        "leaky-window5": [row(True, True, 5, 1.0, accuracy=0.842, accuracy_last=0.21)],
        "leaky": [
            row(True, False, window, lam, accuracy=0.99 - 0.1 * lam)
            for window in WINDOWS
            for lam in (0.0, 0.6, 1.0)
        ],
    }
    for name, rows in files.items():
        write_rows(rows, trained.model, trained.dataset, tmp_path / f"{name}-seed0")
    table = collect(tmp_path)
    assert table == (tmp_path / "table.md").read_text()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    five = next(line for line in cells if line[0] == "5")
    assert five[:8] == ["5", "20.0 %", "25.0 %", "85.0 %", "84.2 %", "−0.8", "21.0 %", "100.0 %"]
    assert five[9:11] == ["2.00", "2.00"]
    assert next(line for line in cells if line[0] == "3")[:5] == ["3", "–", "–", "–", "–"]
    assert ["accuracy", "leaky", "5", "99.0 %", "93.0 %", "89.0 %", "85.0 %"] in cells
    assert ["accuracy", "causal", "5", "–", "–", "–", ""] in cells
    assert ["accuracy", "paper", "5", "", "84.7 %", "", ""] in cells
    assert "--only=leaky-window3,leaky-window10,causal,causal-window3,causal-window10` continues" in table
    assert (tmp_path / "leak.png").stat().st_size > 10_000


CONFIG = """
from tests.experiments.leak_test import tiny
def get_config():
    return tiny({directory!r})
"""


def tiny(directory: str):
    """Texts of 10 tokens, one layer of width 32; 300 steps of plain training, 150 of hard windows."""
    config = make_config(write_corpus(Path(directory)))
    model = ModelConfig(length=10, d_model=32, n_heads=2, d_ff=32, n_layers=1)
    train = TrainConfig(steps=300, learning_rate=1e-2, warmup_steps=4, eval_batches=1)
    return replace(config, model=model, train=train, sweep=SweepConfig(lams=(0.0, 1.0), batch_size=16))


def run_command(monkeypatch, tmp_path: Path, *options: str) -> None:
    """`python -m experiments.leak` with these flags, in a table of their own."""
    (tmp_path / "config.py").write_text(CONFIG.format(directory=str(tmp_path / "text")))
    values = flags.FlagValues()
    experiment.define_flags("leak", values=values)
    values(
        [
            "leak",
            f"--config={tmp_path / 'config.py'}",
            f"--out={tmp_path / 'out'}",
            f"--runs={tmp_path / 'runs'}",
            *options,
        ]
    )
    monkeypatch.setattr(experiment, "FLAGS", values)
    launcher.main(["leak"])


@pytest.mark.medium
def test_the_whole_command(monkeypatch, tmp_path, capsys) -> None:
    """Windows of 5 in both masks: the leaky one copies what it sees, the causal one does not; then the rest
    is named as missing.
    """
    run_command(monkeypatch, tmp_path, "--only=leaky-window5,causal-window5")
    said = capsys.readouterr().out
    assert "WARNING: model.bidirectional is set" in said
    assert (
        "Not measured yet: leaky, leaky-window3, leaky-window10, causal, causal-window3, causal-window10."
        in said
    )
    leaky, causal = (
        read_rows(tmp_path / "out" / f"{mask}-window5-seed0.json")[0] for mask in ("leaky", "causal")
    )
    assert leaky.hard and leaky.lam == 1.0 and leaky.steps == 150
    assert leaky.block_mass == pytest.approx(1.0)
    assert leaky.accuracy_others > 0.95 > 0.85 > max(leaky.accuracy_last, causal.accuracy_others)
    before = (tmp_path / "out" / "leak.png").read_bytes()
    run_command(monkeypatch, tmp_path, "--collect")
    assert (tmp_path / "out" / "leak.png").read_bytes() == before


@pytest.mark.medium  # eight runs, each compiled on its own
def test_the_whole_command_with_every_run(monkeypatch, tmp_path) -> None:
    run_command(monkeypatch, tmp_path)
    table = (tmp_path / "out" / "table.md").read_text()
    assert "–" not in table and "Not measured" not in table


def test_a_misspelt_run_is_refused_before_anything_runs(monkeypatch, tmp_path) -> None:
    with pytest.raises(
        ValueError,
        match=(
            r"--only is 'leaky-window4'; it must be one of leaky, .*did you mean"
            r" 'leaky-window5'|'leaky-window"
        ),
    ):
        run_command(monkeypatch, tmp_path, "--only=leaky-window4")
    assert not (tmp_path / "runs").exists()


def test_the_committed_table_is_that_of_the_committed_files(tmp_path):
    committed = Path(__file__).parents[2] / "docs" / "results" / "leak"
    copy = Path(
        shutil.copytree(
            committed, tmp_path / "leak", ignore=shutil.ignore_patterns("*.png", "*.svg", "table.md")
        )
    )
    assert collect(copy) == (committed / "table.md").read_text(encoding="utf-8")
