"""The ablations: what their runs share and differ in, partitions at equal n_in, the tables by hand, and the
whole command at tiny size.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from aila_jax import runs
from aila_jax.config import Config, PartitionConfig
from aila_jax.data.dataset import load_dataset
from aila_jax.evaluation.origin import SweepMeta
from aila_jax.evaluation.rows import SweepResult
from aila_jax.presets import small
from aila_jax.reporting import read_sweep
from experiments import launcher as experiment
from experiments.ablations import __main__ as launcher
from experiments.ablations.report import COLUMNS, ablation_table, collect
from experiments.ablations.runs import (
    ABLATIONS,
    MATCHED,
    UNMATCHED,
    matched_partitions,
    penalty_runs,
    windows_runs,
)
from experiments.results import write_result
from tests.reporting.conftest import make_cell, make_head
from tests.support.tiny import Trained, make_config, write_corpus

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "ablations"


def without(config: Config, *names: str) -> Config:
    """The configuration with these parts as they are by default, so that only the others can differ."""
    plain = Config()
    return replace(config, **{name: getattr(plain, name) for name in names})


def test_windows_differ_in_their_size_alone() -> None:
    made = windows_runs(small())
    assert {name: config.partition.size for name, config in made.items()} == {
        "windows3": 3,
        "windows5": 5,
        "windows10": 10,
    }
    assert len({without(config, "partition") for config in made.values()}) == 1
    config = made["windows5"]
    assert (config.locality.mode, config.locality.lam, config.model.film, config.model.dial_weights) == (
        "fixed",
        0.6,
        False,
        "none",
    )
    assert config.train.steps * config.train.batch_size * config.model.length == 1_638_400


def test_penalty_and_margin_come_alone_together_and_not_at_all() -> None:
    made = penalty_runs(small())
    switches = {
        name: (config.penalty.solver != "none", config.model.margin.nats > 0) for name, config in made.items()
    }
    assert switches == {
        "neither": (False, False),
        "penalty-alone": (True, False),
        "margin-alone": (False, True),
        "both": (True, True),
    }
    assert (
        len(
            {
                without(replace(config, model=replace(config.model, margin=Config().model.margin)), "penalty")
                for config in made.values()
            }
        )
        == 1
    )
    assert made["margin-alone"] == windows_runs(small())["windows5"]


@pytest.mark.medium
def test_partitions_are_compared_at_equal_n_in(tmp_path: Path) -> None:
    """On a corpus of its own: each family's n_in is nearest to windows(5)'s, or windows stand beside it at
    its own.
    """
    from aila_jax.partition.fit import fit_partition
    from aila_jax.partition.match import mean_n_in

    config = make_config(write_corpus(tmp_path))
    made = matched_partitions(config.data, 16, False)
    dataset = load_dataset(config.data)
    windows = dataset.windows("train", 16, False)

    def n_in(partition: PartitionConfig) -> float:
        return mean_n_in(fit_partition(partition, dataset.tokenizer, dataset.splits["train"]), windows)

    # Sixteen tokens in windows of 5: three whole ones, (1 + … + 5)/5 = 3 keys a query, and one of 1 key.
    assert n_in(made["windows5"]) == pytest.approx((15 * 3 + 1) / 16, rel=0.01)
    sizes = [n_in(PartitionConfig(size=size)) for size in range(1, 17)]
    for name in MATCHED:
        assert abs(n_in(made[name]) - n_in(made["windows5"])) < 1.0
    for name in UNMATCHED:
        nearest = 1 + int(np.argmin([abs(size - n_in(made[name])) for size in sizes]))
        assert made[f"windows{nearest}"] == PartitionConfig(size=nearest)


MASSES = ((0, 0, 0.9), (0, 1, 0.5), (1, 0, 0.6), (1, 1, 0.7))  # of layers' heads; the first is dead


def result(seed: int, sparsity: dict | None = None, **cell) -> SweepResult:
    row = make_cell(0.6, 1.0, **cell)
    meta = {"n_in": 2.97, "score_bounds": [[0.0, 4.0], [5.0, 6.0]]} | (
        {} if sparsity is None else {"sparsity": sparsity}
    )
    heads = tuple(replace(make_head(row, layer, head), block_mass=mass) for layer, head, mass in MASSES)
    return SweepResult((row,), heads, replace(Config(), seed=seed), SweepMeta.from_json(meta))


def test_the_tables_by_hand(tmp_path: Path) -> None:
    quality = {
        "perplexity_token": 50.0,
        "accuracy": 0.25,
        "entropy_bits": 1.5,
        "block_mass": 0.875,
        "block_mass_uniform": 0.125,
    }
    two = [result(0, **quality), result(2, **quality | {"perplexity_token": 51.0, "accuracy": 0.26})]
    assert (
        ablation_table({"windows5": two}, COLUMNS["windows"]).splitlines()[2]
        == "| windows5 | 0, 2 | 2.97 ± 0.00 | 50.5 ± 0.5 | 25.50 ± 0.50 % | 1.50 ± 0.00 | 0.875 ± 0.000 |"
        " 0.125 ± 0.000 |"
    )
    zero = {"groups": 26, "zero_query": 0.5, "zero_key": 0.25, "dead_heads": 1, "heads": 4}
    rows = {
        "both": [result(0, zero, **quality, delta_measured=-1.5)],
        "margin-alone": [result(0, **quality, delta_measured=2.0)],
    }
    assert ablation_table(rows, COLUMNS["penalty"]).splitlines()[2:] == [
        "| both | 0 | 50.0 | 25.00 % | 1.50 | 0.875 | 50 % | 25 % | 1.0 | 5.0 | 0.600 | −1.50 |",
        "| margin-alone | 0 | 50.0 | 25.00 % | 1.50 | 0.875 | – | – | – | 5.0 | 0.600 | 2.00 |",
    ]
    for name, n_in in {"windows10": 5.2, "windows5": 2.97, "classes-pos": 2.9, "windows3": 2.0}.items():
        for one in two:
            write_result(
                replace(one, meta=replace(one.meta, more={**one.meta.more, "n_in": n_in})),
                tmp_path,
                f"{name}-seed{one.config.seed}",
            )
    table = collect("windows", tmp_path)
    assert [line.split(" | ")[0] for line in table.splitlines()[2:]] == [
        "| windows3",
        "| classes-pos",
        "| windows5",
        "| windows10",
    ]
    assert (tmp_path / "table.md").read_text() == table
    assert [line.split(" | ")[0] for line in collect("penalty", tmp_path).splitlines()[2:3]] == [
        "| classes-pos"
    ]  # not sorted by n_in
    assert (tmp_path / "ablation.png").stat().st_size > 10_000


def test_there_is_no_table_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"holds no result file NAME-seedS\.json\. Fix: run the experiment first"
    ):
        collect("penalty", tmp_path)


CONFIG = """
from tests.support.tiny import make_config, write_corpus
from pathlib import Path
def get_config():
    return make_config(write_corpus(Path({directory!r})))
