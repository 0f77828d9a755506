"""Tokens a second of generation: with keys and values kept, by full passes, and by transformers.

    python -m benchmarks.generation --shape=smollm2 --batch=1,8 --out=generation
    python -m benchmarks.generation --shape=tiny --prompt=8 --new=8 --rounds=1

A model of Llama's parts with drawn weights continues drawn prompts greedily. Where PyTorch and transformers
are installed, a transformers model with the same weights does the same: its logits are compared first, and
then who draws which tokens. All use `--threads` threads and float32, and take turns; medians are over rounds.
Compilation is timed apart. What full passes take is measured over `--full` tokens.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from aila_jax.cli.huge_pages import restart_in_huge_pages


@dataclass(frozen=True)
class Shape:
    """Of a model of the Llama family, tied.

    Attributes:
      layers: N.
      width: D.
      heads: H.
      kv_heads: G.
      inner: F.
      vocabulary: V.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int


SHAPES = {
    "tiny": Shape(2, 32, 4, 2, 48, 300),
    "deep": Shape(6, 64, 4, 2, 128, 1000),
    "smollm2": Shape(30, 576, 9, 3, 1536, 49152),  # SmolLM2-135M
}
BASE, EPSILON = 100_000.0, 1e-5


@dataclass(frozen=True)
class Speed:
    """One contestant at one batch size.

    Attributes:
      who: `kept`, `full` or `transformers`.
      batch: prompts side by side.
      first_seconds: of its first call, with compilation.
      tokens_per_second: new tokens of all prompts, the reading of the prompts included; one number a round.
    """

    who: str
    batch: int
    first_seconds: float
    tokens_per_second: tuple[float, ...]


def drawn_model(shape: Shape, length: int) -> Any:
    """A `LanguageModel` of this shape with drawn weights and a vocabulary of numbered words."""
    import jax

    from aila_jax.config import Config, DataConfig, FeedForwardKind, ModelConfig, NormKind
    from aila_jax.data.documents import Document
    from aila_jax.data.tokenizer import train_tokenizer
    from aila_jax.inference.inputs import example_batch
    from aila_jax.inference.language_model import LanguageModel

    data = DataConfig(corpus="text", files=("never read",), tokenizer="word", vocab_size=shape.vocabulary)
    words = " ".join(f"w{number}" for number in range(shape.vocabulary - 2))
    tokenizer = train_tokenizer(data, [Document("words", (words,))])
    model = ModelConfig(
        length=length,
        d_model=shape.width,
        n_heads=shape.heads,
        n_kv_heads=shape.kv_heads,
        d_ff=shape.inner,
        n_layers=shape.layers,
        norm=NormKind.RMS,
        norm_epsilon=EPSILON,
        feed_forward=FeedForwardKind.SWIGLU,
        rotary_base=BASE,
        learned_positions=False,
        out_bias=False,
        mlp_bias=False,
    )
    empty = LanguageModel(None, Config(data=data, model=model), tokenizer, "drawn", 0, {})
    params = jax.jit(lambda key: empty.network.init(example_batch(empty.config), key))(jax.random.key(0))
    return LanguageModel(params, empty.config, tokenizer, "drawn", 0, {})


