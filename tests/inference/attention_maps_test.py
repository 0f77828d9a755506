"""Attention maps of a text: what a row of weights is, that the statistics are those of the weights, and one
compilation.
"""

import json
import re
from dataclasses import replace

import jax
import numpy as np
import pytest

from aila_jax.config import PartitionConfig
from aila_jax.config.options import ReportOptions
from aila_jax.data.dataset import encode_documents
from aila_jax.data.documents import Document
from aila_jax.evaluation.certify import certify
from aila_jax.inference import language_model, rows
from aila_jax.inference.attention_maps import AttentionMaps
from aila_jax.inference.language_model import LanguageModel
from aila_jax.inference.sampling import Drawn
from aila_jax.partition.kinds import line_blocks
from aila_jax.runs._reading import PageGrid, read_page_text
from tests.support.untrained import untrained_model

TEXT = "the old owl saw my brother in the garden ."
LAMS = (0.0, 0.3, 1.0)


def remade(model, kind, **changes):
    """The same weights under the partition `kind` and changed model settings."""
    config = replace(
        model.config, partition=PartitionConfig(kind=kind), model=replace(model.config.model, **changes)
    )
    return replace(model, config=config)


def recomputed(maps: AttentionMaps) -> tuple[np.ndarray, np.ndarray]:
    """Entropy (bits) and block mass of each layer and head from the weights alone, in float64."""
    weights, ids = maps.weights.astype(np.float64), maps.block_ids
    bits = -np.sum(weights * np.log2(weights, out=np.zeros_like(weights), where=weights > 0), axis=-1)
    same = (ids[:, None] == ids[None, :]) | (ids[:, None] == -2) | (ids[None, :] == -2)
    real = ids != -1
    return bits[..., real].mean(-1), np.sum(weights * same, axis=-1)[..., real].mean(-1)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return untrained_model()


@pytest.fixture(scope="module")
def dialled(model) -> tuple[AttentionMaps, ...]:
    return model.attention_dial(TEXT, lams=LAMS, tau=0.7)


def test_rows_sum_to_one_and_nothing_lies_above_the_diagonal(model, dialled):
    length = len(model.tokenizer.encode(TEXT))
    for maps in dialled:
        assert maps.weights.shape == (2, 2, length, length)
        assert maps.weights.dtype == np.float32
        np.testing.assert_allclose(maps.weights.sum(-1, dtype=np.float64), 1.0, atol=1e-6)
        assert np.all(maps.weights[..., *np.triu_indices(length, 1)] == 0.0)
        assert maps.causal


def test_entropy_and_block_mass_are_those_of_the_weights(dialled):
    for maps in dialled:
        entropy, mass = recomputed(maps)
        np.testing.assert_allclose(maps.entropy_bits, entropy, atol=1e-5)
        np.testing.assert_allclose(maps.block_mass, mass, atol=1e-6)
    assert np.all(dialled[2].block_mass > dialled[0].block_mass)


def test_token_ids_that_are_no_whole_numbers_are_refused(model, unchecked_shapes):
    with pytest.raises(ValueError, match=r"tokens"):
        model.attention([1.9, 2.7])


