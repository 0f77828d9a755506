"""The report: one file, complete, escaped, and true to the rows."""

import base64
import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from aila_jax import formats
from aila_jax.evaluation.origin import Baseline, SweepMeta
from aila_jax.evaluation.rows import SweepResult
from aila_jax.reporting import html, pages
from aila_jax.reporting.html import write_page
from aila_jax.reporting.page_data import RunOnPage
from aila_jax.reporting.records import read_sweep, write_sweep
from aila_jax.reporting.summary import sentences
from aila_jax.runs.page import report
from tests.reporting.conftest import synthetic_maps
from tests.support.parsed import ADDRESSES, Page


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for the figures, which take most of the time, where a test looks at something else."""
    for name in ("tradeoff_figure", "heads_figure", "training_figure"):
        monkeypatch.setattr(html, name, lambda *_, **__: Figure())
    monkeypatch.setattr(pages, "figure_bytes", lambda *_: b"<svg></svg>")


def make(folder: Path, result: SweepResult, **more: Any) -> tuple[str, Page]:
    """The report's source and its parsed page."""
    source = report(result, folder / "report.html", **more).read_text(encoding="utf-8")
    return source, Page(source)


def samples(text: str = "is a list.") -> list[dict[str, Any]]:
    return [{"lam": 0.6, "tau": 1.0, "prompt": "The result ", "text": text}]


def test_nothing_points_outside_the_file(
    sweep: SweepResult, log: list[dict[str, Any]], tmp_path: Path
) -> None:
    source, page = make(tmp_path, sweep, log=log, samples=samples("See http://example.org/x."))
    assert not re.search(r"(?:https?|ftp|wss?|file):", source, re.IGNORECASE)
    assert "See http://example.org/x." in page.text  # as text it is shown as it is
    assert json.loads(page.scripts[0])["runs"][0]["samples"][0]["text"] == "See http://example.org/x."
    assert f"data.url {sweep.config.data.url}" in page.text
    assert not re.search(r"@import|url\(|\bfetch\(|XMLHttpRequest|\bimport\(|sendBeacon", source)
    for _, attributes in page.tags:
        for name in ADDRESSES & set(attributes):
            assert re.match(r"(?:data:|#)", attributes[name] or ""), (name, attributes[name])
    for encoded in re.findall(r"data:image/svg\+xml;base64,([^\"]*)", source):
        figure = base64.b64decode(encoded, validate=True).decode("utf-8")
        assert figure.rstrip().endswith("</svg>")
        for address in re.findall(r'\b(?:href|src)="([^"]*)"', figure):
            assert address.startswith(("#", "data:image/png;base64,"))
        assert not re.search(r"@import|url\((?!#)|<script|<foreignObject", figure)


@pytest.mark.usefixtures("quick")
def test_the_policy_forbids_loading(sweep: SweepResult, tmp_path: Path) -> None:
    policies = [
        attributes["content"]
        for tag, attributes in make(tmp_path, sweep)[1].tags
        if "http-equiv" in attributes
    ]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; img-src data:;")


@pytest.mark.usefixtures("quick")
def test_the_table_of_cells_holds_every_row_exactly(sweep: SweepResult, tmp_path: Path) -> None:
    rows = [row for row in make(tmp_path, sweep)[1].rows if len(row) == 14]
    assert len(rows) == 18
    for row, cell in zip(rows, sweep.cells, strict=True):
        fields = (
            "lam",
            "tau",
            "perplexity_token",
            "perplexity_word",
            "perplexity_byte",
            "loss",
            "accuracy",
            "entropy_bits",
        )
        fields += (
            "entropy_fraction",
            "block_mass",
            "block_mass_uniform",
            "block_mass_lift",
            "block_mass_local",
            "delta_imposed",
        )
        assert [float(value or "nan") for value, _ in row] == [getattr(cell, field) for field in fields]
        assert row[2][1] == formats.perplexity(cell.perplexity_token)
        assert row[6][1] == formats.percent(cell.accuracy)
        assert row[7][1] == f"{cell.entropy_bits:.4f}"


@pytest.mark.usefixtures("quick")
def test_values_that_are_missing_in_some_rows_are_blank_and_in_all_rows_have_no_column(
    sweep: SweepResult, tmp_path: Path
) -> None:
    first = dataclasses.replace(sweep.cells[0], delta_measured=0.5)
    _, page = make(tmp_path, dataclasses.replace(sweep, cells=(first, *sweep.cells[1:]), heads=()))
    rows = [row for row in page.rows if len(row) == 15]
    assert [row[-1] for row in rows[:2]] == [("0.5", "0.5000"), ("", "–")]
    assert "δ measured" in page.text
    assert "δ > 0" not in page.text


