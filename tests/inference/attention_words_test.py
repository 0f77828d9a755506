"""Attention by word, means over heads and layers, several texts at once, and files of weights."""

import json
from dataclasses import replace

import numpy as np
import pytest

from aila_jax.config import PartitionConfig
from aila_jax.data.documents import Document
from aila_jax.data.tokenizer import train_tokenizer
from aila_jax.inference import language_model
from aila_jax.inference.attention_maps import AttentionMaps, load_maps, save_maps
from aila_jax.reporting import attention_figure, attention_page
from tests.support import frames
from tests.support.untrained import untrained_model

TEXT = "the old owl saw\nmy brother ."


@pytest.fixture(scope="module")
def model():
    return untrained_model()


@pytest.fixture(scope="module")
def dialled(model):
    return model.attention_dial(TEXT, lams=(0.0, 0.7), tau=0.8)


def by_hand(maps, ranges):
    """Loops over words: each query's mass on a word's keys, then the mean over a word's queries."""
    layers, heads = maps.weights.shape[:2]
    found = np.zeros((layers, heads, len(ranges), len(ranges)))
    for row, queries in enumerate(ranges):
        for column, keys in enumerate(ranges):
            for layer in range(layers):
                for head in range(heads):
                    masses = [
                        sum(float(maps.weights[layer, head, query, key]) for key in keys) for query in queries
                    ]
                    found[layer, head, row, column] = sum(masses) / len(masses)
    return found


def test_words_are_sums_over_keys_and_means_over_queries(dialled):
    words = ["the", " old", " owl", " saw", "\n", "my", " brother", " ."]
    assert "".join(words) == TEXT == "".join(dialled[0].tokens)
    ends = np.cumsum([len(word) for word in words])
    at = np.cumsum([0, *(len(token) for token in dialled[0].tokens)])[:-1]
    ranges = [
        [place for place, start in enumerate(at) if end - len(word) <= start < end]
        for word, end in zip(words, ends, strict=True)
    ]
    assert any(len(one) > 1 for one in ranges)
    for maps in dialled:
        made = maps.by_word()
        assert list(made.tokens) == words
        np.testing.assert_allclose(made.weights, by_hand(maps, ranges), atol=1e-6)
        np.testing.assert_allclose(made.weights.sum(-1), 1.0, atol=1e-5)
        assert not made.weights[..., ~made.reach].any()
        assert made.block_ids.tolist() == [maps.block_ids[one[0]] for one in ranges]
        np.testing.assert_array_equal(made.block_mass, maps.block_mass)
        assert "words, blocks" in repr(made)
    with pytest.raises(
        ValueError, match=r"AttentionMaps\.words is None; it must be known \(these are by words"
    ):
        dialled[0].by_word().by_word()


def test_a_vocabulary_of_words_has_a_word_a_token(model):
    data = replace(model.config.data, tokenizer="word")
    tokenizer = train_tokenizer(data, [Document("d", (TEXT,))])
    embedding = model.params["embedding"][: tokenizer.vocab_size]
    words = replace(model, tokenizer=tokenizer, params={**model.params, "embedding": embedding})
    maps = words.attention("the old owl saw\nmy")
    np.testing.assert_array_equal(maps.by_word().weights, maps.weights)


def test_means_over_heads_and_layers(dialled):
    maps = dialled[1]
    heads, layers = maps.mean_heads(), maps.mean_layers()
    np.testing.assert_allclose(heads.weights[:, 0], (maps.weights[:, 0] + maps.weights[:, 1]) / 2, atol=1e-7)
    np.testing.assert_allclose(layers.weights[0], (maps.weights[0] + maps.weights[1]) / 2, atol=1e-7)
    both = maps.mean_heads().mean_layers()
    assert both.weights.shape[:2] == both.entropy_bits.shape == (1, 1)
    assert both.block_mass[0, 0] == pytest.approx(maps.block_mass.mean())
    np.testing.assert_allclose(both.weights[0, 0], maps.weights.mean((0, 1)), atol=1e-6)
    assert (heads.title(1, 0), layers.title(0, 1)) == ("layer 1, mean of heads", "mean of layers, head 1")
    assert "mean over heads and layers" in repr(both)
    figure = attention_figure(heads.by_word())
    assert figure.axes[0].get_title().startswith("layer 0, mean of heads")
    assert "brother" in attention_page([one.by_word().mean_heads() for one in dialled])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_list_of_texts_is_as_one_at_a_time(model, bidirectional):
    """Also where a query would see what a shorter text is filled up with."""
    shape = replace(model.config.model, bidirectional=bidirectional)
    model = replace(model, config=replace(model.config, model=shape))
    texts = [TEXT, "the cat", model.tokenizer.encode("a small dog near the river")]
    together = model.attention(texts, lam=0.6)
    assert [type(one) for one in together] == [AttentionMaps] * 3
    for text, maps in zip(texts, together, strict=True):
        alone = model.attention(text, lam=0.6)
        assert maps.tokens == alone.tokens
        np.testing.assert_array_equal(maps.block_ids, alone.block_ids)
        for name in ("weights", "entropy_bits", "block_mass"):
            np.testing.assert_allclose(getattr(maps, name), getattr(alone, name), atol=2e-6)


