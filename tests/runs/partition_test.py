"""A partition fitted to a corpus in a run: fitted on the training split, kept in the checkpoint with
checksums, used by everything.
"""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.checkpoint import find_checkpoint
from aila_jax.config import AnchorConfig, Config, PartitionConfig
from aila_jax.config.options import BlocksOptions
from aila_jax.data.dataset import encode_documents
from aila_jax.data.documents import Document
from aila_jax.data.packing import TokenStream
from aila_jax.inference.language_model import LanguageModel
from aila_jax.partition.fit import fit_partition
from aila_jax.partition.kinds import Classes, Segments
from aila_jax.partition.match import match_n_in
from aila_jax.reporting.block_files import describe_blocks
from aila_jax.runs import _train as training_run
from aila_jax.types import Batch
from tests.oracles import partitions as oracle
from tests.support.checkpoints import edit, reseal
from tests.support.tiny import make_config, sentences, write_corpus
from tests.support.untrained import untrained_model

LEARNED = PartitionConfig(kind="learned_segments", mean_length=3.0, global_first=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Four steps with anchors and a document mask, on segments learned from the corpus."""
    settings = {
        "steps": 4,
        "warmup_steps": 2,
        "checkpoint_every": 2,
        "keep": 2,
        "eval_every": 4,
        "eval_batches": 1,
        "accumulate": 1,
    }
    config = make_config(write_corpus(tmp_path_factory.mktemp("text")), **settings)
    return replace(
        config,
        model=replace(config.model, n_layers=1, film=False, dropout=0.0, document_mask=True),
        partition=LEARNED,
        anchors=AnchorConfig(estimator="corpus", k=1),
        sweep=replace(config.sweep, lams=(0.0, 1.0), taus=(1.0,), max_batches=1),
    )


@pytest.fixture(scope="module")
def finished(base: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.train(base, tmp_path_factory.mktemp("run") / "whole", quiet=True).workdir


def test_the_table_is_of_the_training_split_and_comes_back_with_the_checkpoint(
    base: Config, finished: Path
) -> None:
    model = aila.load(finished)
    train = runs.dataset_of(model).splits["train"]
    want = fit_partition(LEARNED, model.tokenizer, train)
    assert isinstance(model.partition, Segments) and isinstance(want, Segments)
    assert model.partition.global_first and model.partition.vocabulary == model.tokenizer.fingerprint
    np.testing.assert_array_equal(model.partition.boundary, want.boundary)
    assert 2 < len(train.tokens) / np.asarray(model.partition.boundary)[train.tokens].sum() <= 3.0
    stored = find_checkpoint(finished)
    assert stored.arrays["partition/values"].shape == (model.tokenizer.vocab_size,)
    assert len(stored.arrays["partition/values"].sha256) == 64
    assert stored.record.table == {"vocabulary": model.tokenizer.fingerprint, "names": [], "note": ""}


def test_a_continued_run_takes_the_table_from_its_checkpoint(
    base: Config, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        training_run, "fit_partition", lambda *_, **__: pytest.fail("the table must come from the checkpoint")
    )
    found = find_checkpoint(finished, 2)
    np.testing.assert_array_equal(
        training_run.partition_of(base, None, found, quiet=True).boundary,
        aila.load(finished).partition.boundary,
    )


@pytest.mark.medium  # trains a second time; the default tests continue a run without a table
def test_a_stopped_run_continues_to_the_same_bits_without_fitting_again(
    base: Config, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(finished, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints" / "4")
    monkeypatch.setattr(
        training_run, "fit_partition", lambda *_, **__: pytest.fail("the table must come from the checkpoint")
    )
    runs.train(base, copy, quiet=True)
    mine, whole = aila.load(copy), aila.load(finished)
    for left, right in zip(
        jax.tree.leaves((mine.params, mine.partition)),
        jax.tree.leaves((whole.params, whole.partition)),
        strict=True,
    ):
        np.testing.assert_array_equal(left, right)


@pytest.mark.medium
def test_the_sweep_attention_and_generation_use_it(finished: Path) -> None:
    model = aila.load(finished)
    result = runs.sweep(str(finished), quiet=True)
    assert [row.lam for row in result.cells] == [0.0, 1.0]
    assert result.cells[1].block_mass > result.cells[0].block_mass
    assert (
        json.loads((finished / "sweep.json").read_text())["config"]["partition"]["kind"] == "learned_segments"
    )
    assert runs.evaluate(str(finished), lam=1.0, quiet=True).loss == pytest.approx(result.cells[1].loss)
    maps = model.attention("the cat saw the owl .", lam=1.0)
    tokens = np.asarray([model.tokenizer.encode("the cat saw the owl .")], np.int32)
    np.testing.assert_array_equal(maps.block_ids, np.asarray(model.partition(Batch.from_tokens(tokens)))[0])
    assert len(set(maps.block_ids.tolist())) > 2
    assert model.generate("the cat", lam=1.0, max_tokens=3, sample_temperature=0.0)
    mask = model.anchor_mask(tokens)
    assert mask.shape == tokens.shape


@pytest.fixture(scope="module")
def untrained() -> tuple[LanguageModel, TokenStream]:
    """A model of windows, and tokens of its vocabulary to fit a partition to."""
    model = untrained_model()
    return model, encode_documents(
        model.tokenizer, [Document("grammar", tuple(sentences(50, 0).splitlines()))]
    )


def test_another_partition_can_be_read_and_must_be_of_this_vocabulary(
    untrained: tuple[LanguageModel, TokenStream],
) -> None:
    model, train = untrained
    assert model.with_partition(PartitionConfig(size=4)).fitted is None
    clauses = PartitionConfig(kind="segments")
    other = model.with_partition(clauses, fit_partition(clauses, model.tokenizer, train))
    tokens = np.asarray([model.tokenizer.encode("the cat saw .\nthe owl")], np.int32)
    found = np.asarray(other.partition(other.batch(tokens)))[0]
    assert found[0] == 0 and found[-1] >= 1
    assert not np.array_equal(other.apply(tokens, lam=1.0).logits, model.apply(tokens, lam=1.0).logits)
    with pytest.raises(
        ValueError, match=r"'segments', which is fitted to a corpus, and no table is given. Fix: use what"
    ):
        model.with_partition(clauses)
    with pytest.raises(ValueError, match=r"table is bool\[\d+\]; partition.kind 'windows' needs no table"):
        model.with_partition(PartitionConfig(), other.fitted)
    boundary = np.zeros(model.tokenizer.vocab_size + 1, bool)
    with pytest.raises(
        ValueError,
        match=rf"has {len(boundary)} types; the vocabulary has {len(boundary) - 1}. Fix: fit it with this",
    ):
        model.with_partition(clauses, Segments(boundary))
    with pytest.raises(
        ValueError, match=r"fitted to the vocabulary abc; this one is .*as many types, but others. Fix: "
    ):
        model.with_partition(clauses, Segments(boundary[1:], vocabulary="abc"))


def edit_record(step: Path, change) -> None:
    edit(step / "record" / "metadata", change)
    reseal(step)  # covered up, so that what comes after the manifest is seen


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda stored: stored["table"].update(vocabulary="0123456789abcdef"),
            "fitted to the vocabulary 0123456789ab; this one is",
        ),
        (
            lambda stored: stored["arrays"]["partition/values"].update(sha256="0" * 64),
            "partition/values does not match its checksum",
        ),
        (lambda stored: stored.update(table=None), "which is fitted to a corpus, and no table is given"),
        (
            lambda stored: stored["config"]["partition"].update(kind="given", mean_length=10.0),
            "partition.kind 'given' needs no table",
        ),
    ],
    ids=["vocabulary", "damage", "no table", "another kind"],
)
def test_a_checkpoint_whose_table_does_not_fit_is_refused(
    finished: Path, tmp_path: Path, change, message: str
) -> None:
    copy = shutil.copytree(finished, tmp_path / "copy")
    edit_record(copy / "checkpoints" / "4", change)
    with pytest.raises(ValueError, match=message):
        aila.load(copy)


def test_other_settings_than_those_a_kind_reads_are_refused() -> None:
    with pytest.raises(
        ValueError,
        match=(
            r"partition.size is 3; it must be left alone when partition.kind is 'segments'. Fix:"
            r" .*kind=windows"
        ),
    ):
        PartitionConfig(kind="segments", size=3)
    with pytest.raises(
        ValueError,
        match=r"partition.mean_length is 5.0; it must be left alone when partition.kind is 'windows'",
    ):
        PartitionConfig(mean_length=5.0)
    with pytest.raises(ValueError, match=r"partition.mean_length is 1.5; it must be finite and at least 2"):
        PartitionConfig(kind="learned_segments", mean_length=1.5)
    with pytest.raises(ValueError, match=r"partition.unit is 'sentences'.*did you mean 'sentence'"):
        PartitionConfig(kind="segments", unit="sentences")
    assert LEARNED.settings == {"kind": "learned_segments", "mean_length": 3.0, "global_first": True}


def test_classes_come_from_rules_or_a_file_and_keep_their_names(
    untrained: tuple[LanguageModel, TokenStream], tmp_path: Path
) -> None:
    model, train = untrained
    file = tmp_path / "my.classes"
    file.write_text("the\tarticle\n##a\tvowel\n", encoding="utf-8")
    for config, name in (
        (PartitionConfig(kind="pos"), "determiner"),
        (PartitionConfig(kind="class_file", class_file=str(file)), "article"),
    ):
        made = fit_partition(config, model.tokenizer, train)
        assert isinstance(made, Classes) and made.note and made.vocabulary == model.tokenizer.fingerprint
        tokens = np.asarray([model.tokenizer.encode("saw the")], np.int32)
        read = model.with_partition(config, made)
        assert made.names[int(np.asarray(read.partition(read.batch(tokens)))[0, -1])] == name
    assert "the other" in made.note  # how many types the file leaves out
    with pytest.raises(
        ValueError, match=r"partition.class_file is ''; it must be the path of a file. Fix: set --config"
    ):
        PartitionConfig(kind="class_file")


def test_blocks_of_a_checkpoint_are_measured_and_listed(finished: Path, tmp_path: Path) -> None:
    model = aila.load(finished)
    report = runs.blocks(finished, BlocksOptions(split="validation", top=2, examples=3), tmp_path / "out")
    windows = runs.dataset_of(model).windows("validation", 16, True)
    ids, doc_ids = np.asarray(model.partition(windows.batch)), np.asarray(windows.batch.doc_ids)
    n_in = oracle.in_block_keys(ids, doc_ids)[ids != -1]
    assert report.statistics.n_in == pytest.approx(n_in.mean())
    assert (
        report.statistics.n_local < report.statistics.n_in
    )  # the first token of each document is in every block
    vectors = (
        np.asarray(model.params["embedding"])[windows.batch.tokens]
        + np.asarray(model.params["position"])[windows.batch.positions]
    )
    kept = ids >= 0
    centre = vectors[kept].mean(axis=0)
    means = {block: vectors[ids == block].mean(axis=0) - centre for block in np.unique(ids[kept])}
    cosines = [
        (x - centre) @ means[block] / np.linalg.norm(x - centre) / np.linalg.norm(means[block])
        for x, block in zip(vectors[kept], ids[kept], strict=True)
    ]
    assert report.correlation is not None
    assert report.correlation.within == pytest.approx(np.mean(cosines), abs=1e-5)
    assert report.correlation.blocks == len(means)
    assert (
        len(report.listing.boundaries) == 2
        and len(report.listing.examples) == 3
        and not report.listing.classes
    )
    boundary = np.flatnonzero(model.partition.boundary)
    counts = np.bincount(runs.dataset_of(model).splits["train"].tokens, minlength=model.tokenizer.vocab_size)
    assert report.listing.boundaries[0].count == counts[boundary].max()
    for part in report.listing.examples[0].split(" ‖ ")[1:-1]:
        assert model.tokenizer.encode(f"x {part}")[-1] in boundary
    stored = json.loads((tmp_path / "out" / "blocks.json").read_text(encoding="utf-8"))
    assert stored["partition"] == LEARNED.settings and stored["meta"]["config"]["seed"] == 0
    (row,) = csv.DictReader((tmp_path / "out" / "blocks.csv").read_text(encoding="utf-8").splitlines())
    assert float(row["n_in"]) == report.statistics.n_in and row["mean_length"] == "3.0"
    assert (
        len(
            list(
                csv.DictReader(
                    (tmp_path / "out" / "block_types.csv").read_text(encoding="utf-8").splitlines()
                )
            )
        )
        == 2
    )


def test_blocks_of_a_configuration_need_no_model(
    base: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(base, partition=PartitionConfig(kind="pos"), anchors=AnchorConfig())
    report = runs.blocks(config, BlocksOptions(top=1, examples=1, batches=1), tmp_path)
    assert report.correlation is None
    assert report.listing.classes[0].share == max(entry.share for entry in report.listing.classes)
    assert sum(entry.share for entry in report.listing.classes) == pytest.approx(1.0)
    text = describe_blocks(report)
    assert "noun" in text and "/determiner" in text.split("examples:")[1]
    rows = list(csv.DictReader((tmp_path / "block_types.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["name"] for row in rows} <= {entry.name for entry in report.listing.classes}
    with pytest.raises(
        ValueError,
        match=(
            r"checkpoint, config is \(\); it must be one of the two. Fix: pass --checkpoint=RUN, or --config"
        ),
    ):
        runs.open_source("", None)
    with pytest.raises(ValueError, match="top is 0; it must be at least 1"):
        BlocksOptions(top=0)


def test_a_split_that_is_none_is_refused_before_anything_is_fitted(
    base: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("fit_partition", "match_n_in"):
        monkeypatch.setattr(
            f"aila_jax.runs._blocks.{name}",
            lambda *_, **__: pytest.fail("fitted before the split was looked at"),
        )
    for n_in in (None, 3.0):
        with pytest.raises(ValueError, match=r"split is 'vaild'; it must be one of train, validation, test"):
            runs.blocks(base, BlocksOptions(n_in=n_in, split="vaild"), tmp_path)


def test_blocks_at_a_chosen_number_of_keys(base: Config, finished: Path, tmp_path: Path) -> None:
    """The setting that comes nearest is fitted, and the measured mean is what `match_n_in` says; global first
    tokens are keys too.
    """
    report = runs.blocks(base, BlocksOptions(n_in=3.5, top=1, examples=1), tmp_path)
    dataset = aila.load_dataset(base.data)
    matched = match_n_in(
        3.5, LEARNED, dataset.tokenizer, dataset.splits["train"], length=16, document_mask=True
    )
    assert report.partition == matched.config.settings != LEARNED.settings
    assert report.statistics.n_in == pytest.approx(matched.n_in)
    assert (
        json.loads((tmp_path / "blocks.json").read_text(encoding="utf-8"))["partition"]
        == matched.config.settings
    )
    with pytest.raises(ValueError, match=r"n_in is 3\.0; it must be left out with a checkpoint"):
        runs.blocks(finished, BlocksOptions(n_in=3.0))
    with pytest.raises(
        ValueError, match=r"target \(mean n_in\) is 9\.0; it must be from 1 to \(length \+ 1\)/2 \(8\.5\)"
    ):
        runs.blocks(base, BlocksOptions(n_in=9.0), tmp_path)


def test_a_bad_class_file_leaves_the_directory_to_the_next_try(base: Config, tmp_path: Path) -> None:
    file = tmp_path / "my.classes"
    config = replace(base, partition=PartitionConfig(kind="class_file", class_file=str(file)))
    with pytest.raises(ValueError, match=r"class file '.*my\.classes' is no file"):
        runs.train(config, tmp_path / "run", quiet=True)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {".lock"}
