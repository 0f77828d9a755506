"""Fixtures of the data tests: a shared cache, the embedded corpus, a small stream."""

import numpy as np
import pytest

from aila_jax.config import DataConfig
from aila_jax.data.dataset import Dataset, load_dataset
from aila_jax.data.packing import TokenStream


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One cache directory for the whole session, so that the standard library is harvested once."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def pydocs(shared_cache: str) -> Dataset:
    return load_dataset(DataConfig(vocab_size=2048, cache_dir=shared_cache))


@pytest.fixture
def stream() -> TokenStream:
    """61 tokens in 4 documents and 9 pieces."""
    doc_ids = np.repeat(np.arange(4, dtype=np.int32), [10, 1, 30, 20])
    given_ids = np.repeat(np.arange(9, dtype=np.int32), [5, 5, 1, 10, 10, 10, 8, 8, 4])
    return TokenStream(np.arange(100, 161, dtype=np.int32), doc_ids, given_ids, words=61, bytes=200)
