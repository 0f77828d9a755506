"""Rule corpora: pointers checked by solving the rule again, splits, determinism, packing, and what is
refused.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax.config import DataConfig, RuleConfig
from aila_jax.data.dataset import load_dataset
from aila_jax.data.packing import pack
from aila_jax.data.pipeline import TrainBatches, eval_batches
from aila_jax.data.rule_corpora import generate_rule_corpus

SMALL = {
    "recall": RuleConfig(sequences=60, n_keys=6, n_values=5, pairs=4, queries=3),
    "brackets": RuleConfig(sequences=60, kinds=3, depth=3, brackets=5),
}


def config(corpus: str, cache: Path | str = "", **rule: int) -> DataConfig:
    return DataConfig(
        corpus=corpus, tokenizer="word", cache_dir=str(cache), rule=dataclasses.replace(SMALL[corpus], **rule)
    )


def solve_recall(words: list[str]) -> dict[int, int]:
    """Position of an asked key → position of its value, by looking the key up."""
    middle = words.index("|")
    return {t: words.index(words[t]) + 1 for t in range(middle + 1, len(words)) if words[t].startswith("k")}


def solve_brackets(words: list[str]) -> dict[int, int]:
    """Position of a cue → position of the opening bracket that closes there, by counting."""
    found = {}
    for t, word in enumerate(words):
        if word != ".":
            continue
        depth = 0
        for j in range(t - 1, -1, -1):
            depth += words[j].startswith(")") - words[j].startswith("(")
            if depth < 0:
                found[t] = j
                break
    return found


SOLVERS = {"recall": solve_recall, "brackets": solve_brackets}


@given(st.sampled_from(["recall", "brackets"]), st.integers(0, 2**16))
@settings(max_examples=20)
def test_pointers_are_what_solving_the_rule_gives(corpus: str, seed: int) -> None:
    made = generate_rule_corpus(config(corpus, seed=seed))
    assert made.pointers is not None
    for split, documents in made.splits.items():
        words = [[*document.pieces[0].split(), "<eos>"] for document in documents]
        flat = [word for line in words for word in line]
        starts = np.cumsum([0, *map(len, words[:-1])])
        want = np.full(len(flat), -1)
        for start, line in zip(starts, words, strict=True):
            for t, j in SOLVERS[corpus](line[:-1]).items():
                want[start + t] = start + j
                # The answer can be read there: the value itself, or the opening bracket of the same kind.
                assert (
                    line[t + 1] == line[j] if corpus == "recall" else line[t + 1] == line[j].replace("(", ")")
                )
        np.testing.assert_array_equal(made.pointers[split], want)


def test_every_sequence_follows_its_settings() -> None:
    for document in generate_rule_corpus(config("recall")).splits["train"]:
        words = document.pieces[0].split()
        asked = words[9::2]
        assert len(words) == 4 * 2 + 1 + 3 * 2
        assert len(set(words[0:8:2])) == 4
        assert len(set(asked)) == 3
        assert set(asked) <= set(words[0:8:2])
    deepest = 0
    for document in generate_rule_corpus(config("brackets")).splits["train"]:
        depth, most = 0, 0
        for word in document.pieces[0].split():
            depth += word.startswith("(") - word.startswith(")")
            most = max(most, depth)
        assert depth == 0
        deepest = max(deepest, most)
    assert deepest == 3


@pytest.mark.parametrize("corpus", ["recall", "brackets"])
def test_splits_share_no_sequence_and_the_seed_decides(corpus: str) -> None:
    one, again, other = (generate_rule_corpus(config(corpus, seed=seed)) for seed in (0, 0, 1))
    assert one.splits == again.splits
    assert one.splits != other.splits
    texts = [document.pieces for documents in one.splits.values() for document in documents]
    assert len(texts) == len(set(texts)) == 60 + 3 + 3


def test_more_sequences_than_there_are_are_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.rule\.sequences is too many.*gave 8"):
        generate_rule_corpus(config("brackets", kinds=2, depth=1, brackets=3, sequences=20))


def test_pointers_travel_to_the_batches(tmp_path: Path) -> None:
    """Windows of 16 are sequences of 15 words and their line end; every pointer stays, and the padding of the
    last batch has none.
    """
    settings = config("recall", tmp_path)
    dataset = load_dataset(settings)
    again = load_dataset(settings, dataset.tokenizer)  # from the cache, which holds no pointers
    np.testing.assert_array_equal(again.splits["test"].pointers, dataset.splits["test"].pointers)
    windows = dataset.windows("train", 16, document_mask=True)
    batch = next(TrainBatches(windows, 7, seed=0))
    for row in range(7):
        words = [dataset.tokenizer.decode([int(token)]) for token in batch.tokens[row]]
        want = SOLVERS["recall"](words[:15])
        assert {t: int(p) for t, p in enumerate(batch.pointers[row]) if p >= 0} == want
        assert all(batch.targets[row, t] == batch.tokens[row, p] for t, p in want.items())
    last = list(eval_batches(dataset.windows("test", 16, document_mask=True), 4))[-1]
    assert (last.doc_ids[-1] == -1).all()
    assert (last.pointers[-1] == -1).all()
    assert last.pointers.dtype == np.int32


def test_data_without_pointers_keeps_its_fingerprint(stream) -> None:
    """The fingerprint of a position in the training data, as it was before batches could hold pointers."""
    windows = pack(stream, 4, True, tokenizer="t")
    assert windows.batch.pointers is None
    known = dataclasses.replace(
        windows, batch=windows.batch.replace(pointers=np.full_like(windows.batch.tokens, -1))
    )
    plain, other = (TrainBatches(each, 5, seed=0).fingerprint for each in (windows, known))
    assert plain == "7c2a52a58c8a1312e7cfcfc51f46d1c70e6385be295d946a9e058b371403510f"
    assert other != plain


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"corpus": "recall", "tokenizer": "bpe"},
            "data.tokenizer is 'bpe'; it must be 'word' when data.corpus is 'recall'",
        ),
        ({"corpus": "brackets", "vocab_size": 8}, "data.vocab_size is 8; it must be at least 11"),
        (
            {"corpus": "brackets", "rule": RuleConfig(pairs=5)},
            "data.rule.pairs is 5; it must be left alone when data.corpus is 'brackets'",
        ),
        (
            {"corpus": "pydocs", "rule": RuleConfig(seed=3)},
            "data.rule.seed is 3; it must be left alone when data.corpus is 'pydocs'",
        ),
    ],
)
def test_settings_that_do_not_belong_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        DataConfig(**{"tokenizer": "word", **values})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pairs": 17}, r"data\.rule\.pairs is 17; it must be from 1 to data\.rule\.n_keys \(16\)"),
        ({"queries": 5}, r"data\.rule\.queries is 5; it must be from 1 to data\.rule\.pairs \(4\)"),
        ({"depth": 0}, "at least 1"),
        ({"seed": -1}, "at least 0"),
        ({"sequences": 0}, "at least 1"),
    ],
)
def test_rule_settings_have_limits(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RuleConfig(**values)