@pytest.mark.usefixtures("quick")
def test_the_table_of_heads_holds_the_rows_at_tau_one(sweep: SweepResult, tmp_path: Path) -> None:
    rows = [row for row in make(tmp_path, sweep)[1].rows if len(row) == 11]
    heads = [row for row in sweep.heads if row.tau == 1.0]
    assert len(rows) == len(heads) == 48
    for row, head in zip(rows, heads, strict=True):
        fields = ("lam", "tau", "layer", "head", "entropy_bits", "entropy_fraction", "block_mass")
        assert [float(value or "nan") for value, _ in row[:7]] == [getattr(head, field) for field in fields]


@pytest.mark.usefixtures("quick")
def test_the_dial_holds_every_cell_and_starts_at_tau_one(sweep: SweepResult, tmp_path: Path) -> None:
    page = make(tmp_path, sweep)[1]
    dial = json.loads(page.scripts[0])
    assert (dial["lams"], dial["taus"]) == ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.5, 1.0, 2.0])
    for shown, cell in zip(dial["runs"][0]["cells"], sweep.cells, strict=True):
        assert (shown["lam"], shown["tau"]) == (cell.lam, cell.tau)
        for name, value in shown["numbers"].items():
            assert value == getattr(cell, name)
        assert shown["texts"] == {
            "perplexity_token": formats.perplexity(cell.perplexity_token),
            "accuracy": f"{100 * cell.accuracy:.1f} %",
            "entropy_bits": f"{cell.entropy_bits:.2f}",
            "block_mass": f"{100 * cell.block_mass:.1f} %",
            "block_mass_lift": f"×{cell.block_mass_lift:.2f}",
            "guaranteed_entropy_bits": "–",
            "guaranteed_block_mass": "–",
        }
    assert [
        attributes["value"] for tag, attributes in page.tags if tag == "option" and "selected" in attributes
    ] == ["1"]
    assert [attributes["max"] for tag, attributes in page.tags if attributes.get("id") == "dial-lam"] == ["5"]
    assert sum(attributes.get("class") == "chart" for _, attributes in page.tags) == 4


@pytest.mark.usefixtures("quick")
def test_summary_facts_baselines_and_limits_are_there(sweep: SweepResult, tmp_path: Path) -> None:
    text = make(tmp_path, sweep)[1].text
    for sentence in sentences(sweep):
        assert sentence in text
    for fact in (
        "215,488",
        "0123abc",
        "9f86d081",
        "checkpoint_step 1200",
        "versions.jax 0.12.0",
        "cpu (synthetic)",
        "seed 7",
        "6 λ × 3 τ",
    ):
        assert fact in text
    assert "unigram 812.4 bigram 171.9 this model, best λ 69.41" in text
    assert "model.margin.nats 8.0" in text
    assert "sweep.taus 0.5, 1.0, 2.0" in text
    assert "Attention mass is not influence." in text
    assert "Entropy in bits depends on the number of keys" in text


@pytest.mark.usefixtures("quick")
def test_malicious_text_is_escaped_everywhere(make_sweep: Callable[..., SweepResult], tmp_path: Path) -> None:
    attack = "</script><script>alert('x')</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}"
    result = make_sweep(run=attack, commit=attack, split=attack)
    meta = SweepMeta(baselines={attack: Baseline(perplexity_token=5.0)}, more={attack: attack})
    data = dataclasses.replace(result.config.data, corpus="text", files=(attack,))
    result = dataclasses.replace(result, config=dataclasses.replace(result.config, data=data), meta=meta)
    source, page = make(
        tmp_path, result, samples=[{"lam": 0.0, "tau": 1.0, "prompt": attack, "text": attack}]
    )
    assert "<script>alert" not in source
    assert "<img src=x" not in source
    assert sum(tag == "script" for tag, _ in page.tags) == 2
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.words.count(attack) >= 6
    assert "49" not in re.findall(r"&amp;(.{0,12})", source)


@pytest.mark.usefixtures("quick")
def test_samples_are_shown_whole_up_to_the_limit_and_the_cut_is_stated(
    sweep: SweepResult, tmp_path: Path
) -> None:
    text = make(tmp_path, sweep, samples=samples())[1].text
    assert "λ = 0.6, τ = 1 The result is a list." in text
    assert "more characters" not in text
    text = make(tmp_path, sweep, samples=samples("y" * 4321) * 120)[1].text
    assert "321 more characters are not shown." in text
    assert "the first 100 of 120" in text
    assert (text.count("y" * 4000), text.count("y" * 4001)) == (100, 0)


