"""Tests of attention pictures and of what the page reads with a model."""

import json
import re
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.config import Config, DataConfig, PartitionConfig
from aila_jax.config.options import AttentionOptions, ReportOptions, SweepOptions
from aila_jax.evaluation.origin import SweepMeta
from aila_jax.evaluation.rows import CellRow, SweepResult
from aila_jax.loading.models import load
from aila_jax.reporting import html, read_sweep
from aila_jax.runs import _report as showing
from aila_jax.runs._reading import (
    LAMS,
    SAMPLE_LINES,
    FromModel,
    PageGrid,
    read_as_scored,
    read_page_text,
    sample_sentence,
    write_sample_texts,
)
from tests.support.parsed import Page
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


GRID = PageGrid(LAMS, (1.0,), 1.0, hard=False)


def test_the_sample_has_its_marks_as_the_corpus_has_them():
    def sentence(**data):
        config = Config(data=DataConfig(**data))
        return sample_sentence(SimpleNamespace(config=config))

    assert sentence().endswith("of each list, or None if the list has no items. The old list is not changed.")
    for spaced in ({"corpus": "wikitext2"}, {"tokenizer": "word"}):
        assert sentence(**spaced).endswith(
            "of each list , or None if the list has no items . The old list is not changed ."
        )


def test_the_text_of_a_page_is_read_whole_or_the_part_of_the_sample_that_fits(trained):
    reading = read_page_text(trained.model, ReportOptions(), GRID).reading
    assert reading.lams == tuple(index / 10 for index in range(11))
    assert "".join(reading.tokens) == " ".join(SAMPLE_LINES)[: len("".join(reading.tokens))]
    assert len(reading.tokens) == 16
    own = load(trained.run.workdir / "checkpoints" / "16")
    reading = read_page_text(own, ReportOptions(text="the cat"), replace(GRID, taus=(2.0,))).reading
    assert ("".join(reading.tokens), reading.taus, reading.source) == ("the cat", (2.0,), "run, step 16")
    with pytest.raises(ValueError, match=r"text is '\d+ tokens'; it must be at most 16 for this model"):
        read_page_text(trained.model, ReportOptions(text="the old owl " * 9), GRID)


def test_a_page_keeps_the_heads_that_are_asked_for_and_says_what_it_leaves_out(trained, tmp_path):
    reading = read_page_text(trained.model, ReportOptions(layers=(1,), heads=(0,)), GRID).reading
    assert (reading.layers, reading.heads, reading.shape) == ((1,), (0,), (2, 2))
    page = aila.report(trained.model, tmp_path / "page.html", layers=[1], heads=[0], sample_tokens=0)
    left_out = "for layers 1 and heads 0 (the model's other maps, of its 2 layers of 2 heads, are left out)"
    assert left_out in Page(page.read_text(encoding="utf-8")).text
    with pytest.raises(ValueError, match=re.escape("heads is (2,); it must be numbers from 0 to 1")):
        aila.report(trained.model, tmp_path / "other.html", heads=[2])
    with pytest.raises(
        ValueError, match=re.escape("layers is [-1]; it must be whole numbers, counted from 0")
    ):
        aila.report(trained.model, tmp_path / "other.html", layers=[-1])
    assert not (tmp_path / "other.html").exists()


def test_where_not_all_fits_fewer_heads_then_one_tau_are_shown_and_it_is_said(trained):
    grid = PageGrid((0.0, 1.0), (1.0, 2.0), 2.0, hard=False, room=1600)
    found = read_page_text(trained.model, ReportOptions(), grid)  # 136 bytes a map, 1200 for all
    assert (found.reading.layers, found.reading.heads, found.reading.taus) == ((0, 1), (0,), (1.0, 2.0))
    assert found.missing == ()
    found = read_page_text(trained.model, ReportOptions(), replace(grid, room=600))
    assert (found.reading.layers, found.reading.heads, found.reading.taus) == ((0,), (0,), (2.0,))
    assert "are shown at τ = 2 alone" in found.missing[0]


def test_a_text_is_read_as_the_rows_were():
    model = untrained_model()
    cell = CellRow(**{field.name: 0.0 for field in fields(CellRow)})
    scored = SweepResult((cell,), (), replace(model.config, partition=PartitionConfig(size=3)), SweepMeta())
    options, grid = ReportOptions(text="the cat saw the dog"), PageGrid((1.0,), (1.0,), 1.0, hard=True)
    reading = read_page_text(read_as_scored(model, scored), options, grid).reading
    np.testing.assert_allclose(reading.block_mass, 1.0, atol=1e-6)
    blocks = np.arange(len(reading.tokens)) // 3
    np.testing.assert_array_equal(reading.inside, np.tril(blocks[:, None] == blocks))
    assert read_as_scored(model, replace(scored, config=model.config)) is model
    assert read_as_scored(model, replace(scored, recorded=False)) is model


