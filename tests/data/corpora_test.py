"""Tests of the choice of a corpus by its name."""

import typing

from aila_jax.config import DataConfig
from aila_jax.data.corpora import load_corpus
from aila_jax.data.documents import SPLITS


def test_the_default_is_the_embedded_corpus(pydocs, shared_cache):
    corpus = load_corpus(DataConfig(cache_dir=shared_cache))
    assert corpus.name == pydocs.name == "pydocs"
    assert tuple(corpus.splits) == SPLITS


def test_every_corpus_of_the_settings_has_a_reader(tmp_path):
    from aila_jax.data import corpora

    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n")
    needed = {"text": {"files": (str(tmp_path / "a.txt"),)}, "tfds": {"tfds_name": "some"}}
    needed["conllu"] = needed["question_files"] = needed["text"]
    needed |= {name: {"tokenizer": "word"} for name in ("recall", "brackets")}
    for name in corpora._READERS:
        DataConfig(corpus=name, **needed.get(name, {}))  # raises for a name the settings do not know
    assert (
        typing.cast(str, load_corpus(DataConfig(corpus="text", files=(str(tmp_path / "a.txt"),))).name)
        == "text"
    )