"""


def run_command(monkeypatch, tmp_path: Path, *options: str) -> None:
    """`python -m experiments.ablations` with these flags, in a table of their own."""
    (tmp_path / "config.py").write_text(CONFIG.format(directory=str(tmp_path / "text")))
    values = flags.FlagValues()
    launcher.define_flags(values)
    values(
        [
            "ablations",
            f"--config={tmp_path / 'config.py'}",
            f"--out={tmp_path / 'out'}",
            f"--runs={tmp_path / 'runs'}",
            *options,
        ]
    )
    monkeypatch.setattr(experiment, "FLAGS", values)
    launcher.main(["ablations"])


def test_the_command_trains_measures_and_collects(
    monkeypatch, tmp_path: Path, capsys, trained: Trained
) -> None:
    """With a run that is trained already, at λ from 0 to 1: it is read at the `lam` of its configuration,
    0.
    """
    asked = []
    monkeypatch.setattr(runs, "train", lambda config, workdir: asked.append((config, workdir)) or trained.run)
    run_command(monkeypatch, tmp_path, "--which=windows", "--only=windows5", "--seeds=3", "--steps=6")
    (config, workdir), *more = asked
    assert not more and workdir == tmp_path / "runs" / "windows" / "windows5-seed3"
    assert (config.seed, config.train.steps, config.partition.size) == (3, 6, 5)
    made = read_sweep(tmp_path / "out" / "windows" / "windows5-seed3.json")
    assert [(cell.lam, cell.tau) for cell in made.cells] == [(0.0, 1.0)]
    assert made.cells[0].delta_measured is not None
    assert made.meta.more["n_in"] == pytest.approx((15 * 3 + 1) / 16, rel=0.01)
    assert np.shape(made.meta.more["score_bounds"]) == (2, 2)
    assert "| windows5 | 0 | 2.8" in capsys.readouterr().out


@pytest.mark.medium  # trains and compiles a run of its own
def test_the_whole_command(monkeypatch, tmp_path: Path) -> None:
    run_command(monkeypatch, tmp_path, "--which=penalty", "--only=both", "--seeds=1", "--steps=6")
    made = read_sweep(tmp_path / "out" / "penalty" / "both-seed1.json")
    assert (made.cells[0].lam, made.cells[0].tau, made.cells[0].seed, made.meta.checkpoint_step) == (
        0.6,
        1.0,
        1,
        6,
    )
    assert made.meta.sparsity is not None
    assert "| both | 1 | " in (tmp_path / "out" / "penalty" / "table.md").read_text()


@pytest.mark.parametrize("which", [which for which in ABLATIONS if (RESULTS / which).is_dir()])
def test_the_committed_tables_are_those_of_the_committed_files(tmp_path: Path, which: str) -> None:
    copy = Path(
        shutil.copytree(
            RESULTS / which, tmp_path / which, ignore=shutil.ignore_patterns("*.png", "*.svg", "table.md")
        )
    )
    assert collect(which, copy) == (RESULTS / which / "table.md").read_text(encoding="utf-8")
    for path in copy.glob("*.json"):
        one = read_sweep(path)
        assert one.config.data.data_dir == "$WIKITEXT2"
        assert np.isfinite(one.cells[0].perplexity_token)


def test_the_documentation_says_what_the_listings_of_blocks_do():
    docs = Path(__file__).parents[2] / "docs"
    text = (docs / "ablations.md").read_text(encoding="utf-8")
    files = sorted((docs / "results" / "blocks").glob("*/blocks.json"))
    assert len(files) == 6
    for path in files:
        found = json.loads(path.read_text(encoding="utf-8"))
        sizes, rho, name = found["statistics"], found["correlation"], path.parent.name
        assert (
            found["meta"]["config"]["data"]["data_dir"] == "$WIKITEXT2"
            and "-dirty" not in found["meta"]["commit"]
        )
        blocks = (
            f"{sizes['n_in']:.2f} | {sizes['blocks']:.1f} | {sizes['size_mean']:.2f} |"
            f" {sizes['size_largest']}"
        )
        row = f"| {blocks} | {rho['within']:.2f} | {rho['rho_mean']:.2f} | {rho['rho_max']:.2f} |"
        assert f"| [{name}](results/blocks/{name}/listing.txt) {row}" in text