def test_texts_along_the_dial_at_once(model):
    texts = [TEXT, "the cat", model.tokenizer.encode("a small dog near the river")]
    dials = model.attention_dial(texts, lams=(0, 1))
    assert [[one.lam for one in maps] for maps in dials] == [[0.0, 1.0]] * 3
    for text, maps in zip(texts, dials, strict=True):
        for one, alone in zip(maps, model.attention_dial(text, lams=(0, 1)), strict=True):
            np.testing.assert_allclose(one.weights, alone.weights, atol=2e-6)
    model.attention(texts)
    before = language_model._apply._cache_size()
    model.attention(["the", *texts[::2]], lam=0.2)  # of the same shape
    assert language_model._apply._cache_size() == before


def test_blocks_of_a_list_of_texts(model):
    given = replace(
        model,
        config=replace(model.config, partition=PartitionConfig(kind="given")),
        meta={"data": {"given": "classes"}},
    )
    counts = [len(model.tokenizer.encode(text)) for text in ("the cat", TEXT)]
    ids = [[7] * counts[0], list(range(counts[1]))]
    together = given.attention(["the cat", TEXT], lam=1.0, block_ids=ids)
    assert [maps.block_ids.tolist() for maps in together] == ids
    alone = given.attention(TEXT, lam=1.0, block_ids=ids[1])
    np.testing.assert_allclose(together[1].weights, alone.weights, atol=2e-6)
    with pytest.raises(ValueError, match="blocks are the annotation's classes"):
        given.attention(["the cat", TEXT])
    with pytest.raises(ValueError, match="it must be 2 rows, one for each text"):
        given.attention(["the cat", TEXT], block_ids=ids[:1])


def test_weights_come_back_from_a_file(dialled, tmp_path):
    path = tmp_path / "new" / "weights.npz"
    save_maps(dialled, path)
    with np.load(path) as file:
        assert file["weights"].shape == (2, *dialled[0].weights.shape)
        assert file["lam"].tolist() == [0.0, 0.7]
        assert "".join(file["tokens"]) == TEXT
        np.testing.assert_array_equal(file["block_ids"], dialled[0].block_ids)
        np.testing.assert_array_equal(file["weights"][1], dialled[1].weights)
        assert float(file["tau"]) == 0.8
    for maps, back in zip(dialled, load_maps(path), strict=True):
        for name in ("weights", "block_ids", "entropy_bits", "block_mass"):
            np.testing.assert_array_equal(getattr(back, name), getattr(maps, name))
        for name in ("tokens", "lam", "tau", "causal", "source", "unit", "averaged"):
            assert getattr(back, name) == getattr(maps, name)
        np.testing.assert_array_equal(back.by_word().weights, maps.by_word().weights)
    with pytest.raises(ValueError, match="is '2 settings of the dial'; it must be a file of one"):
        AttentionMaps.load(path)


def test_one_map_by_word_comes_back(dialled, tmp_path):
    made = dialled[1].by_word().mean_heads()
    made.save(tmp_path / "one.npz")
    back = AttentionMaps.load(tmp_path / "one.npz")
    assert (back.tokens, back.unit, back.averaged, back.lam) == (made.tokens, "words", ("heads",), 0.7)
    np.testing.assert_array_equal(back.weights, made.weights)


@pytest.mark.parametrize("content", [b"", b"no zip", json.dumps({"weights": []}).encode()])
def test_a_file_that_holds_no_maps_is_refused(tmp_path, content):
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"holds no attention maps .* Fix: save them with"):
        load_maps(path)
    np.savez(path, weights=np.zeros(3))
    with pytest.raises(ValueError, match="holds no attention maps"):
        load_maps(path)


def test_a_frame_has_a_line_for_each_pair_that_may_attend(dialled, monkeypatch):
    frames.install(monkeypatch)
    maps = dialled[1]
    frame = maps.to_pandas()
    length = len(maps.tokens)
    assert len(frame["weight"]) == 4 * length * (length + 1) // 2
    for line in (0, 17, len(frame["weight"]) - 1):
        layer, head, query, key = (frame[name][line] for name in ("layer", "head", "query", "key"))
        assert frame["weight"][line] == maps.weights[layer, head, query, key]
        assert frame["query_text"][line] == maps.tokens[query]
        assert frame["key_text"][line] == maps.tokens[key]
        assert frame["inside"][line] == (maps.block_ids[query] == maps.block_ids[key])
    assert frame["lam"][0] == 0.7