@pytest.mark.usefixtures("quick")
def test_a_sample_without_a_key_is_refused(sweep: SweepResult, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"samples\[0\] lacks tau, text; it must have lam, tau, prompt, text"
    ):
        report(sweep, tmp_path / "report.html", samples=[{"lam": 0.0, "prompt": "x"}])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_a_model_that_sees_its_targets_has_a_banner(
    make_sweep: Callable[..., SweepResult], tmp_path: Path
) -> None:
    banner = "Not a language model: this model sees the targets it is scored on."
    assert banner in make(tmp_path, make_sweep(bidirectional=True))[1].text
    causal = make(tmp_path, make_sweep())[1].text
    assert banner not in causal


@pytest.mark.usefixtures("quick")
def test_sections_without_data_are_left_out(
    sweep: SweepResult, log: list[dict[str, Any]], tmp_path: Path
) -> None:
    def sections(page: Page) -> list[str | None]:
        return [attributes["id"] for tag, attributes in page.tags if tag == "section"]

    full = ["summary", "numbers", "samples", "figures", "heads", "cells", "texts", "facts", "reading"]
    assert sections(make(tmp_path, sweep, log=log, samples=samples())[1]) == full
    _, page = make(tmp_path, dataclasses.replace(sweep, heads=(), meta=SweepMeta()), log=[], samples=[])
    assert sections(page) == ["summary", "numbers", "figures", "cells", "facts", "reading"]
    anchors = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert anchors == ["#main", *(f"#{name}" for name in sections(page))]
    assert "Baselines" not in page.text
    assert "need the model: there is no checkpoint beside this sweep." in page.text


@pytest.mark.usefixtures("quick")
def test_attention_maps_get_a_section_that_names_their_model(sweep: SweepResult, tmp_path: Path) -> None:
    maps = [
        dataclasses.replace(synthetic_maps((2, 3), lam=lam), source="synthetic, step 1200")
        for lam in (0.0, 1.0)
    ]
    source, page = make(tmp_path, sweep, maps=maps)
    assert "attention" in [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert "#attention" in [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert json.loads(page.scripts[0])["runs"][0]["reading"]["lams"] == [0.0, 1.0]
    assert "need the model" not in page.text
    assert (
        "Attention weights of synthetic, step 1200 over one text of 7 tokens, for 2 layers of 3 heads"
        in page.text
    )
    assert "at 2 values of λ from 0 to 1, τ = 0.7." in page.text
    assert "Attention is not influence: a weight says where a head looks" in page.text
    assert not re.search(r"(?:https?|ftp|wss?|file):", source, re.IGNORECASE)
    assert "The numbers above" not in page.text
    other = [dataclasses.replace(one, source="another, step 7") for one in maps]
    assert "The numbers above are those of synthetic, step 1200." in make(tmp_path, sweep, maps=other)[1].text


@pytest.mark.usefixtures("quick")
def test_accessible_basics(sweep: SweepResult, log: list[dict[str, Any]], tmp_path: Path) -> None:
    page = make(tmp_path, sweep, log=log, samples=samples(), maps=[synthetic_maps((2, 2))])[1]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert ("html", {"lang": "en"}) in page.tags
    labelled = {attributes.get("for") for tag, attributes in page.tags if tag == "label"}
    inside = [
        tag
        for tag, attributes in page.tags
        if tag in ("input", "select")
        and attributes.get("class") != "zoom"
        and attributes["id"] not in labelled
    ]
    assert inside == []
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    for _, attributes in page.tags:
        assert attributes.get("aria-labelledby", ids[0]) in ids


@pytest.mark.usefixtures("quick")
def test_paths_are_read_and_folders_made(
    sweep: SweepResult, log: list[dict[str, Any]], tmp_path: Path
) -> None:
    write_sweep(sweep, tmp_path)
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps(record) + "\n" for record in log), encoding="utf-8"
    )
    path = report(tmp_path, str(tmp_path / "new" / "page.html"), log=tmp_path / "metrics.jsonl")
    assert path == tmp_path / "new" / "page.html"
    assert 'id="figure-training"' in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="no sweep at"):
        report(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"is a folder; it must be a file to write\. Fix: .*report\.html"):
        report(sweep, tmp_path)


@pytest.mark.usefixtures("quick")
def test_the_same_rows_give_the_same_bytes(sweep: SweepResult, tmp_path: Path) -> None:
    assert report(sweep, tmp_path / "a.html").read_bytes() == report(sweep, tmp_path / "b.html").read_bytes()


