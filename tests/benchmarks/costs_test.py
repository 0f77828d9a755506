"""The costs of jobs: each is measured in a process of its own, and one that fails says so."""

from dataclasses import replace

import pytest

from aila_jax import presets
from aila_jax.config import Config
from benchmarks.costs import certificate_job, measure, recruitment_job, table
from benchmarks.record import Machine
from tests.support.tiny import make_config, write_corpus


def failing_job(config: Config):
    raise ValueError("no such job")


@pytest.mark.medium  # starts a process for each job
def test_jobs_are_measured_where_they_run(tmp_path) -> None:
    small = replace(presets.small(), model=replace(presets.small().model, length=8, d_model=16, d_ff=16))
    corpus = make_config(write_corpus(tmp_path / "text"))
    costs = [
        measure("a certificate", certificate_job, small, 2),
        measure("recruitment", recruitment_job, corpus, 1),
    ]
    assert all(
        cost.seconds > 0 and cost.processor_seconds > 0 and 2**24 < cost.peak_resident_bytes < 2**33
        for cost in costs
    )
    assert costs[0].what == "2 layers, 4 heads, width 16, 8 positions"
    assert "of 300 types" in costs[1].what
    text = table(costs, Machine("a processor", 2, 2**30, "Linux", "cpu", 0.5, 1.0))
    assert "| a certificate | 2 layers, 4 heads, width 16, 8 positions |" in text


@pytest.mark.medium
def test_a_job_that_fails_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="the job 'none' ended without a result"):
        measure("none", failing_job, presets.small(), 1)
