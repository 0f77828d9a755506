"""A pretrained model with its dial: defaults, begin token, everything that a loaded model does, and as the
start of a run.
"""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.config import PartitionConfig, RelationConfig, TrainConfig
from aila_jax.config.options import GenerateOptions
from aila_jax.inference.inputs import read_text
from aila_jax.inference.language_model import LanguageModel
from aila_jax.pretrained.opened import usual_margin
from aila_jax.pretrained.source import sha256_of
from aila_jax.runs._start import begin_from, start_config
from tests.support.tiny import sentences

FILES = Path(__file__).parent / "files"
TEXT = "The cat saw the old owl. A small dog heard it."


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return aila.from_pretrained(FILES / "mistral", length=32)


def test_defaults(model: LanguageModel) -> None:
    config = model.config
    assert config.partition.settings == {"kind": "segments", "unit": "sentence", "global_first": False}
    assert config.relation == RelationConfig(sink=True)
    margin = config.model.margin
    assert (margin.form, margin.c, margin.gate) == ("self_scaling", 1.0, 1.0)
    assert config.model.length == 32 and aila.from_pretrained(FILES / "gpt2").config.model.length == 48


@pytest.mark.parametrize(("length", "nats"), [(256, 7.1), (2048, 9.2), (1, 0.0)])
def test_the_margin_is_that_of_the_length(length: int, nats: float) -> None:
    """method, section 14."""
    assert usual_margin(length).m0 == nats


def test_meta_names_the_source(model: LanguageModel) -> None:
    found = model.meta["pretrained"]
    file = FILES / "mistral" / "model.safetensors"
    assert found["path"] == str(FILES / "mistral") and found["files"] == {file.name: sha256_of(file)}
    json.dumps(model.meta)
    assert model.run == "mistral"


def test_a_text_has_the_begin_token_before_it(model: LanguageModel) -> None:
    own = model.tokenizer.encode(TEXT)
    assert read_text(model, TEXT)[0] == [0, *own]
    assert read_text(model, own)[0] == own  # ids are taken as they are
    assert model.attention(TEXT, lam=1.0).tokens[0] == "<|endoftext|>"
    [[found]] = model.continuations(TEXT, GenerateOptions(max_tokens=2))
    assert found.ids[: len(own) + 1] == (0, *own) and found.prompt_tokens == len(own) + 1
    plain = replace(model, config=replace(model.config, data=replace(model.config.data, begin="")))
    assert read_text(plain, TEXT)[0] == own


def test_scores_are_of_the_text_after_its_begin_token(model: LanguageModel) -> None:
    [found] = model.score(TEXT, lam=0.0)
    logits = np.asarray(model.apply(np.array([read_text(model, TEXT)[0]], np.int32)).logits, np.float64)[0]
    own = model.tokenizer.encode(TEXT)
    log = logits[:-1] - np.log(np.exp(logits[:-1]).sum(-1, keepdims=True))
    expected = -log[np.arange(len(own)), own]
    assert np.isnan(found.surprisal[0]) and np.allclose(found.surprisal[1:], expected, atol=1e-4)
    spans = found.tokens.spans
    assert found.tokens.text == TEXT and spans is not None and spans[0].tolist() == [0, 0]
    assert "".join(TEXT[first:last] for first, last in spans) == TEXT


def test_every_part_of_the_dial_works_untrained(model: LanguageModel) -> None:
    mass = {}
    ids = np.array([read_text(model, TEXT)[0]], np.int32)
    for lam in (0.0, 0.5, 1.0):
        stats = model.apply(ids, lam=lam).stats
        assert stats is not None
        mass[lam] = float(np.asarray(stats.block_mass).min())
    assert mass[0.0] < mass[0.5] < mass[1.0] == pytest.approx(1.0, abs=1e-6)
    proof = aila.certify(model, lam=1.0)
    assert "1" in str(proof)
    reach = model.reach(TEXT, lam=1.0)
    assert reach is not None
    windows = model.with_partition(PartitionConfig(size=4)).with_relation(RelationConfig(sink=True, shift=2))
    assert model.apply(ids, lam=0.0).logits.shape == windows.apply(ids, lam=1.0).logits.shape
    same = np.array_equal(model.apply(ids, lam=0.0).logits, windows.apply(ids, lam=0.0).logits)
    assert same  # at λ = 0 blocks say nothing
    assert isinstance(model.generate(TEXT, lam=1.0, max_tokens=3), str)


def test_without_embeddings_of_positions_what_is_read_is_the_token_s(model: LanguageModel) -> None:
    from aila_jax.evaluation.blocks import input_embeddings

    batch = model.batch(np.array([[3, 4, 5]], np.int32))
    assert np.array_equal(input_embeddings(model, batch)[0], model.params["embedding"][3:6])


@pytest.mark.medium
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_run_begins_with_a_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(sentences(60, 0))
    config = start_config(FILES / name, None)
    assert config.model == aila.from_pretrained(FILES / name).config.model
    data = replace(
        config.data, corpus="text", files=(str(tmp_path / "a.txt"),), cache_dir=str(tmp_path / "cache")
    )
    config = replace(
        config,
        data=data,
        train=TrainConfig(steps=2, batch_size=2, eval_every=2, checkpoint_every=2, warmup_steps=0),
    )
    run = runs.train(config, tmp_path / "run", start=FILES / name, quiet=True)
    model = aila.load(run.workdir)
    assert model.config.data.begin == "<|endoftext|>" and model.lineage[0].path == str(FILES / name)
    assert read_text(model, TEXT)[0][0] == 0
    assert model.tokenizer.to_json() == (FILES / name / "tokenizer.json").read_text()


def test_a_start_has_the_length_and_margin_that_are_asked_for() -> None:
    config = start_config(FILES / "llama", None)
    asked = replace(config, model=replace(config.model, length=16, margin=usual_margin(2000)))
    start = begin_from(FILES / "llama", asked)
    same = jax.tree.map(np.array_equal, start.params, aila.from_pretrained(FILES / "llama").params)
    assert jax.tree.all(same) and start.lineage[0].run == "llama"


def test_a_start_of_another_shape_is_refused() -> None:
    config = start_config(FILES / "llama", None)
    with pytest.raises(ValueError, match=r"model.n_layers is 2; it must be 5, as in llama"):
        begin_from(FILES / "llama", replace(config, model=replace(config.model, n_layers=2)))