def test_a_large_sweep_stays_below_the_limit_and_says_what_it_leaves_out(
    make_sweep: Callable[..., SweepResult], tmp_path: Path
) -> None:
    result = make_sweep(
        lams=tuple(index / 20 for index in range(21)), taus=(0.25, 0.5, 1.0, 2.0, 4.0), shape=(12, 12)
    )
    source, page = make(tmp_path, result)
    assert len(source.encode("utf-8")) <= 5 * 1024 * 1024
    assert "Only the first 1000 of 3024 rows are shown" in page.text
    assert sum(len(row) == 11 for row in page.rows) == 1000


@pytest.mark.usefixtures("quick")
def test_a_page_beyond_the_limit_is_refused(
    sweep: SweepResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = report(sweep, tmp_path / "a.html").stat().st_size
    monkeypatch.setattr(pages, "MAX_BYTES", size)
    report(sweep, tmp_path / "b.html")
    monkeypatch.setattr(pages, "MAX_BYTES", size - 1)
    with pytest.raises(ValueError, match=f"the page has {size:,} bytes; it must have at most {size - 1:,}"):
        report(sweep, tmp_path / "c.html")
    assert not (tmp_path / "c.html").exists()


def test_package_names_load_on_first_use() -> None:
    import aila_jax.reporting as reporting

    for name in reporting.__all__:
        assert callable(getattr(reporting, name))
    assert dir(reporting) == reporting.__all__
    with pytest.raises(AttributeError, match="has no attribute 'plot'"):
        _ = reporting.plot


@pytest.mark.usefixtures("quick")
def test_a_sweep_whose_file_names_no_model_is_of_an_unknown_mask(sweep: SweepResult, tmp_path: Path) -> None:
    """It was read as today's defaults, and the page called it causal."""
    for config in ({}, {"seed": 3}, {"model": {}}):
        write_sweep(sweep, tmp_path)
        document = json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))
        del document["sha256"]  # as before there were checksums
        (tmp_path / "sweep.json").write_text(json.dumps({**document, "config": config}), encoding="utf-8")
        text = Page(report(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8")).text
        assert "Unknown whether this model is causal." in text
        assert "attention mask Unknown whether causal" in text
        assert "configuration not recorded" in text
        assert "For scale" not in text
        assert read_sweep(tmp_path).recorded is False
        write_sweep(read_sweep(tmp_path), tmp_path)
        assert json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))["config"] == {}
    assert "attention mask Causal" in make(tmp_path, sweep)[1].text


@pytest.mark.usefixtures("quick")
def test_two_sweeps_stand_side_by_side_and_what_does_not_compare_is_named(
    make_sweep: Callable[..., SweepResult], tmp_path: Path
) -> None:
    one, other = make_sweep(run="plain"), make_sweep(run="dial", lams=(0.0, 0.5), taus=(1.0,))
    page = make(tmp_path, [one, other])[1]
    dial = json.loads(page.scripts[0])
    assert [run["label"] for run in dial["runs"]] == ["plain", "dial"]
    assert dial["lams"] == [0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0]
    assert "plain and dial" in page.text
    assert "do not compare" not in page.text
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    data = dataclasses.replace(other.config.data, vocab_size=777)
    config = dataclasses.replace(other.config, data=data)
    text = make(tmp_path, [one, dataclasses.replace(other, config=config)])[1].text
    assert "perplexities per token, accuracies and losses by token do not compare" in text
    fewer = make_sweep(run="dial", targets=12)
    assert (
        "different targets: 215,488 of validation against 12 of validation."
        in make(tmp_path, [one, fewer])[1].text
    )
    same = json.loads(make(tmp_path, [one, one])[1].scripts[0])
    assert [run["label"] for run in same["runs"]] == ["plain (1)", "plain (2)"]
    with pytest.raises(ValueError, match=r"samples is \(\); it must be left out beside two runs"):
        make(tmp_path, [one, other], samples=())
    with pytest.raises(ValueError, match="runs is 3; it must be 1 or 2 on a page"):
        write_page([RunOnPage("x", one)] * 3, tmp_path / "report.html")


@pytest.mark.usefixtures("quick")
def test_terms_are_explained_where_they_stand(make_sweep: Callable[..., SweepResult], tmp_path: Path) -> None:
    sweep = make_sweep(guaranteed_block_mass=0.5)
    _, page = make(tmp_path, sweep)
    tips = [attributes for _, attributes in page.tags if "data-tip" in attributes]
    assert {attributes["tabindex"] for attributes in tips} == {"0"}
    assert any((attributes["data-tip"] or "").startswith("What holds for every text") for attributes in tips)
    assert "guaranteed at least, whatever the text" in page.text
    assert "guaranteed at least" not in make(tmp_path, make_sweep())[1].text
