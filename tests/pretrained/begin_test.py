"""What a pretrained model is measured on has the begin token first: windows of a corpus, of long texts, and
those of a continuation.
"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import aila_jax as aila
from aila_jax.config import PartitionConfig, RelationConfig
from aila_jax.config.options import CertifyOptions, GenerateOptions
from aila_jax.data.dataset import Dataset
from aila_jax.evaluation.certify import scored_batches
from aila_jax.evaluation.resampling import choose_queries
from aila_jax.inference.corpus import split_windows, windows_of
from aila_jax.inference.inputs import read_text
from aila_jax.inference.language_model import LanguageModel
from aila_jax.runs._start import begin_from
from tests.support.tiny import sentences

FILES = Path(__file__).parent / "files"
LENGTH, BEGIN = 24, 0
LONG = sentences(4, 3)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return aila.from_pretrained(FILES / "mistral", length=LENGTH)


@pytest.fixture(scope="module")
def dataset(model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """One document a split."""
    folder = tmp_path_factory.mktemp("corpus")
    files = {}
    for seed, name in enumerate(("files", "valid_files", "test_files")):
        (folder / f"{name}.txt").write_text(sentences(9, seed))
        files[name] = (str(folder / f"{name}.txt"),)
    data = replace(model.config.data, corpus="text", cache_dir=str(folder / "cache"), **files)
    return aila.load_dataset(data, model.tokenizer)


def surprisals(model: LanguageModel, before: list[int], targets: list[int], lam: float) -> list[float]:
    """−log p of what follows each token of a window, by `apply`."""
    logits = np.asarray(model.apply(np.int32([before]), lam=lam).logits, np.float64)[0]
    log = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return (-log[np.arange(len(targets)), targets]).tolist()


def by_hand(model: LanguageModel, ids: list[int], lam: float) -> list[float]:
    """Those of all tokens but the first, in windows of a begin token and LENGTH − 1 others."""
    found: list[float] = []
    for at in range(0, len(ids) - 1, LENGTH - 1):
        window = ids[at : min(at + LENGTH - 1, len(ids) - 1)]
        # What stands at the begin token was predicted at the end of the window before.
        found += surprisals(model, [BEGIN, *window], [ids[at], *ids[at + 1 : at + 1 + len(window)]], lam)[1:]
    return found


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_a_sweep_scores_windows_that_begin_with_it(
    model: LanguageModel, dataset: Dataset, lam: float
) -> None:
    result = aila.sweep(
        model, dataset, lams=(lam,), taus=(1.0,), split="validation", batch_size=4, quiet=True
    )
    ids = dataset.splits["validation"].tokens.tolist()
    nats = by_hand(model, ids, lam)
    assert result.cells[0].targets == len(nats) == len(ids) - 1
    assert result.cells[0].loss == pytest.approx(np.mean(nats), rel=1e-4)


def test_everything_reads_such_windows(model: LanguageModel, dataset: Dataset) -> None:
    for windows in (windows_of(model, dataset, "test"), split_windows(model.config, dataset, "train")):
        assert (windows.batch.tokens[:, 0] == BEGIN).all() and windows.n_targets > 0
        inside = (windows.batch.tokens == BEGIN) & (windows.batch.doc_ids >= 0)
        assert inside.sum() == len(windows)
    options = CertifyOptions(bound="empirical", batch_size=2)
    for batch in scored_batches(model, dataset, options.reading(model.config)):
        assert (batch.tokens[batch.doc_ids[:, 0] >= 0, 0] == BEGIN).all()


def test_another_begin_token_is_refused(model: LanguageModel, dataset: Dataset) -> None:
    config = replace(model.config, data=replace(model.config.data, begin="<start>"))
    with pytest.raises(ValueError, match="type is '<start>'; it must be one of its 280 types"):
        split_windows(config, dataset, "train")


@pytest.mark.parametrize("stride", [None, 7, LENGTH - 1])
def test_every_window_of_a_long_text_begins_with_it(model: LanguageModel, stride: int | None) -> None:
    ids, step = model.tokenizer.encode(LONG), stride or LENGTH // 2
    [found] = model.score(LONG, lam=1.0, stride=stride)
    expected, context = [math.nan], [0]
    for place, token in enumerate(ids):
        number = max(math.ceil((place - (LENGTH - 1)) / step), 0)
        start = number * step
        expected.append(
            surprisals(model, [BEGIN, *ids[start:place]], [BEGIN] * (place - start) + [token], 1.0)[-1]
        )
        context.append(place - start + 1)
    np.testing.assert_allclose(found.surprisal, expected, rtol=1e-4, atol=1e-4)
    assert found.context.tolist() == context and max(context) == LENGTH
    with pytest.raises(ValueError, match="at most 23, what the model reads at once after a begin token"):
        model.score(LONG, stride=LENGTH)


def test_it_is_a_word_by_itself(model: LanguageModel) -> None:
    maps = model.attention("The cat saw", lam=1.0).by_word()
    assert [token.strip() for token in maps.tokens] == ["<|endoftext|>", "The", "cat", "saw"]
    [found] = model.score("The cat saw")
    assert found.tokens.words.tolist()[:2] == [0, 1]


def test_a_sink_needs_one(tmp_path: Path) -> None:
    plain = aila.from_pretrained(FILES / "mistral", length=24, relation=RelationConfig(), begin="")
    assert plain.config.data.begin == ""
    with pytest.raises(ValueError, match=r"relation.sink is True; it must be False for a pretrained model"):
        plain.with_relation(RelationConfig(sink=True))
    chosen = aila.from_pretrained(FILES / "mistral", length=24, begin="Ġthe")
    assert chosen.tokenizer.type_id("Ġthe") == read_text(chosen, "a")[0][0]
    config = replace(chosen.config, data=replace(chosen.config.data, begin=""))
    with pytest.raises(ValueError, match=r"relation.sink is True.*--config.data.begin="):
        begin_from(FILES / "mistral", config)
    begun = begin_from(FILES / "mistral", replace(config, relation=RelationConfig()))
    assert begun.lineage[0].run == "mistral"


def test_a_line_end_comes_after_it(model: LanguageModel) -> None:
    ids, end = model.tokenizer.encode("The cat saw"), model.tokenizer.eos_id
    [found] = model.score("The cat saw", line_start=True)
    expected = surprisals(model, [BEGIN, end, *ids[:-1]], [end, *ids], 0.0)[1:]
    np.testing.assert_allclose(found.surprisal, expected, atol=1e-4)


def test_a_continuation_beyond_the_window_keeps_it(model: LanguageModel) -> None:
    """The argmax of full passes, each window with the begin token first; and what has been in reach, by a
    walk over these windows in blocks of 5: a token depends on the begin token, on its last block, and each
    drawn one on its own.
    """
    model = model.with_partition(PartitionConfig(size=5))
    options = GenerateOptions(max_tokens=40, sample_temperature=0.0, lam=1.0)
    made = model.continuations("The cat saw the old owl.", options)[0][0]
    ids, first, start = list(made.ids[: made.prompt_tokens]), made.prompt_tokens, 0
    found, whole = model.reach(made), {}
    for drawn in range(first, first + 40):
        lead = int(start > 0)
        if len(ids) - start + lead >= LENGTH:
            start, lead = len(ids) - LENGTH // 2, 1
        window = [BEGIN] * lead + ids[start:]
        logits = model.apply(np.int32([window]), lam=1.0).logits
        ids.append(int(np.asarray(logits)[0, -1].argmax()))
        own = [place + start - lead for place in range((len(window) - 1) // 5 * 5, len(window))]
        own = [0, *(place for place in own if place >= start)]
        whole[drawn] = set(own).union(*(whole[s] for s in own if s >= first))
        assert set(found.tokens(drawn - 1).tolist()) == whole[drawn]
    assert made.dropped >= 2 and list(made.ids) == ids


def test_it_is_never_resampled(model: LanguageModel, dataset: Dataset) -> None:
    """Blocks of 4 without a sink leave it outside; all else there is resampled."""
    plain = model.with_partition(PartitionConfig(size=4)).with_relation(RelationConfig())
    queries = choose_queries(plain, windows_of(plain, dataset, "test"), 8, seed=0)
    outside = np.arange(LENGTH)[None] < (queries.at // 4 * 4)[:, None]
    outside[:, 0] = False
    np.testing.assert_array_equal(queries.resampled[0], outside)
