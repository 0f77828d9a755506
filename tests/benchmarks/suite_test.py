"""Tests of a whole measurement with contestants that compute nothing, in processes of their own, and of
refused input.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.forms import CONTESTANTS, NAMES, SWEEP, TASKS, TRAIN, Contestant, PlainForm, TorchForm, choose
from benchmarks.proof import FLOAT32, compare
from benchmarks.runner import Evidence
from benchmarks.shapes import make_shape
from benchmarks.suite import run_shape
from benchmarks.workload import cut_tokens, draw_tokens
from tests.benchmarks.conftest import FakeForm

ROOT = Path(__file__).resolve().parents[2]
SHAPE = make_shape("quick", cpu=True)
TOKENS = np.zeros((1, 4, 33), np.int32)


def run(*forms, rounds=2):
    contestants = [
        Contestant("ours", "the reference", FakeForm()),
        Contestant("plain-einsum", "the baseline", FakeForm(PlainForm.family)),
        *(Contestant(f"other-{index}", "another", form, TASKS) for index, form in enumerate(forms)),
    ]
    return run_shape(SHAPE, TOKENS, contestants, rounds, steps=2)


def test_contestants_take_turns_in_their_processes():
    shape, versions = run(FakeForm(reason="not here"))
    assert versions == {"fake": "1"}
    ours, plain, other = shape.entries
    assert shape.plain == {TRAIN: "plain-einsum", SWEEP: "plain-einsum"}
    for entry in (ours, plain):
        assert [measure.task for measure in entry.measures] == [TRAIN, SWEEP]
        assert [measure.compile_seconds for measure in entry.measures] == [0.5, 0.25]
        assert all(len(measure.seconds) == 2 and min(measure.seconds) >= 0 for measure in entry.measures)
        assert entry.peak_resident_bytes > 2**20
        assert entry.proofs[0].loss == entry.proofs[0].reference_loss == 5.0
    assert plain.measures[0].versus_plain.median == 1.0
    assert other.skipped == "not here"
    assert other.measures == ()


@pytest.mark.parametrize(
    ("form", "error", "words"),
    [
        (FakeForm(loss=5.001), ValueError, "other-0 is not the same model"),
        (FakeForm(fails="raises"), RuntimeError, "other-0 failed(.|\n)*no such kernel"),
        (FakeForm(fails="dies"), RuntimeError, "other-0 died with exit code 3"),
    ],
)
def test_a_contestant_that_differs_or_fails_stops_the_run(form, error, words):
    with pytest.raises(error, match=words):
        run(form)


GOOD = Evidence((8.0, 7.5, 7.0), (2.0, 2.0, 2.0), 8.0, 0.25)


@pytest.mark.parametrize(
    ("mine", "words"),
    [
        (Evidence((8.0002, 7.5, 7.0), (2.0,) * 3, 8.0, 0.25), "its loss "),
        (Evidence((8.0, 7.5, 7.0), (2.01, 2.0, 2.0), 8.0, 0.25), "gradient norm"),
        (Evidence((8.0, 7.5, 7.01), (2.0,) * 3, 8.0, 0.25), "loss after two updates"),
        (Evidence((8.0, 7.5, 7.0), (2.0,) * 3, 8.001, 0.25), "loss of an evaluation"),
        (Evidence((8.0, 7.5, 7.0), (2.0,) * 3, 8.0, 0.26), "accuracy"),
        (Evidence((float("nan"), 7.5, 7.0), (2.0,) * 3, 8.0, 0.25), "its loss "),
    ],
)
def test_every_difference_is_named(mine, words):
    with pytest.raises(ValueError, match=f"x is not the same model: .*{words}"):
        compare("x", "full float32", mine, GOOD, FLOAT32)


def test_agreement_is_recorded():
    proof = compare("x", "full float32", GOOD, GOOD, FLOAT32)
    assert (proof.loss, proof.loss_after, proof.gradient_norm, proof.accuracy) == (8.0, 7.0, 2.0, 0.25)
    only_sweep = compare("x", "full float32", Evidence((), (), 8.0, 0.25), GOOD, FLOAT32)
    assert only_sweep.loss is None
    assert only_sweep.reference_loss is None


def test_the_reference_and_a_plain_form_always_take_part():
    assert [one.name for one in choose(["plain-chunk"])] == ["ours", "plain-einsum", "plain-chunk"]
    assert choose([]) == list(CONTESTANTS)
    assert len(set(NAMES)) == len(NAMES)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="did you mean 'ours-film'"):
        choose(["our-film"])
    with pytest.raises(ValueError, match="did you mean 'small'"):
        make_shape("smal", cpu=True)
    with pytest.raises(ValueError, match="batch_size is -1"):
        make_shape("small", cpu=True, batch_size=-1)
    with pytest.raises(ValueError, match="dtype is 'float16'"):
        make_shape("small", cpu=True, dtype="float16")
    with pytest.raises(ValueError, match="tokens in data_dir is 10"):
        cut_tokens(np.zeros(10, np.int32), SHAPE)


def test_torch_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setattr("benchmarks.forms.find_spec", lambda name: None)
    assert "pip install '.[bench]'" in TorchForm().missing(cpu=True)
    monkeypatch.setattr("benchmarks.forms.find_spec", lambda name: name)
    monkeypatch.setattr("benchmarks.forms.shutil.which", lambda name: None)
    assert "C++ compiler" in TorchForm(compiled=True).missing(cpu=True)
    assert TorchForm().missing(cpu=True) == ""


def test_shapes_follow_the_presets():
    paper = make_shape("paper", cpu=False)
    assert (paper.batch_size, paper.tokens, paper.vocab_size, paper.dtype, paper.chunk) == (
        64,
        64 * 256,
        33_278,
        "bfloat16",
        0,
    )
    assert make_shape("paper", cpu=True).batch_size < 64
    small = make_shape("small", cpu=True)
    assert (small.batch_size, small.tokens, small.vocab_size, small.dtype) == (32, 4096, 4096, "float32")
    assert make_shape("small", cpu=True, batch_size=3).batch_size == 3


def test_random_tokens_fit_the_shape():
    tokens = draw_tokens(SHAPE)
    assert tokens.shape == (4, SHAPE.batch_size, SHAPE.config.model.length + 1)
    assert 0 <= tokens.min() < tokens.max() < SHAPE.vocab_size
    counts = np.bincount(tokens.flatten(), minlength=SHAPE.vocab_size)
    assert counts[:16].sum() > counts[16:32].sum() > 0  # as of words: the first types are the frequent ones
    np.testing.assert_array_equal(tokens, draw_tokens(SHAPE))
    cut = cut_tokens(np.arange(tokens.size) % SHAPE.vocab_size, SHAPE)
    assert cut[0, 0, 5] == 5


@pytest.mark.medium  # compiles five contestants
def test_quick_run_writes_its_files(tmp_path):
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--rounds=1", f"--out={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "benchmark.json",
        "table.md",
        "figure.png",
        "figure.svg",
    }
    assert "| ours-film |" in done.stdout
