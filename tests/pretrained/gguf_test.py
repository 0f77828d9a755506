"""GGUF files, written here by the rules of llama.cpp's converter from the tiny checkpoints: the same model as
the folder's, bit for bit.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import jax
import numpy as np
import pytest
from gguf.quants import dequantize, quantize

import aila_jax as aila
from aila_jax.model.rotary import rotary_rates
from aila_jax.pretrained import source
from aila_jax.pretrained.folder import Folder
from aila_jax.pretrained.gguf_file import GgufFile

FILES = Path(__file__).parent / "files"
LLAMA = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GPT2 = {
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
NEOX = {
    "gpt_neox.embed_in": "token_embd",
    "gpt_neox.final_layer_norm": "output_norm",
    "embed_out": "output",
    "input_layernorm": "attn_norm",
    "attention.query_key_value": "attn_qkv",
    "attention.dense": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
}
Turn = Callable[[str, np.ndarray, dict[str, Any]], np.ndarray]


def permuted(x: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp, convert_hf_to_gguf.py, LlamaModel.permute."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def llama(name: str, x: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    if ".q_proj." in name:
        return permuted(x, config["num_attention_heads"])
    return permuted(x, config["num_key_value_heads"]) if ".k_proj." in name else x


def gpt2(name: str, x: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    return x.T if x.ndim == 2 and (".c_" in name) else x


def neox(name: str, x: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    if ".query_key_value." not in name:
        return x
    heads = config["num_attention_heads"]
    parts = x.reshape(heads, 3, -1, *x.shape[1:])
    return np.concatenate([parts[:, one].reshape(-1, *x.shape[1:]) for one in range(3)])


def same(name: str, x: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    return x


# Case: architecture, names, what the converter does to a tensor.
CASES: dict[str, tuple[str, dict[str, str], Turn]] = {
    "mistral": ("llama", LLAMA, llama),
    "llama_biases": ("llama", LLAMA, llama),
    "qwen2": ("qwen2", LLAMA, same),
    "gpt2": ("gpt2", GPT2, gpt2),
    "neox": ("gptneox", NEOX, neox),
}


def name_there(name: str, names: dict[str, str]) -> str:
    stem, kind = name.rsplit(".", 1)
    if stem in names:
        return f"{names[stem]}.{kind}"
    layer = next(part for part in stem.split(".") if part.isdecimal())
    return f"blk.{layer}.{names[stem.split(f'.{layer}.')[1]]}.{kind}"


def add_tokenizer(writer: gguf.GGUFWriter, case: str, pre: str = "gpt-2", chat: str = "") -> None:
    stored = json.loads((FILES / case / "tokenizer.json").read_text())
    types = sorted(stored["model"]["vocab"], key=stored["model"]["vocab"].__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(types)
    writer.add_token_types([3 if one == "<|endoftext|>" else 1 for one in types])
    writer.add_token_merges([" ".join(pair) for pair in stored["model"]["merges"]])
    writer.add_bos_token_id(0)
    if chat:
        writer.add_chat_template(chat)
        writer.add_eos_token_id(types.index("Ġthe"))


def write(
    path: Path,
    case: str,
    factors: np.ndarray | None = None,
    pre: str = "gpt-2",
    base: float = 0.0,
    chat: str = "",
    **more: int,
) -> Path:
    """A checkpoint as GGUF, F32."""
    kind, names, turned = CASES[case]
    folder = Folder(FILES / case)
    config = json.loads((FILES / case / "config.json").read_text())
    writer = gguf.GGUFWriter(path, kind)
    width = config.get("hidden_size", config.get("n_embd"))
    heads = config.get("num_attention_heads", config.get("n_head"))
    head = config.get("head_dim") or width // heads
    rope = config.get("rope_parameters", {})
    writer.add_context_length(config.get("max_position_embeddings", config.get("n_positions")))
    writer.add_embedding_length(width)
    writer.add_block_count(config.get("num_hidden_layers", config.get("n_layer")))
    writer.add_feed_forward_length(config.get("intermediate_size", config.get("n_inner")))
    writer.add_head_count(heads)
    if kind in ("llama", "qwen2"):
        writer.add_head_count_kv(config["num_key_value_heads"])
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        writer.add_key_length(head)
        writer.add_value_length(head)
    else:
        writer.add_layer_norm_eps(1e-5)
    if rope:
        writer.add_rope_freq_base(base or rope["rope_theta"])
        writer.add_rope_dimension_count(int(head * rope.get("partial_rotary_factor", 1.0)))
    if kind == "gptneox":
        writer.add_parallel_residual(True)
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    for key, value in more.items():
        writer.add_uint32(f"{kind}.{key.replace('__', '.')}", value)
    add_tokenizer(writer, case, pre, chat)
    for name, shape in folder.shapes.items():
        array = np.array(folder.read(name, shape[0]))
        writer.add_tensor(name_there(name, names), np.ascontiguousarray(turned(name, array, config)))
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("case", CASES)
def test_a_file_is_the_same_model_as_its_folder(case: str, tmp_path: Path) -> None:
    model, own = (
        aila.from_pretrained(one, length=48) for one in (write(tmp_path / "a.gguf", case), FILES / case)
    )
    same = jax.tree.map(lambda a, b: bool((a == b).all()), model.params, own.params)
    assert jax.tree.structure(model.params) == jax.tree.structure(own.params) and jax.tree.all(same)
    assert replace(model.config, data=own.config.data) == own.config
    assert model.config.data.begin == own.config.data.begin == "<|endoftext|>"
    text = "The old owl saw 1234 cats, didn't it?"
    assert model.tokenizer.encode(text) == own.tokenizer.encode(text)


def test_rows_that_stay_interleaved_are_found_out(tmp_path: Path) -> None:
    """What the test above would say of a reader that leaves the order of rows as it is."""
    model, own = (
        aila.from_pretrained(one, length=48)
        for one in (write(tmp_path / "a.gguf", "mistral"), FILES / "mistral")
    )
    kernel = np.asarray(own.params["layer_0"]["attention"]["query"]["kernel"])
    turned = permuted(kernel.reshape(len(kernel), -1).T, kernel.shape[1]).T.reshape(kernel.shape)
    assert not np.array_equal(turned, kernel)
    assert np.array_equal(model.params["layer_0"]["attention"]["query"]["kernel"], kernel)


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_0", "Q4_1"])
def test_weights_of_each_kind_are_what_the_library_makes_of_them(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read in pieces of three rows, and a part of the rows alone."""
    monkeypatch.setattr("aila_jax.pretrained.gguf_file.CHUNK", 3 * 64 + 1)
    array = np.random.default_rng(0).normal(size=(11, 64)).astype(np.float32)
    raw_type = gguf.GGMLQuantizationType[kind]
    stored = quantize(array, raw_type)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_tensor("x.weight", stored, raw_dtype=raw_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GgufFile(tmp_path / "a.gguf")
    assert file.shapes == {"x.weight": (11, 64)}
    found = dequantize(stored, raw_type)
    assert np.array_equal(file.read("x.weight", 11), found)
    assert np.array_equal(file.read("x.weight", 7), found[:7])
    assert np.abs(found - array).max() < {"F32": 1e-9, "F16": 2e-3, "Q8_0": 0.02}.get(kind, 0.3)


def test_memory_for_a_tensor_is_aligned() -> None:
    for count in (1, 3, 1000):
        assert source.empty((count, 5)).ctypes.data % 64 == 0


def llama3_factors(width: int, base: float, factor: float) -> np.ndarray:
    """llama.cpp, convert_hf_to_gguf.py, LlamaModel.generate_extra_tensors."""
    found = []
    for rate in 1.0 / base ** (np.arange(0, width, 2) / width):
        wave = 2 * np.pi / rate
        smooth = (8192 / wave - 1.0) / (4.0 - 1.0)
        if wave < 8192 / 4.0:
            found.append(1.0)
        elif wave > 8192 / 1.0:
            found.append(factor)
        else:
            found.append(1.0 / ((1 - smooth) / factor + smooth))
    return np.array(found, np.float32)


def test_llama3_scaling_is_known_by_its_factors(tmp_path: Path) -> None:
    factors = llama3_factors(10, 1e5, 32.0)
    assert len(set(factors.tolist())) > 2
    model = aila.from_pretrained(write(tmp_path / "a.gguf", "mistral", factors, base=1e5), length=16)
    rotary = model.config.model.rotary
    assert (rotary.scaling, rotary.factor, rotary.original_length) == ("llama3", 32.0, 8192)
    made = np.asarray(rotary_rates(10, 1e5)) / np.asarray(rotary_rates(10, 1e5, rotary))
    assert np.allclose(made, factors, rtol=1e-5)


def test_other_factors_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.gguf", "mistral", np.array([1, 1, 2, 3, 5], np.float32))
    with pytest.raises(ValueError, match=r"rope_freqs.weight in .* must be those of llama3's scaling"):
        aila.from_pretrained(file)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("expert_count", 8, r"llama.expert_count in .* is 8; it must be 0: nothing else is there"),
        (
            "attention__sliding_window",
            32,
            r"sliding_window in .* is 32; it must be at least the text's length \(64\)",
        ),
        ("attention__temperature", 3, r"llama.attention.temperature in .* must be a key that is known"),
    ],
)
def test_what_is_not_there_is_refused_by_name(tmp_path: Path, key: str, value: int, message: str) -> None:
    file = write(tmp_path / "a.gguf", "mistral", **{key: value})
    with pytest.raises(ValueError, match=message):
        aila.from_pretrained(file)


def test_another_cut_of_text_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"tokenizer.ggml.pre in .* is 'tekken'; it must be one of smollm, gpt-2"
    ):
        aila.from_pretrained(write(tmp_path / "a.gguf", "mistral", pre="tekken"))


def test_a_file_that_is_cut_off_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.gguf", "gpt2").read_bytes()
    cut = tmp_path / "cut.gguf"
    for end in (0, 3, 20, 500, 9000, len(whole) // 2, len(whole) - 64):
        cut.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"cut off|cannot be read as GGUF"):
            aila.from_pretrained(cut)
