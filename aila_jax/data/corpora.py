"""From a DataConfig to its Corpus."""

from aila_jax.config import DataConfig
from aila_jax.data.documents import Corpus
from aila_jax.data.wikitext2 import read_wikitext2


def load_corpus(config: DataConfig) -> Corpus:
    """The corpus that `config.corpus` names."""
    return Corpus(config.corpus, read_wikitext2(config.data_dir))