def twin_of(model: Any, shape: Shape) -> Any:
    """A transformers model with the same weights."""
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=model.tokenizer.vocab_size,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.width // shape.heads,
        rope_theta=BASE,
        rms_norm_eps=EPSILON,
        tie_word_embeddings=True,
        max_position_embeddings=model.config.model.length,
    )
    twin = transformers.LlamaForCausalLM(config).eval()

    def tensor(x: Any) -> Any:
        return torch.from_numpy(np.array(x, np.float32))

    named = {"model.embed_tokens.weight": tensor(model.params["embedding"])}
    named["lm_head.weight"] = named["model.embed_tokens.weight"]
    named["model.norm.weight"] = tensor(model.params["final_norm"]["RMSNorm_0"]["scale"])
    for number in range(shape.layers):
        layer, to = model.params[f"layer_{number}"], f"model.layers.{number}"
        for ours, theirs in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
            kernel = np.asarray(layer["attention"][ours]["kernel"])
            named[f"{to}.self_attn.{theirs}.weight"] = tensor(kernel.reshape(shape.width, -1).T)
        out = np.asarray(layer["attention"]["out"]["kernel"]).reshape(-1, shape.width)
        named[f"{to}.self_attn.o_proj.weight"] = tensor(out.T)
        for ours, theirs in (("mlp_gate", "gate_proj"), ("mlp_in", "up_proj"), ("mlp_out", "down_proj")):
            named[f"{to}.mlp.{theirs}.weight"] = tensor(np.asarray(layer[ours]["kernel"]).T)
        for ours, theirs in (("attention_norm", "input_layernorm"), ("mlp_norm", "post_attention_layernorm")):
            named[f"{to}.{theirs}.weight"] = tensor(layer[ours]["RMSNorm_0"]["scale"])
    twin.load_state_dict(named, strict=True)
    return twin


def kept(model: Any, prompts: np.ndarray, new: int) -> np.ndarray:
    """Greedy tokens by the product."""
    from aila_jax.config.options import GenerateOptions
    from aila_jax.inference.generation import continue_prompts
    from aila_jax.inference.rows import Prompt

    asked = [Prompt("", tuple(ids), (0,) * len(ids)) for ids in prompts.tolist()]
    options = GenerateOptions(max_tokens=new, sample_temperature=0.0, top_k=1)
    return np.array([one.ids[one.prompt_tokens :] for [one] in continue_prompts(model, asked, options)])


def full(model: Any, prompts: np.ndarray, new: int) -> np.ndarray:
    """Greedy tokens by a forward pass over the whole window for each."""
    length = model.config.model.length
    tokens = np.zeros((len(prompts), length), np.int32)
    tokens[:, : prompts.shape[1]] = prompts
    for at in range(prompts.shape[1] - 1, prompts.shape[1] + new - 1):
        tokens[:, at + 1] = np.asarray(_next(model.network, model.params, model.batch(tokens), at))
    return tokens[:, prompts.shape[1] : prompts.shape[1] + new]


def _next(network: Any, params: Any, batch: Any, at: int) -> Any:
    """The likeliest token after a position."""
    import jax

    global _compiled
    if _compiled is None:
        from aila_jax.model.interface import Dial, Request

        def likeliest(network: Any, params: Any, batch: Any, at: Any) -> Any:
            return network(params, batch, Dial(0.0, 1.0), Request()).logits[:, at].argmax(-1)

        _compiled = jax.jit(likeliest)
    return _compiled(network, params, batch, at)


_compiled: Callable[..., Any] | None = None


def by_transformers(twin: Any, prompts: np.ndarray, new: int) -> np.ndarray:
    """Greedy tokens by `generate` of transformers."""
    import torch

    ids = torch.from_numpy(prompts.astype(np.int64))
    with torch.inference_mode():
        found = twin.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
        )
    return found[:, prompts.shape[1] :].numpy()


def same_logits(model: Any, twin: Any, prompts: np.ndarray) -> float:
    """The largest difference of two models' logits."""
    import torch

    with torch.inference_mode():
        theirs = twin(torch.from_numpy(prompts.astype(np.int64))).logits.numpy()
    return float(np.abs(np.asarray(model.apply(prompts).logits) - theirs).max())


def measured(
    contestants: dict[str, Callable[[np.ndarray], np.ndarray]], prompts: np.ndarray, rounds: int
) -> list[Speed]:
    """Each in turn, round by round, after a first call that is timed apart."""
    first: dict[str, float] = {}
    speeds: dict[str, list[float]] = {who: [] for who in contestants}
    for turn in range(rounds + 1):
        for who, call in contestants.items():
            began = time.perf_counter()
            drawn = call(prompts)
            seconds = time.perf_counter() - began
            if turn == 0:
                first[who] = seconds
            else:
                speeds[who].append(drawn.size / seconds)
    return [Speed(who, len(prompts), first[who], tuple(speeds[who])) for who in contestants]


