"""Recruitment in a run: the same classes before training, in training, and asked of the checkpoint
afterwards.
"""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.config import Config, PartitionConfig, to_dict
from aila_jax.partition.classes.induced import induced_classes
from aila_jax.partition.fit import fit_partition
from aila_jax.partition.kinds import Classes
from aila_jax.reporting.recruitment_files import describe_recruitment
from aila_jax.runs import _recruit as recruiting
from aila_jax.runs import opened as opening
from tests.support.tiny import make_config, write_corpus


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Config:
    settings = {
        "steps": 1,
        "warmup_steps": 0,
        "checkpoint_every": 1,
        "keep": 1,
        "eval_every": 1,
        "eval_batches": 1,
        "accumulate": 1,
    }
    config = make_config(write_corpus(tmp_path_factory.mktemp("text")), **settings)
    small = replace(config.model, n_layers=1, film=False)
    return replace(config, model=small, partition=PartitionConfig(kind="recruited", start=3, max_classes=6))


@pytest.fixture(scope="module")
def finished(base: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.train(base, tmp_path_factory.mktemp("run") / "recruited", quiet=True).workdir


def test_a_run_keeps_what_recruitment_finds_without_it(
    base: Config, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = aila.load(finished)
    assert isinstance(model.partition, Classes)
    without = runs.recruit(config=base, top=3, out=str(tmp_path / "config"))
    shown = capsys.readouterr().err
    assert "recruitment, step 1: 3 classes" in shown and "so far" in shown
    again = runs.recruit(str(finished), top=3, out=str(tmp_path / "run"), quiet=True)
    for report in (without, again):
        np.testing.assert_array_equal(model.partition.table, report.recruitment.table)
    assert without.recruitment.steps == again.recruitment.steps
    assert without.recruitment.classes == 6
    assert model.partition.names == ("c0", "c1", "c2", "c3", "c4", "c5")
    assert "6 classes recruited by description length" in model.partition.note
    for name in ("json", "csv", "txt", "png", "svg"):
        assert (tmp_path / "run" / f"recruitment.{name}").stat().st_size


def test_files_hold_every_step_and_what_the_classes_hold(base: Config, tmp_path: Path) -> None:
    report = aila.recruit(config=base, top=2, out=str(tmp_path), quiet=True)
    steps = report.recruitment.steps
    rows = list(csv.DictReader((tmp_path / "recruitment.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["kind"], int(row["classes"]), float(row["total_bits"])) for row in rows] == [
        (step.kind, step.classes, step.total_bits) for step in steps
    ]
    stored = json.loads((tmp_path / "recruitment.json").read_text(encoding="utf-8"))
    assert stored["table"] == report.recruitment.table.tolist()
    assert stored["steps"][-1]["data_bits"] == steps[-1].data_bits
    assert stored["meta"]["config"]["partition"] == to_dict(base.partition)
    shares = [entry["share"] for entry in stored["classes"]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1.0)
    assert sum(entry["types"] for entry in stored["classes"]) == stored["types_seen"]
    assert report.statistics is not None and stored["statistics"]["n_in"] == report.statistics.n_in
    text = describe_recruitment(report)
    assert (tmp_path / "recruitment.txt").read_text(encoding="utf-8") == f"{text}\n"
    assert f"6 classes recruited from 3 on {report.source}" in text
    assert f"{steps[-1].total_bits:,.0f}" in text and f"{report.statistics.n_in:.2f} on average" in text
    for entry in report.classes:
        assert len(entry.frequent) <= 2
        assert entry.frequent[0][0].strip() in text


def test_another_partition_in_the_configuration_means_the_default_limits(
    base: Config, tmp_path: Path
) -> None:
    report = runs.recruit(config=replace(base, partition=PartitionConfig()), out=str(tmp_path), quiet=True)
    assert report.recruitment.steps[0].classes == 2
    assert report.meta.config["partition"] == to_dict(PartitionConfig(kind="recruited"))
    assert report.recruitment.finished


def test_induced_classes_as_a_partition(
    base: Config, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = aila.load(finished)
    train = runs.dataset_of(model).splits["train"]
    made = fit_partition(
        PartitionConfig(kind="induced_classes", classes=4), model.tokenizer, train, quiet=False
    )
    assert isinstance(made, Classes) and made.vocabulary == model.tokenizer.fingerprint
    np.testing.assert_array_equal(
        made.table, induced_classes(train.tokens, model.tokenizer.vocab_size, 4).table
    )
    assert "4 classes of types with like neighbours" in made.note
    assert "classes, sweep 1 of 20:" in capsys.readouterr().err


def test_what_cannot_be_recruited_is_refused(
    base: Config, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path)
    with pytest.raises(ValueError, match=r"checkpoint, config is \(\); it must be one of the two"):
        runs.recruit(out=out)
    with pytest.raises(
        ValueError, match=r"checkpoint, config is \('checkpoint', 'config'\); it must be one of the two"
    ):
        runs.recruit(str(finished), config=base, out=out)
    with pytest.raises(ValueError, match="top is 0; it must be at least 1"):
        runs.recruit(config=base, top=0, out=out)
    with pytest.raises(ValueError, match=r"start is 5000; it must be at most the .* types that occur"):
        runs.recruit(
            config=replace(base, partition=PartitionConfig(kind="recruited", start=5000)), out=out, quiet=True
        )
    with monkeypatch.context() as fitted:
        fitted.setattr(
            recruiting, "fit_recruitment", lambda *_: pytest.fail("recruited before the text was looked at")
        )
        with pytest.raises(
            ValueError, match=r"split 'train' of 'text' has .* tokens; it must have at least 99,?991"
        ):
            runs.recruit(config=replace(base, model=replace(base.model, length=99_990)), out=out, quiet=True)
    model = aila.load(finished)
    windows = replace(model, config=replace(model.config, partition=PartitionConfig()))
    monkeypatch.setattr(opening, "read_model", lambda found: windows)
    with pytest.raises(
        ValueError,
        match=r"partition.kind of the checkpoint is 'windows'; it must be 'recruited'. Fix: .*aila blocks",
    ):
        runs.recruit(str(finished), out=out)
