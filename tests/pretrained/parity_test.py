"""Tiny checkpoints of each family against what transformers computed of them (make_files.py), in float32."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aila_jax as aila
from aila_jax.config import ModelConfig, RotaryConfig, RotaryLayout
from aila_jax.inference.language_model import LanguageModel
from aila_jax.model.interface import Dial, Request
from aila_jax.model.transformer import Block
from aila_jax.pretrained.writing import write_folder

FILES = Path(__file__).parent / "files"
CASES = sorted(path.name for path in FILES.iterdir())
ROTARY = ["llama", "neox"]  # all coordinates of a head, and a part of them
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def models() -> dict[str, LanguageModel]:
    return {name: aila.from_pretrained(FILES / name, length=48) for name in CASES}


def expected(name: str) -> dict[str, np.ndarray]:
    with np.load(FILES / name / "expected.npz") as found:
        return dict(found)


def logits_of(model: LanguageModel, tokens: np.ndarray, **settings: object) -> np.ndarray:
    """Logits at λ = 0 with other settings of the decoder."""
    changed = replace(model.config.model, **settings)  # type: ignore[arg-type]
    model = replace(model, config=replace(model.config, model=changed))
    return np.asarray(model.apply(tokens).logits)


def error(name: str, logits: np.ndarray) -> float:
    """The largest difference, over the tokenizer's types."""
    return float(np.abs(logits - expected(name)["logits"][..., : logits.shape[-1]]).max())


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers(models: dict[str, LanguageModel], name: str) -> None:
    assert error(name, logits_of(models[name], expected(name)["tokens"])) < TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_every_layer_gives_on_what_that_of_transformers_does(
    models: dict[str, LanguageModel], name: str
) -> None:
    model, found = models[name], expected(name)
    batch = model.batch(found["tokens"])
    _, seen = model.module.apply(
        {"params": model.params}, batch.tokens, batch.positions, model.network.blocks(batch), batch.doc_ids,
        Dial(0.0, 1.0), Request(), capture_intermediates=lambda inner, _: isinstance(inner, Block),
        mutable=["intermediates"],
    )  # fmt: skip
    layers = [
        seen["intermediates"][f"layer_{index}"]["__call__"][0][0] for index in range(len(found["layers"]))
    ]
    assert np.abs(np.stack(layers) - found["layers"]).max() < TOLERANCE


@pytest.mark.parametrize("name", ROTARY)
def test_the_other_rotary_layout_is_far_off(models: dict[str, LanguageModel], name: str) -> None:
    rotary = replace(models[name].config.model.rotary, layout=RotaryLayout.INTERLEAVED)
    assert error(name, logits_of(models[name], expected(name)["tokens"], rotary=rotary)) > 100 * TOLERANCE


@pytest.mark.parametrize("name", ROTARY)
def test_another_rotary_base_is_far_off(models: dict[str, LanguageModel], name: str) -> None:
    base = models[name].config.model.rotary_base * 1.5
    assert error(name, logits_of(models[name], expected(name)["tokens"], rotary_base=base)) > 100 * TOLERANCE


@pytest.mark.parametrize("name", ["llama", "llama_biases"])
def test_rotary_rates_without_their_scaling_are_far_off(models: dict[str, LanguageModel], name: str) -> None:
    logits = logits_of(models[name], expected(name)["tokens"], rotary=RotaryConfig())
    assert error(name, logits) > 100 * TOLERANCE


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_keys_of_other_groups_are_far_off(models: dict[str, LanguageModel], name: str) -> None:
    """Head h reads the keys of group h mod G in place of h ÷ (H / G)."""
    model, cfg = models[name], models[name].config.model

    def dealt(path: tuple, leaf: jax.Array) -> jax.Array:
        at = jax.tree_util.keystr(path, simple=True, separator="/")
        if not any(f"attention/{one}/" in at for one in ("key", "value")):
            return leaf
        axis = 1 if leaf.ndim == 3 else 0
        return jnp.concatenate([leaf] * (cfg.n_heads // cfg.kv_heads), axis=axis)

    params = jax.tree_util.tree_map_with_path(dealt, model.params)
    logits = logits_of(replace(model, params=params), expected(name)["tokens"], n_kv_heads=0)
    assert error(name, logits) > 100 * TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_back_is_read_again_bit_for_bit(
    models: dict[str, LanguageModel], name: str, tmp_path: Path
) -> None:
    model = models[name]
    again = aila.from_pretrained(write_folder(model, tmp_path / name), length=48)
    assert replace(again.config, data=model.config.data) == model.config
    assert again.tokenizer.to_json() == model.tokenizer.to_json()
    assert again.meta["pretrained"]["model_type"] == model.meta["pretrained"]["model_type"]
    same = jax.tree.map(lambda a, b: a.dtype == b.dtype and bool((a == b).all()), model.params, again.params)
    assert jax.tree.all(same)
    assert jax.tree.structure(model.params) == jax.tree.structure(again.params)


def test_the_shape_is_what_the_files_say(models: dict[str, LanguageModel]) -> None:
    model: ModelConfig = models["llama"].config.model
    assert (model.n_heads, model.kv_heads, model.head_size, model.d_model) == (6, 2, 8, 30)
    assert model.tied and not model.learned_positions and model.rotary.factor == 8.0
    assert models["neox"].config.model.parallel and not models["neox_in_turn"].config.model.parallel
    assert models["gpt2"].params["embedding"].shape[0] == models["gpt2"].tokenizer.vocab_size
    assert models["gpt2"].meta["pretrained"]["unused_rows"] == 6


def test_files_are_small() -> None:
    assert max(file.stat().st_size for file in FILES.rglob("*") if file.is_file()) <= 200_000
