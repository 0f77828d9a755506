"""The samples of a page, in the folder that it is made from."""

import dataclasses
import json

import pytest

from aila_jax.reporting import write_sweep
from aila_jax.reporting.samples import read_samples, write_samples
from aila_jax.runs.page import report

SAMPLES = [{"lam": 0.5, "tau": 1.0, "prompt": "Once", "text": "upon a λ"}]


def page(folder, **given):
    return report(folder, folder / "report.html", **given).read_text(encoding="utf-8")


def test_a_page_that_is_made_again_keeps_its_samples(tmp_path, sweep):
    write_sweep(sweep, tmp_path)
    assert read_samples(tmp_path, sweep) is None
    write_samples(SAMPLES, tmp_path, sweep)
    assert read_samples(tmp_path, sweep) == SAMPLES
    assert "upon a λ" in page(tmp_path)
    assert "upon a λ" not in page(tmp_path, samples=[])


def test_samples_of_another_checkpoint_are_left_out_with_a_warning(tmp_path, sweep):
    write_samples(SAMPLES, tmp_path, sweep)
    later = dataclasses.replace(sweep, meta=dataclasses.replace(sweep.meta, checkpoint_step=99999))
    with pytest.warns(UserWarning, match=r"samples\.json is of run .*; the sweep of run .*, step 99999"):
        assert read_samples(tmp_path, later) is None


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"run": "x"}', '{"run": "x", "checkpoint_step": 1, "samples": 3}']
)
def test_a_damaged_file_is_refused(tmp_path, sweep, content):
    (tmp_path / "samples.json").write_text(content)
    with pytest.raises(ValueError, match=r"samples\.json is no file of samples.*Fix: remove it"):
        read_samples(tmp_path, sweep)


def test_a_sample_that_lacks_something_is_not_written(tmp_path, sweep):
    with pytest.raises(ValueError, match=r"samples\[0\] lacks text"):
        write_samples([{"lam": 0.0, "tau": 1.0, "prompt": "x"}], tmp_path, sweep)
    assert not (tmp_path / "samples.json").exists()


def test_numbers_and_texts_come_back(tmp_path, sweep):
    write_samples(SAMPLES, tmp_path, sweep)
    assert set(json.loads((tmp_path / "samples.json").read_text(encoding="utf-8"))) == {
        "run",
        "checkpoint_step",
        "samples",
    }
