"""What the tests of this folder share."""

import pytest

from aila_jax.inference import corpus
from aila_jax.runs import _train as training_run


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
