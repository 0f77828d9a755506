"""A relation in a run: its tables are fitted to the training split before the first step, and kept."""

import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.checkpoint import find_checkpoint, verify_run
from aila_jax.config import Config, MarginConfig, PartitionConfig, RelationConfig
from aila_jax.data.dataset import load_dataset
from aila_jax.partition.pointers import LowestEntropy
from aila_jax.partition.rule_tables import fit_rule_tables
from aila_jax.runs import _train as training_run
from aila_jax.runs._start import begin_from
from tests.support.checkpoints import edit, reseal
from tests.support.tiny import make_config, sentences, write_corpus

RELATION = RelationConfig(sink=True, pointers="anchors", horizon=3, layers=("own", "sentences"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Four steps with a document mask and a gate: anchors of windows below, of sentences above."""
    settings = {
        "steps": 4,
        "warmup_steps": 2,
        "checkpoint_every": 2,
        "eval_every": 4,
        "eval_batches": 1,
        "accumulate": 1,
    }
    config = make_config(write_corpus(tmp_path_factory.mktemp("text")), **settings)
    model = replace(
        config.model, d_model=8, d_ff=8, film=False, document_mask=True, margin=MarginConfig(gate=1.0)
    )
    return replace(config, model=model, partition=PartitionConfig(size=4), relation=RELATION)


@pytest.fixture(scope="module")
def finished(base: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody may change its files."""
    return runs.train(base, tmp_path_factory.mktemp("run") / "whole", quiet=True).workdir


def test_the_tables_come_back_with_the_checkpoint(base: Config, finished: Path) -> None:
    model = aila.load(finished)
    stored, tables = find_checkpoint(finished), model.rule_tables
    want = fit_rule_tables(RELATION, model.tokenizer, runs.dataset_of(model).splits["train"])
    assert tables is not None and want is not None and sorted(tables.arrays) == ["entropy", "sentences"]
    for name, values in want.arrays.items():
        np.testing.assert_array_equal(tables.arrays[name], values)
        assert len(stored.arrays[f"relation/{name}"].sha256) == 64
    assert stored.record.relation == {"vocabulary": model.tokenizer.fingerprint}
    pointers = model.network.rules.pointers
    assert isinstance(pointers, LowestEntropy) and (pointers.k, pointers.horizon) == (1, 3)
    assert all(one.state == "verified" for one in verify_run(finished))
    assert "RuleTables" in str(tables) and "entropy" in str(tables)


def test_the_tables_are_those_of_bigrams_inside_documents(finished: Path) -> None:
    """Next-token entropy ÷ log2 V, counts smoothed towards the unigram distribution by 100 of them; types
    that nothing follows have the largest.
    """
    model = aila.load(finished)
    train = runs.dataset_of(model).splits["train"]
    counts = np.zeros((model.tokenizer.vocab_size,) * 2)
    for t in range(len(train.tokens) - 1):
        if train.doc_ids[t] == train.doc_ids[t + 1]:
            counts[train.tokens[t], train.tokens[t + 1]] += 1
    unigram = counts.sum(axis=0) / counts.sum()
    share = (counts + 100 * unigram) / (counts.sum(axis=1, keepdims=True) + 100)
    want = -np.sum(np.where(share > 0, share * np.log2(np.where(share > 0, share, 1)), 0.0), axis=1)
    assert model.rule_tables is not None
    want = np.where(counts.sum(axis=1) > 0, want, want[counts.sum(axis=1) > 0].max())
    np.testing.assert_allclose(model.rule_tables.entropy, want / np.log2(len(want)), rtol=1e-5, atol=1e-6)


def test_another_validation_split_makes_no_other_table(base: Config, tmp_path: Path) -> None:
    other = tmp_path / "valid.txt"
    other.write_text(sentences(40, 9).replace("the", "zebra"), encoding="utf-8")
    data = replace(base.data, valid_files=(str(other),), cache_dir=str(tmp_path / "cache"))
    found = [load_dataset(one, None) for one in (base.data, data)]
    tables = [fit_rule_tables(RELATION, one.tokenizer, one.splits["train"]) for one in found]
    assert not np.array_equal(*(one.splits["validation"].tokens for one in found))
    np.testing.assert_array_equal(tables[0].entropy, tables[1].entropy)


def test_a_stopped_run_goes_on_to_the_same_bits_and_fits_nothing(
    base: Config, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(finished, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints" / "4")
    monkeypatch.setattr(
        training_run, "fit_rule_tables", lambda *_: pytest.fail("they come from the checkpoint")
    )
    runs.train(base, copy, quiet=True)
    mine, whole = aila.load(copy), aila.load(finished)
    jax.tree.map(np.testing.assert_array_equal, mine.params, whole.params)
    assert mine.rule_tables is not None and whole.rule_tables is not None
    jax.tree.map(np.testing.assert_array_equal, mine.rule_tables.arrays, whole.rule_tables.arrays)


def test_a_start_with_the_same_relation_gives_its_tables_and_another_does_not(
    base: Config, finished: Path
) -> None:
    same = begin_from(finished, replace(base, seed=3))
    assert same.rule_tables is not None and sorted(same.rule_tables.arrays) == ["entropy", "sentences"]
    for relation in (RelationConfig(), replace(RELATION, anchors=2), replace(RELATION, layers=())):
        assert begin_from(finished, replace(base, relation=relation)).rule_tables is None


@pytest.mark.parametrize(("change", "message"), [
    (lambda stored: stored["relation"].update(vocabulary="0123456789abcdef"), "fitted to the vocabulary 0123456789ab; this one is"),
    (lambda stored: stored["arrays"]["relation/entropy"].update(sha256="0" * 64), "relation/entropy does not match its checksum"),
    (lambda stored: stored["arrays"].pop("relation/sentences"), "relation cannot be read, the files are damaged"),
    (lambda stored: stored.update(relation=None), r"has no tables of its relation; relation .* needs entropy, sentences\. Fix: "),
    (lambda stored: stored["config"]["relation"].update(layers=[]), r"relation/sentences is .*, the model needs none"),
    (lambda stored: stored["config"]["relation"].update(pointers="ends"), r"relation/entropy is .*, the model needs none"),
    (lambda stored: stored["config"]["relation"].update(layers=["own", "clauses"]), "relation cannot be read|relation/clauses"),
    (lambda stored: stored["relation"].update(more=1), "its record's relation has no usable 'more'"),
])  # fmt: skip
def test_a_checkpoint_whose_tables_do_not_fit_is_refused(
    finished: Path, tmp_path: Path, change, message: str
) -> None:
    """By whoever reads it; a run that would go on fits no others."""
    copy = shutil.copytree(finished, tmp_path / "copy")
    for step in ("2", "4"):
        edit(copy / "checkpoints" / step / "record" / "metadata", change)
        reseal(copy / "checkpoints" / step)  # covered up, so that what comes after the manifest is seen
    with pytest.raises(ValueError, match=message):
        aila.load(copy)
    with pytest.raises(ValueError, match=message):
        find_checkpoint(copy).rule_tables()


def test_a_damaged_table_is_seen_by_verify(finished: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(finished, tmp_path / "copy")
    files = [path for path in (copy / "checkpoints" / "4" / "relation").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(bytes(content))
    states = {one.folder.name: one.state for one in verify_run(copy)}
    assert states["4"] == "damaged" and "verified" in states.values()


FAMILIES = {
    "shifted, ends, sink": ({"shift": 2, "pointers": "ends", "sink": True}, PartitionConfig(size=4), False),
    "sentences in pairs, documents": (
        {"shift": 1, "pointers": "random"},
        PartitionConfig(kind="segments"),
        True,
    ),
    "lines, ends": ({"pointers": "ends", "horizon": 1}, PartitionConfig(kind="given"), False),
    "all above": (
        {"layers": ("clauses", "all"), "pointers": "ends"},
        PartitionConfig(kind="induced_classes", classes=4),
        True,
    ),
}


@pytest.mark.medium  # trains and sweeps four times; the default tests do so once
@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_trains_and_is_measured(base: Config, tmp_path: Path, name: str) -> None:
    """At λ = 1 with a gate all attention is inside; what is inside is own, pointers and sink."""
    settings, partition, documents = FAMILIES[name]
    config = replace(
        base,
        relation=RelationConfig(**settings),
        partition=partition,
        model=replace(base.model, document_mask=documents),
        train=replace(base.train, steps=2, checkpoint_every=2, eval_every=2),
        sweep=replace(base.sweep, lams=(0.0, 1.0), taus=(1.0,), max_batches=1),
    )
    run = runs.train(config, tmp_path / "run", quiet=True)
    cells = runs.sweep(run.workdir, quiet=True).cells
    assert cells[-1].block_mass == pytest.approx(1.0, abs=1e-6)
    assert cells[0].block_mass < 0.99
    assert np.isfinite([cell.loss for cell in cells]).all()
