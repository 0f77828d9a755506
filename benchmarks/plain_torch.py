"""The same language model in PyTorch, with its fused attention and fused AdamW. Needs the optional extra
`bench`.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from aila_jax.config import ModelConfig, TrainConfig

EPSILON = 1e-6  # of LayerNorm: Flax's default, ten times below PyTorch's


class TorchBlock(nn.Module):
    """One layer."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        width = config.d_model
        self.heads = config.n_heads
        self.attention_norm = nn.LayerNorm(width, eps=EPSILON, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, eps=EPSILON)
        self.mlp_in = nn.Linear(width, config.d_ff)
        self.mlp_out = nn.Linear(config.d_ff, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, L, D] → [B, L, D]."""
        batch, length, width = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x)), approximate="tanh"))


class TorchTransformer(nn.Module):
    """Pre-LayerNorm decoder with tied embeddings and learned positions."""

    def __init__(self, config: ModelConfig, vocab_size: int):
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(vocab_size, config.d_model))
        self.position = nn.Parameter(torch.zeros(config.length, config.d_model))
        self.layers = nn.ModuleList(TorchBlock(config) for _ in range(config.n_layers))
        self.final_norm = nn.LayerNorm(config.d_model, eps=EPSILON)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [B, L] → logits [B, L, V]."""
        x = F.embedding(tokens, self.embedding) + self.position[: tokens.shape[1]]
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

    width = weights["embedding"].shape[1]
    with torch.no_grad():
        put(model.embedding, weights["embedding"])
        put(model.position, weights["position"])
        norms = [(model.final_norm, weights["final_norm"])]
        for index, layer in enumerate(model.layers):
            ours = weights[f"layer_{index}"]
            attention = ours["attention"]
            kernels = [
                attention[name]["kernel"].reshape(width, width).T for name in ("query", "key", "value")
            ]
            put(layer.qkv.weight, np.concatenate(kernels))
            put(layer.out.weight, attention["out"]["kernel"].reshape(width, width).T)
            put(layer.out.bias, attention["out"]["bias"])
            norms.append((layer.mlp_norm, ours["mlp_norm"]))
            for name in ("mlp_in", "mlp_out"):
                put(getattr(layer, name).weight, ours[name]["kernel"].T)
                put(getattr(layer, name).bias, ours[name]["bias"])
        for norm, ours in norms:
            put(norm.weight, ours["LayerNorm_0"]["scale"])
            put(norm.bias, ours["LayerNorm_0"]["bias"])


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
