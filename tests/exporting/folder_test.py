"""A folder of whole weights: read back, bit for bit, they are those of one λ; and nothing is ever lost."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aila_jax as aila
from aila_jax.config import PartitionConfig, RelationConfig
from aila_jax.exporting.merge import merged
from aila_jax.inference.language_model import LanguageModel
from tests.support.exported import (
    FIXED,
    LENGTH,
    OPEN,
    SENTENCES,
    WINDOWS,
    adapted,
    pretrained,
    tokens_of,
    with_margin,
)
from tests.support.untrained import with_dial_weights

SET = ("README.md", "config.json", "dial.json", "generation_config.json", "model.safetensors", "tokenizer.json",
       "tokenizer_config.json", "with_dial.py")  # fmt: skip


@pytest.fixture(scope="module")
def models() -> dict[str, LanguageModel]:
    """With adapters, and a margin that does nothing: what is left of the dial is in the weights."""
    return {name: adapted(pretrained(name, margin=OPEN)) for name in ("llama", "gpt2", "neox_in_turn")}


def again(path: Path) -> LanguageModel:
    return aila.from_pretrained(path, length=LENGTH, margin=OPEN)


def same(a: object, b: object) -> bool:
    alike = jax.tree.map(lambda x, y: x.dtype == y.dtype and bool((x == y).all()), a, b)
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(alike)


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox_in_turn"])
def test_at_0_the_base_is_written_bit_for_bit(
    models: dict[str, LanguageModel], name: str, tmp_path: Path
) -> None:
    found = again(aila.export(models[name], tmp_path / "out", lam=0.0))
    assert same(found.params, pretrained(name).params)
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == sorted(SET)


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox_in_turn"])
def test_adapters_are_in_the_weights_at_their_lam(
    models: dict[str, LanguageModel], name: str, tmp_path: Path
) -> None:
    model = models[name]
    found = again(aila.export(model, tmp_path / "out", lam=0.5))
    tokens = tokens_of(model)
    logits = {lam: np.asarray(model.apply(tokens, lam=lam).logits) for lam in (0.0, 0.5)}
    assert np.abs(np.asarray(found.apply(tokens).logits) - logits[0.5]).max() < 1e-4
    assert np.abs(logits[0.5] - logits[0.0]).max() > 0.1  # they do something


def test_lam_is_times_a_times_b(models: dict[str, LanguageModel]) -> None:
    """In float64, entry by entry, for a query's and an output's kernel."""
    model = models["llama"]
    own, found = (one.params["layer_1"]["attention"] for one in (model, merged(model, 0.25)))
    a, b = (np.asarray(own[f"query_{part}"]["kernel"], np.float64) for part in ("down", "up"))
    expected = np.asarray(own["query"]["kernel"], np.float64)
    for d, h, k in np.ndindex(expected.shape):
        expected[d, h, k] += 0.25 * sum(a[d, r] * b[r, h, k] for r in range(a.shape[1]))
    assert np.array_equal(found["query"]["kernel"], expected.astype(np.float32))
    a, b = (np.asarray(own[f"out_{part}"]["kernel"], np.float64) for part in ("down", "up"))
    grown = np.asarray(own["out"]["kernel"], np.float64) + 0.25 * np.einsum("hkr,rd->hkd", a, b)
    assert np.array_equal(found["out"]["kernel"], grown.astype(np.float32))
    assert sorted(found) == ["key", "out", "query", "value"]


def test_weights_that_turn_otherwise_are_merged_too() -> None:
    """FiLM of a LayerNorm, and W′ of `dial_weights`."""
    model = with_dial_weights(pretrained("gpt2", margin=OPEN))
    model = with_margin(model, OPEN, film=True)
    draw = np.random.default_rng(3)

    def drawn(held: dict) -> dict:
        made = {
            part: jnp.asarray(0.2 * draw.standard_normal(36), jnp.float32)
            for part in ("film_scale", "film_shift")
        }
        return {**held, **made}

    params = dict(model.params)
    params["final_norm"] = drawn(params["final_norm"])
    for name in [name for name in params if name.startswith("layer_")]:
        layer = {
            **params[name],
            **{part: drawn(params[name][part]) for part in ("attention_norm", "mlp_norm")},
        }
        turned = jax.tree.map(lambda one: one, layer["attention"])
        for part in ("query", "key", "value"):
            shape = turned[part]["kernel"].shape
            turned[f"{part}_dial"] = {"kernel": jnp.asarray(0.1 * draw.standard_normal(shape), jnp.float32)}
        params[name] = {**layer, "attention": turned}
    model = replace(model, params=params)
    tokens = tokens_of(model)
    found = merged(model, 0.75)
    assert not found.config.model.film and found.config.model.dial_weights == "none"
    expected = np.asarray(model.apply(tokens, lam=0.75).logits)
    assert np.abs(np.asarray(found.apply(tokens, lam=0.0).logits) - expected).max() < 1e-4
    assert np.abs(np.asarray(model.apply(tokens, lam=0.0).logits) - expected).max() > 0.1


def test_film_that_shifts_a_norm_without_bias_is_refused() -> None:
    model = with_margin(pretrained("mistral"), OPEN, film=True)
    width = model.config.model.d_model
    ones = {"film_scale": jnp.ones(width), "film_shift": jnp.ones(width)}
    params = {
        name: {**one, "attention_norm": {**one["attention_norm"], **ones}, "mlp_norm": {**one["mlp_norm"], **ones}}
        if name.startswith("layer_")
        else {**one, **ones} if name == "final_norm" else one
        for name, one in model.params.items()
    }  # fmt: skip
    model = replace(model, params=params)
    with pytest.raises(
        ValueError, match=r"layer_0/attention_norm/film_shift is 1\.0; .*Fix: export it at lam=0"
    ):
        merged(model, 0.5)
    assert same(merged(model, 0.0).params, pretrained("mistral").params)


def test_the_dial_is_written_down(models: dict[str, LanguageModel], tmp_path: Path) -> None:
    """What the program reads, by hand."""
    model = pretrained("gpt2", WINDOWS, RelationConfig(shift=2, pointers="ends", horizon=3), FIXED)
    dial = json.loads((aila.export(model, tmp_path / "out", lam=0.5, tau=2.0) / "dial.json").read_text())
    assert (dial["lam"], dial["tau"], dial["only_lam"], dial["mask"], dial["base"]) == (
        0.5,
        2.0,
        False,
        False,
        "",
    )
    assert dial["blocks"] == [{"kind": "windows", "size": 5, "moved": moved} for moved in (0, 2, 4)]
    assert (dial["pointers"]["kind"], dial["pointers"]["horizon"], dial["sink"]) == ("ends", 3, False)
    assert (dial["margin"]["nats"], dial["margin"]["gate"], dial["margin"]["power"]) == (3.0, 0.5, 2.0)
    assert dial["text"]["begin"] == 0 and dial["length"] == LENGTH
    adapters = aila.export(models["gpt2"], tmp_path / "other", lam=0.5)
    dial = json.loads((adapters / "dial.json").read_text())
    assert dial["only_lam"] and dial["mask"] and dial["blocks"] == [{"kind": "segments", "table": "own"}]
    closing = [model.tokenizer.types[number] for number in dial["tables"]["own"]]
    assert "." in closing and "\n" in closing and "e" not in closing


def test_a_run_is_exported_by_its_path(tmp_path: Path) -> None:
    """The golden run has a norm of our own: refused with what keeps it out of each family."""
    with pytest.raises(
        ValueError, match=r"model is 'run'.*llama .not with model.norm='centred'.*Fix: "
    ) as caught:
        aila.export("tests/runs/golden/run", tmp_path / "out")
    assert all(f"{name} (" in str(caught.value) for name in ("mistral", "qwen2", "gpt2", "gpt_neox"))
    assert list(tmp_path.iterdir()) == []


def test_a_pretrained_folder_is_exported_by_its_path(tmp_path: Path) -> None:
    found = aila.export("tests/pretrained/files/mistral", tmp_path / "out", lam=0.0, length=LENGTH)
    assert same(again(found).params, pretrained("mistral").params)


@pytest.mark.parametrize("layout", ["halves", "interleaved"])
def test_an_interleaved_rotary_layout_fits_no_family(layout: str, tmp_path: Path) -> None:
    model = pretrained("llama")
    rotary = replace(model.config.model.rotary, layout=layout)
    model = with_margin(model, OPEN, rotary=rotary)
    if layout == "halves":
        aila.export(model, tmp_path / "out")
        return
    with pytest.raises(ValueError, match=r"llama .not with model.rotary.layout='interleaved'"):
        aila.export(model, tmp_path / "out")


CASES = {
    "λ": ({"lam": 1.5}, "lam is 1.5"),
    "τ": ({"tau": 0.0}, "tau is 0.0"),
    "format": ({"format": "onnx"}, "format is 'onnx'"),
    "length": ({"length": 65}, "length is 65"),
    "base of whole weights": ({"base": "my/folder"}, "base is 'my/folder'"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_refused_before_weights_are_read(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aila_jax.exporting.export.load_pretrained", lambda opened: pytest.fail("read"))
    asked, message = CASES[case]
    with pytest.raises(ValueError, match=f"{message}; it must .*(Fix: |did you mean)"):
        aila.export("tests/pretrained/files/mistral", tmp_path / "out", **{"length": LENGTH, **asked})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file in it", "a file", "a link"])
def test_a_folder_that_holds_something_is_left_as_it_is(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aila_jax.exporting.export.load_pretrained", lambda opened: pytest.fail("read"))
    path = tmp_path / "out"
    if kind == "a link":
        (tmp_path / "there").mkdir()
        path.symlink_to(tmp_path / "there")
    elif kind == "a file":
        path.write_text("mine")
    else:
        path.mkdir()
        (path / "mine.txt").write_text("mine")
    before = sorted(str(one) for one in tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"path is .* new or empty: nothing is written over. Fix: "):
        aila.export("tests/pretrained/files/mistral", path)
    assert sorted(str(one) for one in tmp_path.rglob("*")) == before


def test_an_empty_folder_is_filled_and_nothing_is_left_of_one_that_fails(
    models: dict[str, LanguageModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.setattr("aila_jax.exporting.export.PROGRAMS", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        aila.export(models["gpt2"], tmp_path / "out")
    assert list(tmp_path.rglob("*")) == [tmp_path / "out"]
    monkeypatch.undo()
    aila.export(models["gpt2"], tmp_path / "out")
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == sorted(SET)


@pytest.mark.parametrize("settings", [{"qk_norm": True}, {"bidirectional": True}])
def test_what_no_program_computes_is_refused_by_name(settings: dict, tmp_path: Path) -> None:
    model = with_margin(pretrained("gpt2"), OPEN, **settings)
    with pytest.raises(ValueError, match=f"model.{next(iter(settings))} is True; it must be False"):
        aila.export(model, tmp_path / "out")


def test_every_kind_of_blocks_has_a_rule(tmp_path: Path) -> None:
    given = pretrained("gpt2", PartitionConfig(kind="given"), RelationConfig(shift=1))
    dial = json.loads((aila.export(given, tmp_path / "given") / "dial.json").read_text())
    assert dial["blocks"] == [{"kind": "given", "pairs": number} for number in (0, 1, 0)]
    classes = pretrained("gpt2", PartitionConfig(kind="pos", global_first=True), RelationConfig())
    dial = json.loads((aila.export(classes, tmp_path / "pos") / "dial.json").read_text())
    assert dial["blocks"] == [{"kind": "classes", "table": "own"}] and dial["global_first"]
    assert dial["tables"]["own"] == np.asarray(classes.partition.table).tolist()
    layers = ("windows:4", "all", "clauses")
    mixed = pretrained("gpt2", SENTENCES, RelationConfig(layers=layers))
    dial = json.loads((aila.export(mixed, tmp_path / "mixed") / "dial.json").read_text())
    assert dial["blocks"] == [
        {"kind": "windows", "size": 4}, {"kind": "all"}, {"kind": "segments", "table": "clauses"}
    ]  # fmt: skip
    assert len(dial["tables"]["clauses"]) > len(dial["tables"]["own"])
