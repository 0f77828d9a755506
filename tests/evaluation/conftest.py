"""Fixtures of the evaluation tests."""

import pytest

from tests.training.tiny import Trained, trained_once


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One finished tiny run."""
    return trained_once(tmp_path_factory)
