"""One finished run, shared by the tests of this folder."""

import pytest

from aila_jax.runs import corpus, training_run
from tests.training.tiny import Trained, trained_once


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One finished tiny run."""
    return trained_once(tmp_path_factory)


@pytest.fixture
def no_work(monkeypatch):
    """Fails the test where a data set is read or a run trained."""
    for module, name in (
        (training_run, "load_dataset"),
        (corpus, "load_dataset"),
        (training_run, "fit"),
        (training_run, "write_run_files"),
    ):
        monkeypatch.setattr(module, name, lambda *_, name=name, **__: pytest.fail(f"{name} was called"))