def test_tokens_and_blocks_are_those_of_the_text(model, dialled):
    assert "".join(dialled[0].tokens) == TEXT
    np.testing.assert_array_equal(dialled[0].block_ids, np.arange(len(dialled[0].tokens)) // 5)
    lines = model.attention([*model.tokenizer.encode("a dog\nthe"), model.tokenizer.eos_id])
    assert "".join(lines.tokens) == "a dog\nthe\n"


def test_each_lam_is_that_lam_alone_and_the_statistics_of_apply(model, dialled):
    ids = np.asarray([model.tokenizer.encode(TEXT)], np.int32)
    for lam, maps in zip(LAMS, dialled, strict=True):
        assert (maps.lam, maps.tau) == (lam, 0.7)
        alone = model.attention(TEXT, lam=lam, tau=0.7)
        np.testing.assert_allclose(maps.weights, alone.weights, rtol=1e-4, atol=1e-6)
        stats = jax.device_get(model.apply(ids, lam=lam, tau=0.7).stats)
        np.testing.assert_allclose(
            maps.entropy_bits, np.mean(stats.entropy_bits[:, 0], axis=-1, dtype=np.float64), atol=1e-5
        )
        np.testing.assert_allclose(
            maps.block_mass, np.mean(stats.block_mass[:, 0], axis=-1, dtype=np.float64), atol=1e-5
        )


def test_other_values_of_lam_and_tau_do_not_recompile(model, dialled):
    before = language_model._apply._cache_size()
    for lams, tau in (((1, 0, 0.5), 2), ((np.float32(0.2), 0.4, 0.6), 0.5)):
        model.attention_dial(TEXT, lams=lams, tau=tau)
    assert language_model._apply._cache_size() == before


def test_a_line_end_closes_a_block_of_the_partition_given(model):
    given = remade(model, "given")
    text = "the cat\na dog\n\nthe"
    maps = given.attention(text, lam=1.0)
    ends = np.array([token == "\n" for token in maps.tokens])
    want = np.cumsum(ends) - ends  # a line end still belongs to its line
    np.testing.assert_array_equal(maps.block_ids, want)
    np.testing.assert_array_equal(line_blocks([7], 0), [0])
    own = np.arange(len(maps.tokens)) % 2
    own[0], own[-1] = -2, -1
    chosen = given.attention(text, lam=0.5, block_ids=own)
    np.testing.assert_array_equal(chosen.block_ids, own)
    entropy, mass = recomputed(chosen)
    np.testing.assert_allclose(chosen.entropy_bits, entropy, atol=1e-5)
    np.testing.assert_allclose(chosen.block_mass, mass, atol=1e-6)


def test_hard_blocks_leave_nothing_outside(model):
    maps = model.attention_dial(TEXT, lams=(1.0,), hard=True)[0]
    assert np.all(maps.weights[:, :, ~maps.inside] == 0.0)
    np.testing.assert_allclose(maps.block_mass, 1.0, atol=1e-6)


def test_a_bidirectional_model_says_that_it_is_none_of_the_causal_ones(model):
    maps = remade(model, "windows", bidirectional=True).attention(TEXT, lam=0.5)
    assert not maps.causal
    assert maps.weights[0, 0, 0, 1:].min() > 0
    np.testing.assert_allclose(maps.weights.sum(-1), 1.0, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "setting", "words"),
    [
        ("", {}, "text is ''; it must be at least one token"),
        ([], {}, "text is []; it must be at least one token"),
        ("the cat " * 30, {}, "the model reads at most 24"),
        ([300], {}, "tokens holds the id 300; ids run from 0 to 299"),
        ([2**32 + 5], {}, "tokens holds the id 4294967301; ids run from 0 to 299"),
        (TEXT, {"lams": 0.5}, "lams is 0.5; it must be at least one λ"),
        (TEXT, {"lams": ()}, "lams is (); it must be at least one λ"),
        (TEXT, {"lams": (0.5, 1.5)}, "it must be in [0, 1]"),
        (TEXT, {"tau": 0.0}, "tau is 0.0; it must be from 1e-06 to 1e"),
        (TEXT, {"block_ids": [0] * 21}, "block_ids is given, but this model's partition is 'windows'"),
    ],
)
def test_what_is_outside_its_limits_is_refused(model, unchecked_shapes, text, setting, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        model.attention_dial(text, **setting)


def test_maps_that_do_not_fit_together_are_refused(dialled, unchecked_shapes):
    with pytest.raises(
        ValueError, match=r"AttentionMaps\.block_mass\.shape is \(3,\); it must be \(2, 2\) for"
    ):
        replace(dialled[0], block_mass=np.zeros(3))


def trained_on(given: str, model: LanguageModel) -> LanguageModel:
    """The model read by the corpus's own blocks, as a run that was trained on such ones."""
    made = remade(model, "given")
    return replace(made, meta={**made.meta, "data": {"given": given}})


@pytest.mark.parametrize("given", ["fields", "unknown"])
def test_a_text_has_the_blocks_of_training_or_none(model, given):
    """Case `fields.py`: a field of several lines was cut at every line end, without a word."""
    fields, lines = trained_on(given, model), trained_on("lines", model)
    parts = ("the cat", "a dog\nthe sea", "the")
    text, record = "\n".join(parts), json.dumps({"blocks": parts})
    stream = encode_documents(model.tokenizer, [Document("d", parts)])
    for read in (
        fields.attention,
        fields.generate,
        lambda text: certify(fields, 1.0, text=text),
        lambda text: read_page_text(fields, ReportOptions(text=text), PageGrid((0.0,), (1.0,), 1.0, False)),
    ):
        with pytest.raises(
            ValueError, match=r"block_ids is None; it must be given for a text with line ends"
        ):
            read(text)
    maps = fields.attention(record, lam=1.0)
    assert "".join(maps.tokens) == text
    np.testing.assert_array_equal(maps.block_ids, stream.given_ids[:-1])
    np.testing.assert_array_equal(
        fields.attention(text, block_ids=stream.given_ids[:-1].tolist()).block_ids, maps.block_ids
    )
    assert lines.attention(text).block_ids.max() == 3
    assert fields.attention("the cat").block_ids.max() == 0  # a text without a line end is one block
    np.testing.assert_array_equal(
        certify(fields, 1.0, text=record).counts.n_in,
        certify(fields, 1.0, text=text, block_ids=maps.block_ids.tolist()).counts.n_in,
    )


def test_a_continuation_belongs_to_the_last_block_of_its_prompt(model, monkeypatch):
    seen, ends = [], model.tokenizer.eos_id

    def says_line_ends(*given):
        used = given[5][0] + 1
        seen.append([ids[0, :used].tolist() for ids in (given[2].tokens, given[2].given_ids)])
        return Drawn(np.array([ends])), given[-1]

    monkeypatch.setattr(rows, "_next_tokens", says_line_ends)
    prompt = json.dumps({"blocks": ["the", "a\ncat"]})
    trained_on("fields", model).generate(prompt, lam=1.0, max_tokens=3)
    blocks = seen[-1][1]
    assert blocks[0] == 0 and set(blocks[2:]) == {1} and len(blocks) == len(seen[-1][0])
    trained_on("lines", model).generate("the\na", lam=1.0, max_tokens=3)
    assert seen[-1][1] == line_blocks(seen[-1][0], ends).tolist()
    with pytest.raises(ValueError, match=r"blocks are the annotation's classes"):
        trained_on("classes", model).generate("the", max_tokens=1)
    ids = [5] * len(model.tokenizer.encode("the cat"))
    trained_on("classes", model).generate("the cat", max_tokens=2, block_ids=ids)
    assert seen[-1][1] == [5] * (len(ids) + 1)
    with pytest.raises(ValueError, match=r"block_ids is .* left out where the partition is 'windows'"):
        remade(model, "windows").generate("the cat", max_tokens=2, block_ids=ids)


def test_a_lam_that_is_given_twice_is_taken_once(model) -> None:
    assert [one.lam for one in model.attention_dial(TEXT, lams=(1, 0, 1.0))] == [1.0, 0.0]
