"""A PEFT folder: names, shapes and values of its tensors against our arrays, entry by entry."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import aila_jax as aila
from aila_jax.checkpoint.lineage import Ancestor, lineage_to_json
from aila_jax.exporting.peft import ADAPTER_CONFIG
from aila_jax.inference.language_model import LanguageModel
from tests.support.exported import FILES, OPEN, RANK, adapted, pretrained, with_margin

# Heads of queries, of keys, width of a head, D of each.
SHAPES = {"llama": (6, 2, 8, 30), "gpt2": (3, 3, 12, 36), "neox": (2, 2, 16, 32)}


def exported(model: LanguageModel, path: Path, lam: float = 0.25) -> tuple[dict, dict[str, np.ndarray]]:
    folder = aila.export(model, path / "out", format="peft", lam=lam)
    config = json.loads((folder / "adapter_config.json").read_text())
    return config, load_file(folder / "adapter_model.safetensors")


def kernels(model: LanguageModel, layer: int) -> Callable[[str], np.ndarray]:
    return lambda name: np.asarray(model.params[f"layer_{layer}"]["attention"][name]["kernel"], np.float64)


def test_each_projection_of_llama_has_its_own(tmp_path: Path) -> None:
    model = adapted(pretrained("llama"))
    config, tensors = exported(model, tmp_path)
    heads, groups, width, d = SHAPES["llama"]
    outputs = {"q_proj": heads * width, "k_proj": groups * width, "v_proj": groups * width, "o_proj": d}
    expected = {}
    for layer in range(5):
        for name, rows in outputs.items():
            module = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            inputs = heads * width if name == "o_proj" else d
            expected[f"{module}.lora_A.weight"] = (RANK, inputs)
            expected[f"{module}.lora_B.weight"] = (rows, RANK)
    assert {name: one.shape for name, one in tensors.items()} == expected
    assert all(one.dtype == np.float32 for one in tensors.values())
    own, module = kernels(model, 3), "base_model.model.model.layers.3.self_attn."
    a, b = (tensors[f"{module}k_proj.lora_{one}.weight"] for one in "AB")
    for group, k, r in np.ndindex(groups, width, RANK):
        assert b[group * width + k, r] == np.float32(own("key_up")[r, group, k])
    assert np.array_equal(a, own("key_down").T.astype(np.float32))
    a, b = (tensors[f"{module}o_proj.lora_{one}.weight"] for one in "AB")
    for head, k, r in np.ndindex(heads, width, RANK):
        assert a[r, head * width + k] == np.float32(own("out_down")[head, k, r])
    assert np.array_equal(b, own("out_up").T.astype(np.float32))
    assert config["r"] == RANK and config["lora_alpha"] == 0.25 * RANK
    assert config["target_modules"] == [
        f"self_attn.{name}" for name in ("k_proj", "o_proj", "q_proj", "v_proj")
    ]
    assert config["rank_pattern"] == config["alpha_pattern"] == {} and not config["fan_in_fan_out"]
    assert config["base_model_name_or_path"] == str((FILES / "llama").resolve())
    assert (config["peft_type"], config["task_type"]) == ("LORA", "CAUSAL_LM")


@pytest.mark.parametrize("name", ["gpt2", "neox"])
@pytest.mark.parametrize("on", [("query", "key", "value", "out"), ("value", "query")])
def test_what_is_fused_gets_the_same_map_from_more_ranks(
    name: str, on: tuple[str, ...], tmp_path: Path
) -> None:
    """Rows of the fused matrix are ordered part by part (GPT-2) or head by head (GPT-NeoX)."""
    model = adapted(pretrained(name), on)
    config, tensors = exported(model, tmp_path)
    heads, _, width, d = SHAPES[name]
    tail = "attn.c_attn" if name == "gpt2" else "attention.query_key_value"
    other = "attn.c_proj" if name == "gpt2" else "attention.dense"
    start = "transformer.h.1" if name == "gpt2" else "gpt_neox.layers.1"
    parts = [part for part in ("query", "key", "value") if part in on]
    a, b = (tensors[f"base_model.model.{start}.{tail}.lora_{one}.weight"] for one in "AB")
    assert a.shape == (RANK * len(parts), d) and b.shape == (3 * d, RANK * len(parts))
    own = kernels(model, 1)
    change = b.astype(np.float64) @ a.astype(np.float64)
    for number, part in enumerate(("query", "key", "value")):
        whole = (
            np.tensordot(own(f"{part}_down"), own(f"{part}_up"), 1)
            if part in on
            else np.zeros((d, heads, width))
        )
        for head in range(heads):
            first = (number * heads + head if name == "gpt2" else head * 3 + number) * width
            assert np.allclose(change[first : first + width].T, whole[:, head], atol=1e-12)
    assert config["rank_pattern"] == {tail: RANK * len(parts)}
    assert config["alpha_pattern"] == {tail: 0.25 * RANK * len(parts)}
    assert config["fan_in_fan_out"] == (name == "gpt2")
    assert config["target_modules"] == sorted([tail, *([other] if "out" in on else [])])
    if "out" in on:
        a, b = (tensors[f"base_model.model.{start}.{other}.lora_{one}.weight"] for one in "AB")
        grown = np.einsum("hkr,rd->hkd", own("out_down"), own("out_up")).reshape(d, d)
        assert np.allclose((b.astype(np.float64) @ a.astype(np.float64)).T, grown, atol=1e-12)


def test_the_program_and_the_card_lie_beside_them(tmp_path: Path) -> None:
    folder = aila.export(adapted(pretrained("gpt2")), tmp_path / "out", format="peft", lam=0.5)
    assert sorted(one.name for one in folder.iterdir()) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "dial.json", "tokenizer.json",
        "tokenizer_config.json", "with_dial.py",
    ]  # fmt: skip
    dial = json.loads((folder / "dial.json").read_text())
    assert dial["base"] == str((FILES / "gpt2").resolve()) and not dial["only_lam"]
    card = (folder / "README.md").read_text()
    assert "base_model:" not in card and "library_name: peft" in card
    assert (
        f"Low-rank adapters for `{dial['base']}`" in card
        and "In PEFT lora_alpha is λ · r, with λ = 0.5." in card
    )
    assert f"AutoModelForCausalLM.from_pretrained('{dial['base']}')" in card


def test_another_copy_of_the_base_may_be_named(tmp_path: Path) -> None:
    model = adapted(pretrained("neox"))
    copy = aila.export(model, tmp_path / "base", lam=0.0)
    folder = aila.export(model, tmp_path / "out", format="peft", base=copy)
    assert json.loads((folder / "dial.json").read_text())["base"] == str(copy)
    folder = aila.export(model, tmp_path / "other", format="peft", base="somebody/neox")
    assert (
        json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "somebody/neox"
    )
    assert "base_model: somebody/neox\n" in (folder / "README.md").read_text()


def test_a_base_of_the_hub_is_the_one_that_was_recorded(tmp_path: Path) -> None:
    """By the model, or by the run that began from that name; a folder is compared by its weights."""
    named = adapted(pretrained("neox"))
    named.meta["pretrained"]["hub_name"] = "someone/tiny"
    begun = adapted(pretrained("neox"))
    begun.meta.clear()
    begun.meta.update(lineage_to_json((Ancestor("tiny", 0, "0" * 64, "someone/tiny"),)))
    begun.meta["pretrained"] = {"model_type": "gpt_neox"}
    for number, model in enumerate((named, begun)):
        with pytest.raises(ValueError, match="base is 'someone/else'; it must be 'someone/tiny', which"):
            aila.export(model, tmp_path / "out", format="peft", base="someone/else")
        for base in ("someone/tiny", FILES / "neox"):
            aila.export(model, tmp_path / f"{number}{Path(base).name}", format="peft", base=base)
    config = json.loads((aila.export(begun, tmp_path / "left", format="peft") / ADAPTER_CONFIG).read_text())
    assert config["base_model_name_or_path"] == "someone/tiny"


def test_a_base_that_is_missing_or_another_is_refused(tmp_path: Path) -> None:
    model = adapted(pretrained("neox"))
    for base, message in (
        (tmp_path / "nowhere", "base is .*nowhere.*; it must be the folder or the hub's name .*Fix: "),
        (FILES / "gpt2", "gpt2"),
        (aila.export(model, tmp_path / "moved", lam=0.5), "base is .*weights of this model without its adapters, which"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            aila.export(model, tmp_path / "out", format="peft", base=base)
    model.meta["pretrained"]["path"] = ""
    with pytest.raises(ValueError, match="base is ''; it must be the folder"):
        aila.export(model, tmp_path / "out", format="peft")
    model.meta["pretrained"] = {"path": str(FILES / "neox"), "files": {"model.safetensors": "0" * 64}}
    with pytest.raises(
        ValueError, match=r"base is .*model.safetensors'; it must be the file .*000.*Fix: restore it"
    ):
        aila.export(model, tmp_path / "out", format="peft")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["moved"]


@pytest.mark.parametrize(("settings", "message"), [
    ({"film": True}, "model.film is True; it must be False in a PEFT folder"),
    ({"dial_weights": "qk"}, "model.dial_weights is 'qk'; it must be 'none' in a PEFT folder"),
    ({}, "model.adapters.rank is 0; it must be at least 1 for a PEFT folder"),
])  # fmt: skip
def test_what_peft_has_no_place_for_is_refused(settings: dict, message: str, tmp_path: Path) -> None:
    model = with_margin(pretrained("gpt2"), OPEN, **settings)
    with pytest.raises(ValueError, match=f"{message}.*Fix: format='folder'"):
        aila.export(model, tmp_path / "out", format="peft")
