"""The same language model in PyTorch, with its fused attention and fused AdamW. Needs the optional extra
`bench`.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from aila_jax.config import FeedForwardKind, ModelConfig, NormKind, TrainConfig


def norm_of(config: ModelConfig, affine: bool = True) -> nn.Module:
    """LayerNorm, or RMSNorm with a scale."""
    if config.norm == NormKind.RMS:
        return nn.RMSNorm(config.d_model, eps=config.norm_epsilon)
    return nn.LayerNorm(config.d_model, eps=config.norm_epsilon, elementwise_affine=affine)


class Rotary(nn.Module):
    """Rotary positions: coordinates i and i + K / 2 are a pair."""

    cos: torch.Tensor
    sin: torch.Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        half = config.d_model // config.n_heads // 2
        rates = config.rotary_base ** (-torch.arange(half, dtype=torch.float32) / half)
        angles = torch.arange(config.length, dtype=torch.float32)[:, None] * rates
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, H, L, K] → the same."""
        cos, sin = (turn[: x.shape[2]].to(x.dtype) for turn in (self.cos, self.sin))
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class TorchBlock(nn.Module):
    """One layer."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        width = config.d_model
        self.heads = config.n_heads
        self.attention_norm = norm_of(config, affine=config.norm != NormKind.CENTRED)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.rotary = Rotary(config) if config.rotary_base else None
        self.out = nn.Linear(width, width, bias=config.out_bias)
        self.mlp_norm = norm_of(config)
        self.mlp_in = nn.Linear(width, config.d_ff, bias=config.mlp_bias)
        gated = config.feed_forward == FeedForwardKind.SWIGLU
        self.mlp_gate = nn.Linear(width, config.d_ff, bias=config.mlp_bias) if gated else None
        self.mlp_out = nn.Linear(config.d_ff, width, bias=config.mlp_bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, L, D] → [B, L, D]."""
        batch, length, width = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        y = self.mlp_norm(x)
        if self.mlp_gate is not None:
            return x + self.mlp_out(F.silu(self.mlp_gate(y)) * self.mlp_in(y))
        return x + self.mlp_out(F.gelu(self.mlp_in(y), approximate="tanh"))


class TorchTransformer(nn.Module):
    """Decoder with tied embeddings, the norms before each part, with learned or rotary positions."""

    def __init__(self, config: ModelConfig, vocab_size: int):
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(vocab_size, config.d_model))
        learned = config.learned_positions
        self.position = nn.Parameter(torch.zeros(config.length, config.d_model)) if learned else None
        self.layers = nn.ModuleList(TorchBlock(config) for _ in range(config.n_layers))
        self.final_norm = norm_of(config)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [B, L] → logits [B, L, V]."""
        x = F.embedding(tokens, self.embedding)
        if self.position is not None:
            x = x + self.position[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return F.linear(self.final_norm(x), self.embedding)

    def losses(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [B, L + 1] → mean cross-entropy over all targets, nats."""
        return F.cross_entropy(self(tokens[:, :-1]).flatten(0, 1).float(), tokens[:, 1:].flatten())

    def scores(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens [B, L + 1] → summed loss and correct targets."""
        logits, targets = self(tokens[:, :-1]).flatten(0, 1).float(), tokens[:, 1:].flatten()
        loss = F.cross_entropy(logits, targets, reduction="sum")
        return loss, (logits.gather(1, targets[:, None])[:, 0] >= logits.amax(1)).sum()


def load_weights(model: TorchTransformer, weights: dict[str, Any]) -> None:
    """Copies a parameter tree of ours: kernels are [in, out] there, and query, key and value stand apart."""

    def put(target: torch.Tensor, source: np.ndarray) -> None:
        assert target.shape == source.shape, (target.shape, source.shape)
        target.copy_(torch.from_numpy(np.ascontiguousarray(source)))

    def put_norm(norm: nn.Module, source: dict[str, Any]) -> None:
        (held,) = source.values()
        put(norm.weight, held["scale"])
        if "bias" in held:
            put(norm.bias, held["bias"])

    def put_dense(linear: nn.Linear, source: dict[str, Any]) -> None:
        put(linear.weight, source["kernel"].reshape(-1, linear.out_features).T)
        if "bias" in source:
            put(linear.bias, source["bias"])

    width = weights["embedding"].shape[1]
    with torch.no_grad():
        put(model.embedding, weights["embedding"])
        if model.position is not None:
            put(model.position, weights["position"])
        put_norm(model.final_norm, weights["final_norm"])
        for index, layer in enumerate(model.layers):
            ours = weights[f"layer_{index}"]
            attention = ours["attention"]
            kernels = [
                attention[name]["kernel"].reshape(width, width).T for name in ("query", "key", "value")
            ]
            put(layer.qkv.weight, np.concatenate(kernels))
            put_dense(layer.out, attention["out"])
            for name in ("attention_norm", "mlp_norm"):
                if name in ours:
                    put_norm(getattr(layer, name), ours[name])
            for name in ("mlp_in", "mlp_gate", "mlp_out"):
                if name in ours:
                    put_dense(getattr(layer, name), ours[name])


def build_torch_optimizer(model: TorchTransformer, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW with decay on matrices only."""
    params = list(model.parameters())
    groups = [
        {"params": [p for p in params if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, config.beta2), eps=1e-8, fused=True)


def learning_rate_at(config: TrainConfig, step: int) -> float:
    """The rate of our schedule without warm-up: a cosine from the highest rate to `final_rate` times it."""
    share = min(step / config.steps, 1.0)
    return config.learning_rate * (
        config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * share))
    )
