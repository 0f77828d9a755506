"""What experiments share: result files by run, what they say of this machine, and means with their spread."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aila_jax.config import Config, DataConfig
from aila_jax.evaluation.origin import SweepMeta
from aila_jax.evaluation.rows import SweepResult
from aila_jax.reporting.results import portable, result_paths, with_spread
from aila_jax.reporting.tables import markdown
from experiments.results import cell_at, results_by_run, write_result
from tests.reporting.conftest import make_cell


def test_the_path_of_the_data_stays_on_this_machine() -> None:
    there = replace(Config(), data=DataConfig(corpus="wikitext2", data_dir="/my/disk"))
    assert portable(there) == replace(there, data=replace(there.data, data_dir="$WIKITEXT2"))
    assert portable(portable(there)) == portable(there)
    files = DataConfig(
        corpus="text", files=("/home/me/a.txt",), tokenizer="/home/me/model.gguf/tokenizer.json"
    )
    named = portable(replace(there, data=files)).data
    assert (named.files, named.tokenizer) == (("a.txt",), "model.gguf/tokenizer.json")
    assert portable(Config()) == Config()


def test_files_are_read_back_by_run_in_the_order_asked_for(tmp_path: Path) -> None:
    config = replace(Config(), data=DataConfig(corpus="wikitext2", data_dir="/my/disk"))
    for stem, lams in {
        "b-seed1": (0.6,),
        "b-seed0": (0.0, 0.6),
        "a-seed0": (0.6,),
        "c-seedling-seed2": (0.6,),
    }.items():
        cells = tuple(make_cell(lam, tau) for lam in lams for tau in (0.5, 1.0))
        write_result(SweepResult(cells, (), config, SweepMeta(more={"stem": stem})), tmp_path / "new", stem)
    (tmp_path / "new" / "other.json").write_text("{}")
    found = results_by_run(tmp_path / "new", ["b", "missing"])
    assert {name: [one.meta.more["stem"] for one in results] for name, results in found.items()} == {
        "b": ["b-seed0", "b-seed1"],
        "a": ["a-seed0"],
        "c-seedling": ["c-seedling-seed2"],
    }
    assert list(found) == ["b", "a", "c-seedling"]
    assert found["a"][0].config.data.data_dir == "$WIKITEXT2"
    assert (
        cell_at(found["b"][0], 0.6).lam,
        cell_at(found["b"][0], 0.6).tau,
        cell_at(found["b"][0], 0.0, 0.5).tau,
    ) == (0.6, 1.0, 0.5)
    with pytest.raises(
        ValueError,
        match=r"grid \(λ, τ\) is \[\(0\.6, 0\.5\), \(0\.6, 1\.0\)\]; it must be one with \(0\.2, 1\)\. Fix: ",
    ):
        cell_at(found["a"][0], 0.2)
    with pytest.raises(
        ValueError, match=r"holds no result file NAME-seedS\.json\. Fix: run the experiment first"
    ):
        result_paths(tmp_path)


def test_means_and_tables() -> None:
    assert with_spread(np.array([1.25]), 1) == "1.2"
    assert with_spread(np.array([1.0, 2.0, 4.0]), 2) == "2.33 ± 1.50"
    assert markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"