def test_sample_texts_are_the_models_at_every_setting_and_named_where_there_are_none():
    model = untrained_model()
    grid = PageGrid((0.0, 1.0), (0.5, 1.0), 1.0, hard=False)
    samples = write_sample_texts(model, ReportOptions(prompt="the cat", sample_tokens=3), grid).samples
    assert [(one["lam"], one["tau"]) for one in samples] == [(0.0, 0.5), (0.0, 1.0), (1.0, 0.5), (1.0, 1.0)]
    assert samples[2]["text"] == model.generate("the cat", lam=1.0, tau=0.5, max_tokens=3)
    assert write_sample_texts(model, ReportOptions(sample_tokens=0), grid) == FromModel()
    leaky = replace(model.config, model=replace(model.config.model, bidirectional=True))
    for changed, asked in (
        (replace(model, config=leaky), grid),
        (model, replace(grid, hard=True)),
        (replace(model, config=replace(model.config, partition=PartitionConfig(kind="given")),
                 meta={"data": {"given": "fields"}}), grid),
    ):  # fmt: skip
        found = write_sample_texts(changed, ReportOptions(), asked)
        assert found.samples == ()
        assert found.missing[0].startswith("No sample text: ")


def test_python_writes_the_commands_page(trained, tmp_path, monkeypatch):
    """`aila.report(PATH)` had no attention."""
    picture = {"light": "data:,", "dark": "data:,", "width": 1}  # figures take most of the time
    monkeypatch.setattr(html, "figure_sources", lambda _: picture)
    monkeypatch.setattr(showing, "draw_figures", lambda *given: (given[2] / "dial.png").touch())
    options = SweepOptions(lams=(0.0, 1.0), taus=(1.0,), max_batches=1)
    runs.sweep(trained.run.workdir, options, tmp_path / "swept", quiet=True)
    page = ReportOptions(checkpoint=str(trained.run.workdir), sample_tokens=2, text="the cat")
    by_command = runs.report(tmp_path / "swept", page, tmp_path / "command.html")
    by_python = aila.report(
        tmp_path / "swept", tmp_path / "python.html", checkpoint=trained.run.workdir, sample_tokens=2, text="the cat"
    )  # fmt: skip
    assert by_python.read_bytes() == by_command.read_bytes()
    assert (tmp_path / "dial.png").exists()
    rows = read_sweep(tmp_path / "swept")
    by_rows = aila.report(
        rows, tmp_path / "rows.html", checkpoint=trained.model, sample_tokens=2, text="the cat"
    )
    assert by_rows.read_bytes() == by_command.read_bytes()
    data = json.loads(Page(by_command.read_text(encoding="utf-8")).scripts[0])
    reading = data["runs"][0]["reading"]
    assert (reading["lams"], reading["taus"], "".join(reading["tokens"])) == ([0.0, 1.0], [1.0], "the cat")
    assert len(data["runs"][0]["samples"]) == 2
    both = aila.report([tmp_path / "swept", trained.model], tmp_path / "both.html", sample_tokens=0)
    data = json.loads(Page(both.read_text(encoding="utf-8")).scripts[0])
    assert [run["reading"] is None for run in data["runs"]] == [True, False]
    beside = ReportOptions(beside=str(tmp_path / "swept"), sample_tokens=0)
    side = runs.report(tmp_path / "swept", beside, tmp_path / "new" / "side.html").read_text(encoding="utf-8")
    assert "run (1) and run (2)" in side
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["side.html"]  # figures are of one sweep
    assert "need the model: there is no checkpoint beside this sweep." in side


@pytest.mark.parametrize(
    ("checkpoint", "beside", "shown"),
    [("", True, True), ("", False, False), ("none", True, False), ("other", False, True)],
)
def test_a_report_reads_with_the_checkpoint_it_is_given_or_lies_beside(
    tmp_path, monkeypatch, checkpoint, beside, shown
):
    asked = []
    folder = tmp_path / "run"
    (folder / "checkpoints" / "16" / "record" if beside else folder).mkdir(parents=True)
    cell = SimpleNamespace(run="scored", hard=True, lam=0.5, tau=1.0)
    sweep = SimpleNamespace(cells=[cell])
    model = SimpleNamespace(
        run="other" if checkpoint else "scored", config=SimpleNamespace(model=SimpleNamespace(hard=False))
    )
    monkeypatch.setattr(showing, "read_sweep", lambda _: sweep)
    monkeypatch.setattr(showing, "nearest_tau", lambda _: 1.0)
    monkeypatch.setattr(showing, "draw_figures", lambda *_: [])
    monkeypatch.setattr(showing, "load", lambda path, **_: asked.append(path) or model)
    monkeypatch.setattr(showing, "read_as_scored", lambda model, result: (model, result))
    monkeypatch.setattr(showing, "read_page_text", lambda *given: asked.append(given) or FromModel("READ"))
    monkeypatch.setattr(showing, "write_sample_texts", lambda *_: FromModel())
    monkeypatch.setattr(showing, "write_page", lambda found, _: found[0])
    options = ReportOptions(checkpoint=checkpoint, text="the cat" if shown else "")
    found = runs.report(folder, options, tmp_path / "report.html")
    assert found.reading == ("READ" if shown else None)
    assert bool(found.missing) is not shown
    # Rows of the same run say how it is read; another run is read as it was trained.
    read = (
        (model, PageGrid((0.5,), (1.0,), 1.0, False))
        if checkpoint
        else ((model, sweep), PageGrid((1.0,), (1.0,), 1.0, True))
    )
    assert asked == ([checkpoint or folder, (read[0], options, read[1])] if shown else [])
    if not shown:
        with pytest.raises(
            ValueError,
            match=(
                r"text is 'x'; it must be left out where there is no checkpoint. Fix: pass --checkpoint=RUN"
            ),
        ):
            runs.report(folder, replace(options, text="x"), tmp_path / "report.html")
