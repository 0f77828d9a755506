"""Attention figures, read back from their images, outlines and texts. The maps are SYNTHETIC: drawn at
random, no model was run.
"""

import dataclasses
import re

import numpy as np
import pytest

from aila_jax.config import DataConfig
from aila_jax.data.documents import Document
from aila_jax.data.tokenizer import train_tokenizer
from aila_jax.inference.attention_maps import AttentionMaps
from aila_jax.reporting.plots_attention import (
    MAX_LABELLED_TOKENS,
    attention_figure,
    block_edges,
    token_label,
)
from tests.reporting.conftest import synthetic_maps


def panels(fig):
    return [axes for axes in fig.axes if axes.images]


def test_each_map_holds_the_weights_of_its_head_and_the_future_is_blank() -> None:
    maps = synthetic_maps(shape=(2, 3))
    drawn = panels(attention_figure(maps))
    assert len(drawn) == 6
    future = np.triu(np.ones((7, 7), bool), 1)
    for index, axes in enumerate(drawn):
        layer, head = divmod(index, 3)
        image = axes.images[0].get_array()
        np.testing.assert_array_equal(np.ma.getmaskarray(image), future)
        np.testing.assert_array_equal(image.data[~future], maps.weights[layer, head][~future])
        assert (
            axes.get_title()
            == f"layer {layer}, head {head}\n{maps.entropy_bits[layer, head]:.2f} bits, block mass"
            f" {100 * maps.block_mass[layer, head]:.1f} %"
        )


def test_the_colour_is_the_root_of_the_weight_in_every_map() -> None:
    fig = attention_figure(synthetic_maps(shape=(2, 2)))
    for axes in panels(fig):
        norm = axes.images[0].norm
        np.testing.assert_allclose(norm([0.0, 0.01, 0.25, 1.0]), [0.0, 0.1, 0.5, 1.0])
    assert "square-root" in fig.axes[-1].get_ylabel()
    assert fig.get_suptitle() == "λ = 0.4, τ = 0.7"


def test_a_layer_or_head_that_is_given_twice_is_drawn_once() -> None:
    figure = attention_figure(synthetic_maps((2, 3)), layers=(1, 1), heads=(0, 2, 0))
    titled = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert [title.split("\n")[0] for title in titled] == ["layer 1, head 0", "layer 1, head 2"]


def test_layers_and_heads_can_be_chosen() -> None:
    titles = [
        axes.get_title().split("\n")[0]
        for axes in panels(attention_figure(synthetic_maps(shape=(3, 4)), layers=[2, 0], heads=[3]))
    ]
    assert titles == ["layer 2, head 3", "layer 0, head 3"]


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"layers": [2]}, "layers is [2]; it must be numbers from 0 to 1. Fix: leave layers out to see all"),
        ({"heads": [-1]}, "heads is [-1]; it must be numbers from 0 to 2"),
        ({"heads": []}, "heads is []; it must be numbers from 0 to 2"),
        ({"layers": [0.5]}, "layers is [0.5]; it must be numbers from 0 to 1"),
    ],
)
def test_layers_and_heads_that_are_not_there_are_refused(chosen, words) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        attention_figure(synthetic_maps(shape=(2, 3)), **chosen)


def test_too_many_maps_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"layers × heads is 272; it must be at most 256 maps. Fix: choose some"
    ):
        attention_figure(synthetic_maps(shape=(17, 16)))


def cells_within(edges, size: int) -> np.ndarray:
    """Which cells the outline encloses: a cell is inside where an odd number of upright segments lies left of
    its middle.
    """
    upright = [(x, min(a, b), max(a, b)) for (x, a), (other, b) in edges if x == other]
    inside = np.zeros((size, size), bool)
    for t, j in np.ndindex(size, size):
        inside[t, j] = sum(x < j and low < t < high for x, low, high in upright) % 2
    return inside


@pytest.mark.parametrize(
    "ids", [[0, 0, 0, 1, 1, 1, 2], [0, 1, 0, 1, 2, 2, 0], [-2, 0, 0, 1, -2, 1, -1], [3, 3, 3, 3, 3, 3, 3]]
)
@pytest.mark.parametrize("causal", [True, False])
def test_the_outline_encloses_the_keys_of_the_querys_block(ids: list[int], causal: bool) -> None:
    maps = synthetic_maps(block_ids=ids, causal=causal)
    want = np.zeros((7, 7), bool)
    for t, j in np.ndindex(7, 7):
        seen = t == j or ((not causal or j <= t) and -1 not in (ids[t], ids[j]))
        want[t, j] = seen and (ids[t] == ids[j] or -2 in (ids[t], ids[j]))
    edges = block_edges(maps.inside)
    np.testing.assert_array_equal(cells_within(edges, 7), want)
    np.testing.assert_array_equal(cells_within([((a, b), (c, d)) for (b, a), (d, c) in edges], 7), want.T)
    drawn = panels(attention_figure(maps))[0].collections[0].get_segments()
    np.testing.assert_array_equal(
        np.sort(np.reshape(drawn, (-1, 4)), axis=0), np.sort(np.reshape(edges, (-1, 4)), axis=0)
    )


def test_tokens_are_written_out_where_they_are_few() -> None:
    maps = synthetic_maps()
    few = panels(
        attention_figure(
            dataclasses.replace(maps, tokens=(" $x^2$", "\n", "b", "c", "d", "e", "a_long_word_indeed"))
        )
    )[0]
    labels = ["␣$x^2$", "⏎", "b", "c", "d", "e", "a_long_wo…"]
    assert (
        [label.get_text() for label in few.get_yticklabels()]
        == labels
        == [label.get_text() for label in few.get_xticklabels()]
    )
    assert not any(label.get_parse_math() for label in few.get_yticklabels())
    many = panels(attention_figure(synthetic_maps(length=MAX_LABELLED_TOKENS + 1)))[0]
    assert (many.get_xlabel(), many.get_ylabel()) == ("key", "query")
    assert token_label("\x07é\t\u200b") == "<07>é⇥<20…"


def test_tokens_that_are_parts_of_a_character_have_labels_that_differ() -> None:
    """Case `token_labels.py`: "�" for each of them."""
    tokenizer = train_tokenizer(DataConfig(vocab_size=300), [Document("", ("plain letters only",) * 5)])
    ids = tokenizer.encode("中é")
    labels = [token_label(tokenizer.decode([token])) for token in ids]
    assert labels == ["<E4>", "<B8>", "<AD>", "<C3>", "<A9>"]
    every_byte = range(1, 257)  # the line end is 0
    assert len({token_label(tokenizer.decode([token])) for token in every_byte}) == 256


def test_a_model_without_a_causal_mask_is_named_so() -> None:
    fig = attention_figure(synthetic_maps(causal=False))
    assert fig.get_suptitle() == "λ = 0.4, τ = 0.7 (not causal: sees its targets)"
    assert not np.ma.getmaskarray(panels(fig)[0].images[0].get_array()).any()


def test_maps_are_frozen() -> None:
    maps = synthetic_maps()
    assert isinstance(maps, AttentionMaps)
    with pytest.raises(dataclasses.FrozenInstanceError):
        maps.lam = 1.0
