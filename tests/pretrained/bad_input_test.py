"""What cannot be read as it is meant is refused, with value, limit and fix, before a weight is read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import aila_jax as aila
from aila_jax.pretrained.folder import Folder
from aila_jax.pretrained.gguf_file import GgufFile

FILES = Path(__file__).parent / "files"


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here gets as far as the weights."""

    def read(self: Any, name: str, rows: int) -> None:
        raise AssertionError(f"{name} was read")

    monkeypatch.setattr(Folder, "read", read)
    monkeypatch.setattr(GgufFile, "read", read)


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(FILES / name, tmp_path / name))


def refused(path: Path, words: str, **settings: Any) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        aila.from_pretrained(path, **settings)
    assert "Fix: " in str(caught.value)


def settings(folder: Path, **values: Any) -> Path:
    """The folder with other keys in its config.json; ... takes a key out."""
    file = folder / "config.json"
    stored = {**json.loads(file.read_text()), **values}
    file.write_text(json.dumps({name: value for name, value in stored.items() if value is not ...}))
    return folder


def test_a_sink_without_a_begin_token(copy: Callable[[str], Path]) -> None:
    words = r"relation.sink is True; it must be False for .* no begin token. Fix: begin= .*<\|endoftext\|>"
    refused(settings(copy("qwen2"), bos_token_id=None), words)
    refused(FILES / "gpt2", words, begin="")
    refused(FILES / "gpt2", "type is '<s>'; it must be one of its 280 types", begin="<s>")


def test_no_folder(tmp_path: Path) -> None:
    refused(tmp_path / "none", "must be a folder with config.json, or a .gguf file")
    (tmp_path / "a.bin").write_text("")
    refused(tmp_path / "a.bin", "must be a folder with config.json, or a .gguf file")
    refused(tmp_path, "must be a folder with config.json")


def test_a_folder_without_weights(copy: Callable[[str], Path]) -> None:
    folder = copy("gpt2")
    (folder / "model.safetensors").unlink()
    refused(
        folder, r"must be a folder with model.safetensors, or with model.safetensors.index.json and its files"
    )
    (folder / "pytorch_model.bin").write_text("")
    refused(folder, r"pytorch_model.bin is not read.*safe_serialization=True")


def test_a_missing_shard(copy: Callable[[str], Path]) -> None:
    folder = copy("llama_biases")
    (folder / "model-00003-of-00005.safetensors").unlink()
    refused(folder, r"that are missing is \['model-00003-of-00005.safetensors'\]; it must be none")


def test_shards_outside_the_folder(copy: Callable[[str], Path]) -> None:
    folder = copy("llama_biases")
    file = folder / "model.safetensors.index.json"
    file.write_text(json.dumps({"weight_map": {"a": "../gpt2/model.safetensors"}}))
    refused(folder, "must be names of files in the folder")


def test_weights_that_are_cut_off(copy: Callable[[str], Path]) -> None:
    file = copy("gpt2") / "model.safetensors"
    whole = file.read_bytes()
    for end in (0, 5, 300, len(whole) - 1):
        file.write_bytes(whole[:end])
        refused(file.parent, r"model.safetensors cannot be read \(")


def changed(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> Path:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


NORM = "transformer.h.1.ln_2.weight"


def test_a_tensor_that_is_missing(copy: Callable[[str], Path]) -> None:
    folder = changed(copy("gpt2"), lambda tensors: tensors.__delitem__(NORM))
    refused(folder, rf"tensor {NORM} in .* is 'missing'; it must be there, \[36\]")


def test_a_tensor_of_another_shape(copy: Callable[[str], Path]) -> None:
    folder = changed(copy("gpt2"), lambda tensors: tensors.update({NORM: np.ones(35, np.float32)}))
    refused(folder, rf"shape of {NORM} in .* is \[35\]; it must be \[36\]")


def test_a_tensor_of_another_name(copy: Callable[[str], Path]) -> None:
    name = "model.layers.0.self_attn.q_norm.weight"
    folder = changed(copy("llama"), lambda tensors: tensors.update({name: np.ones(8, np.float32)}))
    refused(folder, f"is '{name}'; it must be a tensor of this architecture")


def test_weights_that_are_quantised(copy: Callable[[str], Path]) -> None:
    folder = changed(copy("gpt2"), lambda tensors: tensors.update({NORM: np.ones(36, np.int8)}))
    refused(folder, rf"dtype of {NORM} in .* is 'I8'; it must be one of F64, F32, F16, BF16")


def test_causal_masks_among_the_tensors_are_no_weights(copy: Callable[[str], Path]) -> None:
    """GPT-2's old files have them; nothing but reading is left to do."""
    mask = np.ones((1, 1, 48, 48), np.uint8)
    folder = changed(copy("gpt2"), lambda tensors: tensors.update({"transformer.h.0.attn.bias": mask}))
    with pytest.raises(AssertionError, match="was read"):
        aila.from_pretrained(folder)


def test_a_bare_decoder_has_shorter_names(copy: Callable[[str], Path]) -> None:
    def shorter(tensors: dict[str, np.ndarray]) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)

    with pytest.raises(AssertionError, match=r"^wte.weight was read"):
        aila.from_pretrained(changed(copy("gpt2"), shorter))


