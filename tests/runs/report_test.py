"""Tests of attention pictures and of the maps in reports."""

import re
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest

from aila_jax import runs
from aila_jax.config import PartitionConfig
from aila_jax.config.options import AttentionOptions, ReportOptions
from aila_jax.evaluation.origin import SweepMeta
from aila_jax.evaluation.rows import CellRow, SweepResult
from aila_jax.inference.language_model import load
from aila_jax.runs import _report as showing
from aila_jax.runs._attention import SAMPLE_LINES
from tests.support.untrained import untrained_model


def test_attention_pictures_of_a_checkpoint(trained, tmp_path):
    options = AttentionOptions(text="the cat", lam=(0.0, 1.0), tau=0.5, layers=(1,), heads=(0,))
    paths = runs.attention(trained.run.workdir, options, tmp_path / "maps")
    names = [f"attention_lam{lam}_tau0.5.{kind}" for lam in (0, 1) for kind in ("png", "svg")] + [
        "attention.html"
    ]
    assert [path.name for path in paths] == names
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert "Attention weights of run, step 24 over one text" in paths[-1].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text": "the old owl saw the baker in the garden ."}, "the model reads at most 16"),
        ({"lam": (0.0, 2.0)}, "lam is 2.0; it must be a number in [0, 1]"),
        ({"layers": (2,)}, "layers is (2,); it must be numbers from 0 to 1"),
    ],
)
def test_attention_that_cannot_be_drawn_leaves_nothing_behind(trained, tmp_path, changes, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        runs.attention(
            trained.run.workdir, AttentionOptions(**{"text": "the cat", **changes}), tmp_path / "maps"
        )
    assert not (tmp_path / "maps").exists()


def test_the_maps_of_a_report_are_the_models_over_a_whole_text_or_the_part_of_the_sample_that_fits(trained):
    maps = runs.dial_maps(trained.model)
    assert [one.lam for one in maps] == [index / 10 for index in range(11)]
    assert "".join(maps[0].tokens) == " ".join(SAMPLE_LINES)[: len("".join(maps[0].tokens))]
    assert len(maps[0].tokens) == 16
    own = runs.dial_maps(load(trained.run.workdir / "checkpoints" / "16"), "the cat", tau=2.0)
    assert ("".join(own[0].tokens), own[0].tau, own[0].source) == ("the cat", 2.0, "run, step 16")
    with pytest.raises(ValueError, match=r"text is '\d+ tokens'; it must be at most 16 for this model"):
        runs.dial_maps(trained.model, "the old owl " * 9)


def test_the_maps_of_a_report_are_read_as_its_rows_were():
    model = untrained_model()
    cell = CellRow(**{field.name: 0.0 for field in fields(CellRow)})
    scored = SweepResult((cell,), (), replace(model.config, partition=PartitionConfig(size=3)), SweepMeta())
    maps = runs.dial_maps(showing._as_scored(model, scored), "the cat saw the dog", hard=True)
    assert [one.lam for one in maps] == [1.0]
    np.testing.assert_allclose(maps[0].block_mass, 1.0, atol=1e-6)
    np.testing.assert_array_equal(maps[0].block_ids, np.arange(len(maps[0].tokens)) // 3)
    assert showing._as_scored(model, replace(scored, config=model.config)) is model


@pytest.mark.parametrize(
    ("checkpoint", "beside", "shown"),
    [("", True, True), ("", False, False), ("none", True, False), ("other", False, True)],
)
def test_a_report_shows_the_attention_of_the_checkpoint_it_is_given_or_lies_beside(
    tmp_path, monkeypatch, checkpoint, beside, shown
):
    asked = []
    folder = tmp_path / "run"
    (folder / "checkpoints" / "16" / "record" if beside else folder).mkdir(parents=True)
    sweep = SimpleNamespace(cells=[SimpleNamespace(run="scored", hard=True)])
    model = SimpleNamespace(
        run="other" if checkpoint else "scored", config=SimpleNamespace(model=SimpleNamespace(hard=False))
    )
    monkeypatch.setattr(showing, "read_sweep", lambda _: sweep)
    monkeypatch.setattr(showing, "nearest_tau", lambda _: 1.0)
    monkeypatch.setattr(showing, "draw_figures", lambda *_: [])
    monkeypatch.setattr(showing, "load", lambda path, **_: asked.append(path) or model)
    monkeypatch.setattr(showing, "_as_scored", lambda model, result: (model, result))
    monkeypatch.setattr(showing, "dial_maps", lambda *given: asked.append(given) or "MAPS")
    monkeypatch.setattr(showing, "write_report", lambda *_, maps, **__: maps)
    options = ReportOptions(checkpoint=checkpoint, text="the cat" if shown else "")
    found = runs.report(folder, options, tmp_path / "report.html")
    assert found == ("MAPS" if shown else None)
    # Rows of the same run say how it is read; another run is read as it was trained.
    read, hard = (model, False) if checkpoint else ((model, sweep), True)
    assert asked == ([checkpoint or folder, (read, "the cat", 1.0, hard)] if shown else [])
    if not shown:
        with pytest.raises(
            ValueError,
            match=(
                r"text is 'x'; it must be left out where there is no checkpoint. Fix: pass --checkpoint=RUN"
            ),
        ):
            runs.report(folder, replace(options, text="x"), tmp_path / "report.html")
