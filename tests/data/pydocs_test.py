"""Tests of the embedded corpus: disjoint and stable splits, prepared anew when the library changes."""

from aila_jax.config import DataConfig
from aila_jax.data import pydocs as module
from aila_jax.data.corpora import load_corpus
from aila_jax.data.documents import Document
from aila_jax.data.pydocs import read_pydocs, split_of

FILES = {f"m{number}.py": f'"""Text number {number}."""'.encode() for number in range(60)}


def test_splits_share_no_text_and_have_their_shares(pydocs, shared_cache):
    corpus = load_corpus(DataConfig(cache_dir=shared_cache))
    words = {
        split: [" ".join(document.text.split()) for document in documents]
        for split, documents in corpus.splits.items()
    }
    everything = [text for texts in words.values() for text in texts]
    assert len(everything) == len(set(everything))
    assert 0.88 < len(words["train"]) / len(everything) < 0.92
    assert 0.04 < len(words["validation"]) / len(everything) < 0.065
    assert 0.04 < len(words["test"]) / len(everything) < 0.065
    for documents in corpus.splits.values():
        titles = [document.title for document in documents]
        assert titles == sorted(titles)


def test_split_depends_on_the_words_alone():
    splits = set()
    for number in range(200):
        variants = [
            Document("a", (f"word {number}", "end")),
            Document("b", (f" word   {number}", "", "end ")),
        ]
        assert split_of(variants[0]) == split_of(variants[1])
        splits.add(split_of(variants[0]))
    assert splits == {"train", "validation", "test"}


def test_a_changed_library_is_prepared_anew_and_the_same_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "source_files", lambda: FILES)
    first = read_pydocs(tmp_path)
    assert sum(len(documents) for documents in first.values()) == 60
    monkeypatch.setattr(module, "harvest", None)
    assert read_pydocs(tmp_path) == first
    monkeypatch.undo()
    monkeypatch.setattr(module, "source_files", lambda: {**FILES, "m0.py": b'"""Another text."""'})
    changed = read_pydocs(tmp_path)
    texts = {document.text for documents in changed.values() for document in documents}
    assert "Another text.\n" in texts
    assert "Text number 0.\n" not in texts
