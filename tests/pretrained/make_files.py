"""Makes tests/pretrained/files: tiny random checkpoints with what transformers computes of them. Needs the
extra `parity`:

    python tests/pretrained/make_files.py tests/pretrained/files
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers
from tokenizers import decoders, models, pre_tokenizers, trainers

LENGTH = 24
COMMON = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LLAMA = {"hidden_size": 40, "intermediate_size": 57, "max_position_embeddings": 64}
# Name, class, settings, type that the weights are stored as.
CASES: dict[str, tuple[str, dict[str, Any], torch.dtype]] = {
    # Grouped keys, heads wider than D / H, five layers, so that they run as a loop.
    "llama": (
        "Llama",
        {**LLAMA, "hidden_size": 30, "intermediate_size": 41, "num_hidden_layers": 5, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8,
         "rms_norm_eps": 1e-5, "rope_parameters": LLAMA3, "tie_word_embeddings": True},
        torch.float32,
    ),
    "llama_biases": (
        "Llama",
        {**LLAMA, "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3, "attention_bias": True,
         "mlp_bias": True, "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.5}},
        torch.bfloat16,
    ),
    "mistral": (
        "Mistral",
        {**LLAMA, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 10,
         "sliding_window": 48, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
        torch.float32,
    ),
    "qwen2": (
        "Qwen2",
        {**LLAMA, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 3,
         "tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 1e5}},
        torch.float16,
    ),
    "gpt2": (
        "GPT2",
        {"n_embd": 36, "n_layer": 3, "n_head": 3, "n_inner": 71, "n_positions": 48},
        torch.float32,
    ),
    "neox": (
        "GPTNeoX",
        {**LLAMA, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
         "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25}},
        torch.float32,
    ),
    "neox_in_turn": (
        "GPTNeoX",
        {**LLAMA, "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3, "attention_bias": False,
         "use_parallel_residual": False, "hidden_act": "gelu_new", "tie_word_embeddings": True,
         "rope_parameters": {"rope_type": "default", "rope_theta": 2e4, "partial_rotary_factor": 0.5}},
        torch.float32,
    ),
}  # fmt: skip
UNUSED_ROWS = {"gpt2": 6, "neox": 3}  # of the embedding, beyond the tokenizer's types
TEXT = "The cat saw the old owl by the sea. A small dog heard it, and the baker liked both of them. " * 3


def tokenizer() -> tokenizers.Tokenizer:
    """Byte-level BPE of 280 types, with an end of text that also begins one."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=280, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([TEXT], trainer)
    return made


def made_model(kind: str, settings: dict[str, Any], dtype: torch.dtype, types: int, seed: int) -> Any:
    """A model with random numbers everywhere: in biases, and in norms around 1."""
    config = getattr(transformers, f"{kind}Config")(**COMMON, **settings, vocab_size=types)
    config._attn_implementation = "eager"
    name = f"{kind}LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM"
    model = getattr(transformers, name)(config).eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, one in model.named_parameters():
            values = torch.randn(one.shape, generator=draw) * 0.2
            scale = name.endswith("weight") and one.ndim == 1
            # Parameters alone are rounded: `model.to` would round the rates of rotary positions too.
            one.copy_((values + 1.0 if scale else values).to(dtype))
    return model


def outputs(model: Any, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Logits, and what each layer gives on."""
    found: list[np.ndarray] = []

    def keep(_module: Any, _given: Any, output: Any) -> None:
        found.append((output[0] if isinstance(output, tuple) else output).detach().numpy())

    inner = model.base_model
    layers = inner.h if hasattr(inner, "h") else inner.layers
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    with torch.no_grad():
        logits = model(torch.tensor(tokens)).logits.numpy()
    for hook in hooks:
        hook.remove()
    return {"tokens": tokens, "logits": logits, "layers": np.stack(found)}


def write(folder: Path, name: str, seed: int) -> None:
    """One case, as a folder of transformers and `expected.npz`."""
    kind, settings, dtype = CASES[name]
    text = tokenizer()
    types = text.get_vocab_size()
    model = made_model(kind, settings, dtype, types + UNUSED_ROWS.get(name, 0), seed)
    tokens = np.random.default_rng(seed).integers(0, types, (2, LENGTH))
    found = outputs(model, tokens)
    shards = {"max_shard_size": "20KB"} if name == "llama_biases" else {}
    model.to(dtype).save_pretrained(folder / name, **shards)
    (folder / name / "generation_config.json").unlink(missing_ok=True)
    text.save(str(folder / name / "tokenizer.json"))
    np.savez_compressed(folder / name / "expected.npz", **found)


if __name__ == "__main__":
    for number, case in enumerate(CASES):
        write(Path(sys.argv[1]), case, number)
