"""Maps of a model with a relation: of which kind each key is, in each layer, against plain loops; by word,
averaged, on disk, in a figure and in the page's data.
"""

import base64

import numpy as np
import pytest

from aila_jax.config import RelationConfig
from aila_jax.inference.attention_maps import AttentionMaps
from aila_jax.inference.key_kinds import KeyKind, by_word
from aila_jax.inference.text_reading import ReadingGrid, read_over_dial, reading_of_maps
from aila_jax.reporting.page_data import reading_data
from aila_jax.reporting.plots_attention import attention_figure, block_edges
from tests.oracles.kinds import WindowRelation
from tests.support.untrained import untrained_model

TEXT = "the old owl saw my brother in the garden ."
CASES = {
    "ends, sink": (RelationConfig(pointers="ends", sink=True), WindowRelation(5, sink=True, ends=True)),
    "horizon": (RelationConfig(pointers="ends", horizon=1), WindowRelation(5, ends=True, horizon=1)),
    "shifted": (RelationConfig(shift=2, sink=True), WindowRelation(5, sink=True, shift=2)),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    relation, oracle = CASES[request.param]
    model = untrained_model().with_relation(relation)
    return model, oracle, model.attention_dial(TEXT, lams=(0.0, 1.0))


def kinds_of(oracle, length):
    found = np.zeros((2, length, length), np.uint8)
    for layer in range(2):
        masks = oracle.masks(layer, length)
        for name, kind in (("own", KeyKind.BLOCK), ("pointer", KeyKind.POINTER), ("sink", KeyKind.SINK)):
            found[layer][masks[name]] = kind
    return found


def test_each_key_has_its_kind_in_each_layer(case):
    _, oracle, maps = case
    want = kinds_of(oracle, len(maps[0].tokens))
    for one in maps:
        causal = np.tri(len(one.tokens), dtype=bool)
        np.testing.assert_array_equal(np.where(causal, one.kinds, 0), want)
        for layer in range(2):
            np.testing.assert_array_equal(one.inside_of(layer), want[layer] > 0)
            for kind in (KeyKind.POINTER, KeyKind.SINK):
                keys = sorted({key for key in range(len(one.tokens)) if (want[layer][:, key] == kind).any()})
                assert one.keys_of(kind, layer).tolist() == keys
        np.testing.assert_array_equal(one.inside, (want > 0).any(axis=0))
    mass = (maps[1].weights * (want > 0)[:, None]).sum(-1).mean(-1)
    np.testing.assert_allclose(mass, maps[1].block_mass, rtol=1e-5)


def test_several_texts_have_their_own(case):
    model, oracle, _ = case
    short, long = model.attention(["the old owl", TEXT], lam=1.0)
    for one in (short, long):
        causal = np.tri(len(one.tokens), dtype=bool)
        np.testing.assert_array_equal(np.where(causal, one.kinds, 0), kinds_of(oracle, len(one.tokens)))


def test_plain_blocks_have_none():
    maps = untrained_model().attention(TEXT)
    assert maps.kinds is None
    np.testing.assert_array_equal(maps.inside_of(1), maps.inside)
    assert not len(maps.keys_of(KeyKind.POINTER, 0))
    assert "kinds" not in reading_data(reading_of_maps([maps]))


def test_words_by_hand():
    """Words of tokens 0, 1–2, 3: the second is outside by its first token, and points by its last."""
    kinds = np.array([[[1, 0, 0, 0], [3, 1, 0, 0], [3, 1, 1, 0], [3, 0, 2, 1]]], np.uint8)
    found = by_word(kinds, np.array([0, 1, 3]))
    assert found.tolist() == [[[1, 0, 0], [3, 1, 0], [3, 2, 1]]]


def test_maps_by_word_and_means_keep_kinds(case):
    _, oracle, maps = case
    words = maps[1].by_word()
    first = np.flatnonzero(np.diff(maps[1].words.numbers, prepend=-1))
    assert words.kinds.shape == (2, len(first), len(first))
    inside = maps[1].kinds[:, first][:, :, first] > 0
    assert ((words.kinds > 0) >= inside).all()
    if oracle.ends:
        last = int(maps[1].words.numbers[4])  # of the first window, whose word need not begin there
        if first[last] + 1 < len(maps[1].tokens):
            assert (words.kinds[:, -1, last] == KeyKind.POINTER).any() or oracle.horizon < 10
    mean = maps[1].mean_layers()
    np.testing.assert_array_equal(mean.kinds[0], maps[1].kinds.max(axis=0))
    assert maps[1].mean_heads().kinds is maps[1].kinds


def test_they_come_back_from_disk(case, tmp_path):
    _, _, maps = case
    maps[0].save(tmp_path / "maps.npz")
    np.testing.assert_array_equal(AttentionMaps.load(tmp_path / "maps.npz").kinds, maps[0].kinds)
    untrained_model().attention(TEXT).save(tmp_path / "plain.npz")
    with np.load(tmp_path / "plain.npz") as file:
        assert "kinds" not in file
    assert AttentionMaps.load(tmp_path / "plain.npz").kinds is None


def test_a_figure_outlines_each_layer_and_marks_its_keys(case):
    _, oracle, maps = case
    figure = attention_figure(maps[1])
    for layer in range(2):
        axes = figure.axes[2 * layer]
        (edges,) = axes.collections
        drawn = {tuple(map(tuple, path.vertices)) for path in edges.get_paths()}
        assert drawn == set(block_edges(maps[1].inside_of(layer)))
        marked = {line.get_marker(): line.get_xdata().tolist() for line in axes.lines}
        want = {"v": maps[1].keys_of(KeyKind.POINTER, layer), "s": maps[1].keys_of(KeyKind.SINK, layer)}
        assert marked == {mark: keys.tolist() for mark, keys in want.items() if len(keys)}
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [
        "outline: inside",
        *(["pointer"] if oracle.ends else []),
        *(["sink"] if oracle.sink else []),
    ]
    assert not attention_figure(untrained_model().attention(TEXT)).legends


def test_the_page_has_them_by_layer(case):
    model, oracle, maps = case
    tokens = model.tokenizer.encode(TEXT)
    grid = ReadingGrid((0.0, 1.0), (1.0,), (1,), (0, 1))
    for reading, layers in ((read_over_dial(model, tokens, grid), [1]), (reading_of_maps(maps), [0, 1])):
        found = reading_data(reading)
        length = len(found["tokens"])
        want = kinds_of(oracle, length)[layers]
        kinds = np.frombuffer(base64.b64decode(found["kinds"]), np.uint8).reshape(len(layers), length, length)
        np.testing.assert_array_equal(kinds, want)
        assert found["layer_edges"] == [block_edges(one > 0) for one in want]
