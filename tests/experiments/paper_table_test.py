"""The paper's table beside ours: what the runs share and differ in, the tables by hand, the command, and the
committed table with the page that shows it.
"""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from absl import flags

from aila_jax import runs
from aila_jax.config import Config
from aila_jax.evaluation.origin import SweepMeta
from aila_jax.evaluation.rows import SweepResult
from aila_jax.presets import small
from aila_jax.reporting import read_sweep
from experiments import launcher as experiment
from experiments.paper_table import __main__ as launcher
from experiments.paper_table.report import collect, longer_table, runs_of
from experiments.paper_table.runs import LAMS, paper_runs
from experiments.results import write_result
from tests.reporting.conftest import make_cell
from tests.support.tiny import Trained

COMMITTED = Path(__file__).parents[2] / "docs" / "results" / "paper_table"


def test_penalty_and_margin_come_alone_and_together_under_both_masks() -> None:
    made = paper_runs(small())
    kinds = {
        name: (config.penalty.solver != "none", config.model.margin.nats > 0, config.locality.mode)
        for name, config in made.items()
    }
    each = {
        "plain": (False, False, "fixed"),
        "penalty-0.6": (True, False, "fixed"),
        "penalty-0.8": (True, False, "fixed"),
        "penalty-1": (True, False, "fixed"),
        "margin": (False, True, "conditional"),
        "both": (True, True, "conditional"),
    }
    assert kinds == {f"{mask}-{kind}": value for mask in ("causal", "leaky") for kind, value in each.items()}
    for name, config in made.items():
        assert config.model.bidirectional == name.startswith("leaky")
        other = made[name.replace("leaky", "causal")]
        assert replace(config, model=replace(config.model, bidirectional=False)) == other
        assert (config.anchors.estimator, config.partition.size, config.sweep.split) == ("corpus", 5, "test")
        assert config.train.steps * config.train.batch_size * config.model.length == 1_638_400
        if config.locality.mode == "conditional":
            assert config.sweep.lams == LAMS
        else:
            assert config.sweep.lams == (config.locality.lam,)


def test_a_row_of_the_penalty_alone_has_a_model_for_each_lam() -> None:
    made = paper_runs(small())
    for lam, name in runs_of("leaky", "penalty"):
        assert (made[name].locality.lam, made[name].sweep.lams) == (lam, (lam,))
        assert (made[name].penalty.solver == "none") == (lam == 0.0)
    assert {name for _, name in runs_of("leaky", "both")} == {"leaky-both"}


def result(lams: tuple[float, ...], dead: int | None, seed: int = 0, **cell: float) -> SweepResult:
    rows = tuple(make_cell(lam, 1.0, **cell) for lam in lams)
    zero = {"groups": 26, "zero_query": 0.5, "zero_key": 0.25, "dead_heads": dead, "heads": 8}
    meta = SweepMeta.from_json({} if dead is None else {"sparsity": zero})
    return SweepResult(rows, (), replace(Config(), seed=seed), meta)


def test_the_tables_by_hand(tmp_path: Path) -> None:
    cell = {"perplexity_token": 50.0, "accuracy": 0.25, "entropy_bits": 4.5, "block_mass": 0.125}
    pointed = {"pointer_fidelity": 0.0625, "pointer_lift": 1.5}
    write_result(result((0.0,), None, **cell, **pointed), tmp_path, "causal-plain-seed0")
    write_result(result((0.6,), 3, **cell | {"entropy_bits": 5.0}), tmp_path, "causal-penalty-0.6-seed0")
    for seed, perplexity in ((0, 60.0), (1, 61.0)):
        both = result(LAMS, 2, seed, **cell | {"perplexity_token": perplexity})
        write_result(both, tmp_path, f"leaky-both-seed{seed}")
    lines = collect(tmp_path).splitlines()
    assert (tmp_path / "table.md").read_text(encoding="utf-8").splitlines() == lines
    alone, together = "| causal, penalty alone, trained at each λ |", "| leaky, both, one checkpoint |"
    assert [line for line in lines if line.startswith(alone)] == [
        f"{alone} 4.50 | 5.00 | – | – |",
        f"{alone} 50.00 | 50.00 | – | – |",
        f"{alone} 25.0 % | 25.0 % | – | – |",
        f"{alone} 0.062 | – | – | – |",
        f"{alone} 1.50 | – | – | – |",
        f"{alone} 0.125 | 0.125 | – | – |",
        f"{alone} – | 3.0 | – | – |",
    ]
    assert f"{together} {' | '.join(['60.50 ± 0.50'] * 4)} |" in lines
    assert "| paper | 7.18 | ≈ 7.1 | 6 to 7 | 5.36 |" in lines
    assert lines[-1].startswith("Not measured yet: causal-penalty-0.8, causal-penalty-1, causal-margin, ")
    with pytest.raises(ValueError, match=r"holds no result file NAME-seedS\.json"):
        collect(tmp_path / "nothing")


