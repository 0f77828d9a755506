"""From the data settings to the corpus that they name."""

from dataclasses import replace

from aila_jax.config import QUESTION_SETTINGS, DataConfig
from aila_jax.data.cache import cache_directory
from aila_jax.data.documents import Corpus
from aila_jax.data.paragraphs import join_lines


def load_corpus(config: DataConfig) -> Corpus:
    """Reads (and prepares, the first time) the corpus `config.corpus`.

    Raises:
      ValueError: whatever is wrong with its files or its network, with the fix.
    """
    return _READERS[config.corpus](config)


def _pydocs(config: DataConfig) -> Corpus:
    # Imported where it is needed: TensorFlow Datasets takes half a second, and text files do without.
    from aila_jax.data.pydocs import read_pydocs

    splits = read_pydocs(cache_directory(config.cache_dir) / "prepared")
    if config.join_lines:
        splits = {
            split: tuple(replace(document, pieces=join_lines(document.pieces)) for document in documents)
            for split, documents in splits.items()
        }
    return Corpus("pydocs", splits)


def _wikitext2(config: DataConfig) -> Corpus:
    from aila_jax.data.wikitext2 import read_wikitext2

    return Corpus(
        "wikitext2",
        read_wikitext2(config.data_dir, config.url, cache_directory(config.cache_dir) / "prepared"),
    )


def _text(config: DataConfig) -> Corpus:
    from aila_jax.data.text_files import read_text_files

    return read_text_files(config)


def _conllu(config: DataConfig) -> Corpus:
    from aila_jax.data.conllu_blocks import read_conllu_files

    return read_conllu_files(config)


def _rules(config: DataConfig) -> Corpus:
    from aila_jax.data.rule_corpora import generate_rule_corpus

    return generate_rule_corpus(config)


def _questions(config: DataConfig) -> Corpus:
    from aila_jax.data.questions.corpora import read_questions

    return read_questions(config)


def _tfds(config: DataConfig) -> Corpus:
    from aila_jax.data.tfds_corpus import read_tfds

    return read_tfds(config, cache_directory(config.cache_dir) / "prepared" / "tfds")


_READERS = {
    "pydocs": _pydocs,
    "wikitext2": _wikitext2,
    "text": _text,
    "conllu": _conllu,
    "recall": _rules,
    "brackets": _rules,
    "tfds": _tfds,
    **dict.fromkeys(QUESTION_SETTINGS, _questions),
}