def use_cpu(threads: int) -> None:
    """Keeps JAX to so many processors. It counts them when it begins, and its pool has a thread for each."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["JAX_PLATFORMS"] = "cpu"


def main(arguments: Sequence[str]) -> None:
    """Measures, prints a table and writes it and JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=list(SHAPES), default="tiny")
    parser.add_argument("--prompt", type=int, default=128, help="tokens of each prompt")
    parser.add_argument("--new", type=int, default=128, help="tokens to draw")
    parser.add_argument("--full", type=int, default=8, help="tokens to draw by full passes; 0 for none")
    parser.add_argument("--batch", default="1,8", help="prompts side by side, with commas between")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default="", help="folder for generation.json and table.md")
    asked = parser.parse_args(arguments)
    use_cpu(asked.threads)
    from benchmarks.record import describe_machine
    from benchmarks.turns import versions_of, write_files

    machine = describe_machine("cpu")
    shape = SHAPES[asked.shape]
    model = drawn_model(shape, asked.prompt + asked.new)
    twin = None
    if find_spec("torch") and find_spec("transformers"):
        import torch

        torch.set_num_threads(asked.threads)
        twin = twin_of(model, shape)
    found: list[Speed] = []
    notes: dict[str, Any] = {}
    for batch in map(int, asked.batch.split(",")):
        draw = np.random.default_rng(batch)
        prompts = draw.integers(1, model.tokenizer.vocab_size, (batch, asked.prompt)).astype(np.int32)
        contestants = {"kept": lambda prompts: kept(model, prompts, asked.new)}
        if asked.full:
            contestants["full"] = lambda prompts: full(model, prompts, asked.full)
        if twin is not None:
            contestants["transformers"] = lambda prompts: by_transformers(twin, prompts, asked.new)
        found += measured(contestants, prompts, asked.rounds)
        ours = kept(model, prompts, asked.new)
        if twin is not None:
            notes[f"logits differ by at most, batch {batch}"] = same_logits(model, twin, prompts)
            equal = int((ours == by_transformers(twin, prompts, asked.new)).sum())
            notes[f"equal tokens of transformers, batch {batch}"] = f"{equal} of {ours.size}"
        if asked.full:
            some = full(model, prompts, min(asked.full, asked.new))
            notes[f"equal tokens of full passes, batch {batch}"] = (
                f"{int((ours[:, : some.shape[1]] == some).sum())} of {some.size}"
            )
    text = table(found)
    print(f"{text}\n{lines_of(notes)}")
    if asked.out:
        heading = (
            f"`{asked.shape}`: {asked.new} tokens after {asked.prompt}; {machine.processor}, {asked.threads} threads,"
            f" float32; medians and quartiles of {asked.rounds} rounds.\n\n"
        )
        write_files(
            Path(asked.out),
            "generation",
            arguments,
            machine,
            found,
            f"{heading}{text}\n{lines_of(notes)}",
            versions_of("torch", "transformers"),
        )


def table(found: Sequence[Speed]) -> str:
    """Markdown, a line for each contestant and batch size."""
    from benchmarks.rounds import quartiles, ratios

    lines = [
        "| batch | | tokens/s | speed of kept ÷ its | first call, seconds |",
        "| --- | --- | --- | --- | --- |",
    ]
    ours = {one.batch: one for one in found if one.who == "kept"}
    for one in found:
        ratio = ratios(ours[one.batch].tokens_per_second, one.tokens_per_second)
        own = quartiles(one.tokens_per_second)
        lines.append(
            f"| {one.batch} | {one.who} | {own.shown(1)} | {ratio.shown(2)} | {one.first_seconds:.1f} |"
        )
    return "\n".join(lines) + "\n"


def lines_of(notes: Mapping[str, Any]) -> str:
    """What was compared, a line each."""
    return "".join(f"- {name}: {value}\n" for name, value in notes.items())


if __name__ == "__main__":
    restart_in_huge_pages()  # as aila does
    main(sys.argv[1:])
