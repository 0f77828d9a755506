"""How far reading a pretrained model raises the peak of memory, as a multiple of its float32 weights.

    python -m benchmarks.pretrained_memory

A model of about 200 MB of float32 is drawn and written, as safetensors of three types and as GGUF of two, and
each file is read in a process of its own.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import ml_dtypes
import numpy as np
from gguf.quants import quantize
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

WIDTH, LAYERS, HEADS, INNER, TYPES = 768, 6, 12, 2048, 8192
FOLDERS = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
FILES = ("F16", "Q8_0")
READER = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp
from aila_jax.config import RelationConfig
from aila_jax.pretrained.loading import from_pretrained
def memory(name):  # in bytes, of this process alone; getrusage's peak begins with that of the process before exec
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
jnp.zeros(8).block_until_ready()  # what JAX itself needs
before = memory("VmRSS")
model = from_pretrained(sys.argv[1], length=128, relation=RelationConfig())  # without a begin token no sink
size = sum(one.nbytes for one in jax.tree.leaves(model.params))
print(memory("VmHWM") - before, size)
"""


def names() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Of each tensor of a folder its name in a GGUF file, and its shape; a decoder of the family Llama."""
    found: dict[str, tuple[str, tuple[int, ...]]] = {
        "model.embed_tokens": ("token_embd", (TYPES, WIDTH)),
        "model.norm": ("output_norm", (WIDTH,)),
    }
    square, norms = (WIDTH, WIDTH), {"input": "attn_norm", "post_attention": "ffn_norm"}
    parts = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output"}
    for layer in range(LAYERS):
        at, there = f"model.layers.{layer}", f"blk.{layer}"
        found |= {f"{at}.self_attn.{one}_proj": (f"{there}.{name}", square) for one, name in parts.items()}
        found |= {f"{at}.mlp.{one}_proj": (f"{there}.ffn_{one}", (INNER, WIDTH)) for one in ("gate", "up")}
        found[f"{at}.mlp.down_proj"] = (f"{there}.ffn_down", (WIDTH, INNER))
        found |= {f"{at}.{one}_layernorm": (f"{there}.{name}", (WIDTH,)) for one, name in norms.items()}
    return found


def types() -> list[str]:
    """Types of a byte-level tokenizer, as many as the embedding has rows."""
    own = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ty"]
    return own + [f"type{place}" for place in range(len(own), TYPES)]


def write_folder(folder: Path, kind: str) -> Path:
    """The model as safetensors."""
    folder.mkdir()
    draw, dtype = np.random.default_rng(0), FOLDERS[kind]
    header, start = {}, 0
    for name, (_, shape) in names().items():
        end = start + int(np.prod(shape)) * np.dtype(dtype).itemsize
        header[f"{name}.weight"] = {"dtype": kind, "shape": shape, "data_offsets": (start, end)}
        start = end
    head = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for _, shape in names().values():
            file.write(draw.standard_normal(shape, np.float32).astype(dtype).tobytes())
    config = {
        "model_type": "llama",
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "tie_word_embeddings": True,
        "vocab_size": TYPES,
    }
    (folder / "config.json").write_text(json.dumps(config))
    made = Tokenizer(models.BPE(vocab={one: place for place, one in enumerate(types())}, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.save(str(folder / "tokenizer.json"))
    return folder


def write_file(path: Path, kind: str) -> Path:
    """The model as GGUF."""
    draw, stored = np.random.default_rng(0), gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(types())
    writer.add_token_merges(["t y"])
    for name, shape in names().values():
        array = draw.standard_normal(shape, np.float32)
        if array.ndim == 1:
            writer.add_tensor(f"{name}.weight", array)
        else:
            writer.add_tensor(f"{name}.weight", quantize(array, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def rise(path: Path) -> float:
    """The rise of the peak of memory while a model is read, over what the process had before, divided by the
    bytes of its float32 weights.
    """
    done = subprocess.run(
        [sys.executable, "-c", READER, str(path)], stdout=subprocess.PIPE, text=True, check=True
    )
    more, size = map(int, done.stdout.split()[-2:])
    return more / size


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        for kind in FOLDERS:
            print(f"folder {kind:5} {rise(write_folder(Path(name) / kind, kind)):.2f}", flush=True)
        for kind in FILES:
            print(f"gguf   {kind:5} {rise(write_file(Path(name) / f'{kind}.gguf', kind)):.2f}", flush=True)


if __name__ == "__main__":
    main()
