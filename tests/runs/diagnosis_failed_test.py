"""Diagnosis of runs that were trained to fail, each in one way; they take half a minute each, so they are
`medium`.

python -m pytest tests/diagnosis_failed_runs_test.py -m medium
"""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from aila_jax import runs
from aila_jax.config import Config, DataConfig, LocalityConfig, MarginConfig, PartitionConfig, PenaltyConfig
from aila_jax.config.options import DiagnoseOptions
from aila_jax.diagnosis import signatures
from aila_jax.diagnosis.signatures import Finding
from tests.support.tiny import make_config, write_corpus

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Config:
    """What becomes the healthy run of `diagnosis_run_test`."""
    settings = {
        "steps": 150,
        "accumulate": 1,
        "learning_rate": 1e-2,
        "warmup_steps": 10,
        "eval_every": 150,
        "checkpoint_every": 150,
    }
    config = make_config(write_corpus(tmp_path_factory.mktemp("text")), **settings)
    model = replace(config.model, dropout=0.0, margin=MarginConfig(nats=6.0, power=1.3))
    locality = LocalityConfig(mode="conditional", power=2.0, at_zero=0.4)
    return replace(config, model=model, locality=locality, sweep=replace(config.sweep, batch_size=32))


def findings(config: Config, folder) -> dict[str, Finding]:
    """Trains it, and what its diagnosis finds, by signature."""
    runs.train(config, folder / "run", quiet=True)
    return {
        finding.name: finding
        for finding in runs.diagnose(folder / "run", DiagnoseOptions(batches=2), quiet=True).findings
    }


LETTERS = "abcdefghijkl"


def letters(data: DataConfig, folder: Path, following: Callable[[list[str]], str]) -> DataConfig:
    """Three texts of letters, each a function of those before it."""
    counts = {"files": 8000, "valid_files": 2000, "test_files": 1000}
    for split, count in counts.items():
        said = ["a", "b"]
        while len(said) < count:
            said.append(following(said))
        (folder / f"{split}.txt").write_text(" ".join(said), encoding="utf-8")
    return replace(
        data, cache_dir=str(folder / "cache"), **{split: (str(folder / f"{split}.txt"),) for split in counts}
    )


def decided_by_the_last_but_one(data: DataConfig, folder: Path, noise: float) -> DataConfig:
    """Texts in which the last letter but one decides the next, but for a share of `noise`."""
    draw = random.Random(0)
    after = dict(zip(LETTERS, draw.sample(LETTERS, len(LETTERS)), strict=True))
    return letters(
        data, folder, lambda said: draw.choice(LETTERS) if draw.random() < noise else after[said[-2]]
    )


def test_a_margin_that_training_outgrows(base, tmp_path):
    """One nat against scores that are free to grow."""
    found = findings(replace(base, model=replace(base.model, margin=MarginConfig(nats=1.0))), tmp_path)
    finding = found[signatures.STAYS_HIGH]
    assert finding.causes[0].startswith("The margin is too small: m = 1 nats, while scores reach |s| = ")
    assert "model.score_cap=4 and model.margin.nats=13" in finding.changes[0]  # 2 · 4 + ln(15 · 9)


def test_a_margin_under_a_cap_that_is_too_high_for_it(base, tmp_path):
    capped = replace(base.model, margin=MarginConfig(nats=1.0), score_cap=5.0)
    finding = findings(replace(base, model=capped), tmp_path)[signatures.STAYS_HIGH]
    assert finding.changes[0].startswith("raise model.margin.nats to 15")


def test_training_at_one_end_of_the_dial(base, tmp_path):
    """A text in which a letter follows from the last but one: a model that looks there is held to the last
    one alone.
    """
    data = decided_by_the_last_but_one(base.data, tmp_path, noise=0.05)
    model = replace(base.model, film=False, d_model=32, margin=MarginConfig(nats=200.0))
    train = replace(base.train, steps=500, eval_every=500, checkpoint_every=500)
    partition = replace(base.partition, size=1)
    plain = replace(
        base,
        data=data,
        model=model,
        train=train,
        partition=partition,
        locality=LocalityConfig(mode="fixed", lam=0.0),
    )
    finding = findings(plain, tmp_path)[signatures.COLLAPSES]
    assert finding.causes[0] == "The model was trained at λ = 0 alone, and is read at other λ."
    assert "locality.mode=conditional" in finding.changes[0]


def test_a_penalty_that_kills_every_head(base, tmp_path):
    """Heads are dead, and the penalty is named with its λη: E[λ] is .6 times that of u², a third, and η is
    .5.
    """
    penalty = PenaltyConfig(solver="proximal", eta=0.5, ramp=False)
    found = findings(replace(base, penalty=penalty), tmp_path)
    assert "4 of 4 heads have W_Q = W_K = 0" in found[signatures.DEAD_HEADS].seen
    finding = found[signatures.DEAD_HEADS]
    assert finding.causes == ("The penalty acts with λη = 0.1 (proximal).",)
    assert "lower penalty.eta" in finding.changes[-1]