CONFIG = """
from tests.support.tiny import make_config, write_corpus
from pathlib import Path
def get_config():
    return make_config(write_corpus(Path({directory!r})))
"""


def test_the_command_trains_reads_and_collects(monkeypatch, tmp_path: Path, capsys, trained: Trained) -> None:
    """With a run that is trained already, which is read as its own configuration says."""
    asked = []
    monkeypatch.setattr(runs, "train", lambda config, workdir: asked.append((config, workdir)) or trained.run)
    monkeypatch.setattr(
        runs,
        "sweep",
        lambda workdir: result((1.0,), 8) if workdir == str(trained.run.workdir) else None,
    )
    (tmp_path / "config.py").write_text(CONFIG.format(directory=str(tmp_path / "text")))
    values = flags.FlagValues()
    experiment.define_flags("paper_table", values=values)
    folders = [f"--{name}={tmp_path / name}" for name in ("out", "runs")]
    values(
        ["paper_table", f"--config={tmp_path / 'config.py'}", *folders, "--only=leaky-penalty-1", "--seeds=3"]
    )
    monkeypatch.setattr(experiment, "FLAGS", values)
    launcher.main(["paper_table"])
    (config, workdir), *more = asked
    assert not more and workdir == tmp_path / "runs" / "leaky-penalty-1-seed3"
    assert (config.seed, config.locality.lam, config.model.bidirectional) == (3, 1.0, True)
    assert [cell.lam for cell in read_sweep(tmp_path / "out" / "leaky-penalty-1-seed3.json").cells] == [1.0]
    assert "| leaky, penalty alone, trained at each λ | – | – | – | 8.0 |" in capsys.readouterr().out


def test_the_committed_table_is_that_of_the_committed_files_and_its_page_shows_it(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(COMMITTED, tmp_path / "files", ignore=shutil.ignore_patterns("table.md")))
    table = collect(copy)
    assert table == (COMMITTED / "table.md").read_text(encoding="utf-8")
    assert table.strip() in (COMMITTED.parent / "paper.md").read_text(encoding="utf-8")
    for path in COMMITTED.glob("*.json"):
        stored = read_sweep(path)
        expected = paper_runs(small())[path.stem.rsplit("-seed", 1)[0]]
        assert (stored.config.model, stored.config.penalty) == (expected.model, expected.penalty)
        assert (stored.config.locality, stored.meta.checkpoint_step) == (expected.locality, 400)
        assert {cell.split for cell in stored.cells} == {"test"}
        assert all(cell.pointer_fidelity is not None for cell in stored.cells)


def test_the_page_has_the_longer_runs_of_the_other_experiments() -> None:
    """Four of its cells are those of the other experiments' own committed tables."""
    table = longer_table(COMMITTED.parent)
    assert table.strip() in (COMMITTED.parent / "paper.md").read_text(encoding="utf-8")
    first, leak = (
        (COMMITTED.parent / name / "table.md").read_text(encoding="utf-8") for name in ("first_dial", "leak")
    )
    assert "| conditional | 1 | 57.9 | 54.7 | 53.8 | 54.0 | 54.6 | 55.7 |" in first
    row = re.search(r"\| perplexity per token \| causal, one checkpoint \| (.*) \|", table)
    assert row is not None
    assert [f"{float(cell):.1f}" for cell in row[1].split(" | ")] == ["57.9", "54.0", "54.6", "55.7"]
    assert "| accuracy | leaky | 5 | 99.4 % | 99.4 % | 99.3 % | 99.1 % | 97.9 % | 94.2 % |" in leak
    assert "| accuracy | leaky, trained at λ = 0 | 99.4 % | 99.1 % | 97.9 % | 94.2 % |" in table