def test_a_tokenizer_that_does_not_fit(copy: Callable[[str], Path]) -> None:
    folder = copy("llama")
    file = folder / "tokenizer.json"
    stored = json.loads(file.read_text())
    stored["model"]["vocab"]["zzzz"] = len(stored["model"]["vocab"])
    file.write_text(json.dumps(stored))
    refused(folder, r"rows of model.embed_tokens.weight in .* is \(280,\); it must be at least 281")
    file.unlink()
    refused(folder, r"must be a folder with tokenizer.json")


def test_a_begin_token_that_is_no_type(copy: Callable[[str], Path]) -> None:
    folder = copy("llama")
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
    refused(folder, r"the tokenizer's type is '<s>'; it must be one of its 280 types")


@pytest.mark.parametrize("kind", ["mixtral", ..., 5])
def test_an_unknown_architecture(copy: Callable[[str], Path], kind: Any) -> None:
    refused(
        settings(copy("llama"), model_type=kind), r"model_type in .* must be one of llama, mistral, qwen2"
    )


ASKED: list[tuple[str, dict[str, Any], str]] = [
    ("llama", {"num_local_experts": 8}, r"num_local_experts in .* is 8; it must be 0"),
    ("llama", {"use_qk_norm": True}, r"use_qk_norm in .* is True; it must be False"),
    ("llama", {"query_pre_attn_scalar": 256}, r"query_pre_attn_scalar in .* must be a key that is known"),
    ("llama", {"attn_logit_softcapping": 50.0}, r"attn_logit_softcapping in .* is 50.0"),
    ("llama", {"quantization_config": {"bits": 4}}, r"quantization_config in .* must be a key that is known"),
    ("llama", {"auto_map": {"AutoModel": "code.py"}}, r"auto_map in .* must be a key that is known"),
    ("llama", {"hidden_act": "gelu"}, r"hidden_act in .* is 'gelu'; it must be one of silu"),
    ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, r"rope_type in .* is 'yarn'"),
    ("llama", {"rope_parameters": ..., "rope_scaling": {"type": "dynamic", "factor": 2.0}}, r"is 'dynamic'"),
    ("llama", {"rope_parameters": {"rope_type": "longrope"}}, r"is 'longrope'"),
    ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "attention_factor": 1.5}}, r"attention_factor in"),
    ("llama", {"rope_parameters": {"rope_type": "linear"}}, r"factor in rope_parameters of .* is None"),
    ("llama", {"rope_interleaved": True}, r"rope_interleaved in .* is True"),
    ("llama", {"partial_rotary_factor": 0.5, "rope_parameters": ...}, r"partial_rotary_factor in .* is 0.5"),
    ("llama", {"num_hidden_layers": "5"}, r"num_hidden_layers in .* is '5'; it must be a whole number"),
    ("llama", {"num_key_value_heads": 4}, r"model.n_kv_heads is 4; it must be a divisor"),
    ("llama", {"layer_types": ["linear_attention"] * 5}, r"layer_types in .* must be full_attention or"),
    ("mistral", {"sliding_window": 20}, r"sliding_window in .* is 20; .* \(64\).*length=20"),
    ("mistral", {"sliding_window": ..., "max_position_embeddings": 5000, "layer_types": ["sliding_attention"] * 2},
     r"length is 5000|sliding_window in .* is 4096"),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 16}, r"sliding_window in .* is 16"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, r"scale_attn_by_inverse_layer_idx in .* is True"),
    ("gpt2", {"scale_attn_weights": False}, r"scale_attn_weights in .* is False"),
    ("gpt2", {"activation_function": "relu"}, r"activation_function in .* is 'relu'"),
    ("neox", {"layer_norm_eps": 0}, r"layer_norm_eps in .* is 0; it must be a finite number above 0"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "values", "words"), ASKED, ids=[f"{n}-{next(iter(v))}" for n, v, _ in ASKED]
)
def test_what_is_not_there_is_refused_by_name(
    copy: Callable[[str], Path], name: str, values: dict[str, Any], words: str
) -> None:
    length = {"length": 5000} if "max_position_embeddings" in values else {}
    refused(settings(copy(name), **values), words, **length)


def test_keys_that_are_off_or_harmless_are_not_asked(copy: Callable[[str], Path]) -> None:
    folder = settings(
        copy("llama"), quantization_config=None, attn_logit_softcapping=None, torch_dtype="bfloat16"
    )
    with pytest.raises(AssertionError, match="was read"):
        aila.from_pretrained(folder)


@pytest.mark.parametrize("length", [65, 0, -1, 2.5, "64"])
def test_a_length_that_the_model_has_not(length: Any) -> None:
    refused(FILES / "llama", f"length is {length!r}", length=length)


def test_blocks_that_need_a_text() -> None:
    blocks = aila.Config().partition.__class__(kind="learned_segments")  # type: ignore[arg-type]
    refused(FILES / "llama", r"partition.kind is 'learned_segments'; .*need no text", partition=blocks)


@pytest.mark.parametrize("name", ["partition", "relation", "margin"])
def test_settings_of_another_type(name: str) -> None:
    refused(FILES / "llama", f"{name} is 'sink'", **{name: "sink"})