def test_a_penalty_that_leaves_only_the_blocks_to_tell_keys_apart(base, tmp_path):
    """Two letters back decide the next, and E[λ] is .7. Heads that the penalty emptied average all keys, of
    which a block of two leaves the one that counts.
    """
    data = decided_by_the_last_but_one(base.data, tmp_path, noise=0.2)
    model = replace(base.model, d_model=32, margin=MarginConfig(nats=20.0))
    train = replace(base.train, steps=500, eval_every=500, checkpoint_every=500)
    penalty = PenaltyConfig(solver="proximal", eta=0.5, ramp=False)
    locality = LocalityConfig(mode="conditional", at_one=0.4)
    failed = replace(
        base,
        data=data,
        model=model,
        train=train,
        locality=locality,
        partition=PartitionConfig(size=2),
        penalty=penalty,
    )
    finding = findings(failed, tmp_path)[signatures.COLLAPSES]
    assert "at λ = 0," in finding.seen and finding.causes[0] == "4 of 4 heads are dead."
    assert finding.causes[1].startswith("The penalty acts with λη = 0.35")
    assert finding.changes[0].startswith("lower penalty.eta")


def test_classes_that_are_one_in_truth(base, tmp_path):
    """A vowel after each consonant, which decides half of them; the consonants are dealt out to two classes
    that hardly differ.
    """
    draw = random.Random(0)
    vowel = dict(zip("bcdfgh", "aaeeii", strict=True))
    data = letters(
        base.data,
        tmp_path,
        lambda said: (
            draw.choice("bcdfgh")
            if said[-1] in "aei"
            else draw.choice((vowel.get(said[-1], "a"), draw.choice("aei")))
        ),
    )
    classes = {"v": "aei", "c1": "bcd", "c2": "fgh"}
    (tmp_path / "classes.tsv").write_text(
        "".join(f"{one}\t{name}\n" for name, ones in classes.items() for one in ones), encoding="utf-8"
    )
    partition = PartitionConfig(kind="class_file", class_file=str(tmp_path / "classes.tsv"))
    model = replace(base.model, score_cap=0.3, margin=MarginConfig(nats=5.6))
    finding = findings(replace(base, data=data, model=model, partition=partition), tmp_path)[
        signatures.STAYS_HIGH
    ]
    assert finding.causes[0].startswith("Blocks are incoherent: ρ_max = ")
    assert finding.changes == ("try another partition (segments or classes), or windows of another size",)


def test_a_penalty_that_flattens_every_head_and_kills_none(base, tmp_path):
    """A subgradient never makes weights exactly 0: no head is dead, but none tells one key from another any
    more.
    """
    found = findings(
        replace(base, penalty=PenaltyConfig(solver="subgradient", eta=0.02, ramp=False)), tmp_path
    )
    flat = found[signatures.DEAD_HEADS]
    assert flat.seen.startswith(
        "4 of 4 heads have no score that reaches 0.1 nats on the text read, at either end of the dial"
    )
    assert flat.causes[0].startswith("The penalty acts with λη = 0.004 (subgradient).")
    assert flat.changes == (
        "lower penalty.eta, so that λη stays far below 0.004, and keep penalty.ramp=true",
    )
    spread = found[signatures.STAYS_HIGH]  # uniform attention: .04 of it outside, which the entropy shows
    assert any(cause.startswith("4 of 4 heads score all keys alike") for cause in spread.causes)
    assert spread.changes == flat.changes
    assert "in-block keys trail" not in " ".join(spread.causes)


def test_a_margin_that_bites_at_once(base, tmp_path):
    """At λ = 0.2 already 100 of its 500 nats."""
    finding = findings(replace(base, model=replace(base.model, margin=MarginConfig(nats=500.0))), tmp_path)[
        signatures.NOT_GRADED
    ]
    assert "he step from λ = 0 to 0.2 carries" in finding.seen
    assert "raise model.margin.power above 1" in finding.changes[0]


def test_too_little_training_for_attention_to_matter(base, tmp_path):
    few = replace(base.train, steps=3, warmup_steps=0, eval_every=3, checkpoint_every=3, learning_rate=1e-3)
    finding = findings(replace(base, train=few), tmp_path)[signatures.UNUSED]
    assert "train longer" in finding.changes[0]


def test_validation_text_of_another_kind(base, tmp_path):
    """Validated on sentences that run backwards; four epochs."""
    backwards = tmp_path / "backwards.txt"
    with open(base.data.valid_files[0], encoding="utf-8") as lines:
        backwards.write_text(
            "".join(" ".join(reversed(line.split())) + "\n" for line in lines), encoding="utf-8"
        )
    data = replace(base.data, valid_files=(str(backwards),), cache_dir=str(tmp_path / "cache"))
    train = replace(base.train, steps=85, eval_every=85, checkpoint_every=85)
    finding = findings(replace(base, data=data, train=train), tmp_path)[signatures.OVERFITS]
    assert "times as much" in finding.seen
    assert "locality.mode=curriculum" in finding.changes[1]


def test_training_that_diverges(base, tmp_path):
    """A rate at which the weights leave the range of float32: every later update is discarded, and the run is
    allowed to go on.
    """
    train = replace(
        base.train,
        steps=6,
        eval_every=6,
        checkpoint_every=6,
        learning_rate=1e30,
        clip_norm=1e30,
        warmup_steps=0,
        max_skipped=10,
    )
    found = findings(replace(base, train=train), tmp_path)
    assert set(found) == {signatures.NON_FINITE}
    assert found[signatures.NON_FINITE].seen.startswith(
        "5 updates were discarded because the loss or a gradient was not finite; perplexity is not"
    )
    document = json.loads((tmp_path / "run" / "diagnosis.json").read_text(encoding="utf-8"))
    assert document["facts"]["dial"][0]["perplexity"] is None
