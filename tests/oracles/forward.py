"""A whole forward pass in float64 NumPy with every intermediate result by name, written from docs/method.md
and the docstrings of settings; for windows with or without a sink, fixed margins and half-split rotary
positions.
"""

import math

import numpy as np

from tests.oracles.attention import PADDING


def forward(model, tokens, positions, docs, lam: float, tau: float, size: int, sink: bool = False) -> dict:
    """Every result of `LanguageModel.result_names`; windows of `size` tokens."""
    cfg, params = model.config.model, model.params
    tokens, positions, docs = (np.asarray(one) for one in (tokens, positions, docs))
    x = wide(params["embedding"])[tokens]
    if cfg.learned_positions:
        x = x + wide(params["position"])[positions]
    seen, inside = relation(positions, docs, size, sink, cfg.document_mask)
    found = {}
    for number in range(cfg.n_layers):
        x = layer(
            cfg, params[f"layer_{number}"], x, (seen, inside, positions, lam, tau), found, f"layer_{number}."
        )
    found["final_norm"] = norm(cfg, params["final_norm"], x)
    output = wide(params["embedding" if cfg.tied else "output"])
    found["logits"] = found["final_norm"] @ output.T
    return found


def layer(cfg, params, x, setting, found: dict, at: str) -> np.ndarray:
    """One layer; puts its results into `found`."""
    seen, inside, positions, lam, tau = setting
    found[at + "residual_before"] = x
    y = found[at + "attention.input"] = norm(cfg, params.get("attention_norm", {}), x)
    parts = {}
    for name in ("query", "key", "value"):
        one = params["attention"][name]
        parts[name] = np.einsum("bld,dhk->blhk", y, wide(one["kernel"]))
        if cfg.qkv_bias:
            parts[name] = parts[name] + wide(one["bias"])
        if cfg.rotary_base and name != "value":
            parts[name] = rotated(parts[name], positions, cfg.rotary_base)
        plural = {"query": "queries", "key": "keys", "value": "values"}[name]
        found[at + "attention." + plural] = parts[name]
    serves = cfg.n_heads // cfg.kv_heads
    k, v = (
        np.stack([parts[name][:, :, h // serves] for h in range(cfg.n_heads)], axis=2)
        for name in ("key", "value")
    )
    scores = np.einsum("bthk,bjhk->bhtj", parts["query"], k) / math.sqrt(cfg.head_size)
    found[at + "attention.scores"] = scores
    outside = ~inside[:, None]
    z = (scores - np.where(outside, lam * cfg.margin.nats, 0.0)) / tau
    if cfg.margin.gate:
        z = z + np.where(outside, cfg.margin.gate * math.log(1.0 - lam), 0.0)
    z = np.where(seen[:, None], z, -np.inf)
    found[at + "attention.dialled"] = z
    weights = np.exp(z - z.max(axis=-1, keepdims=True))
    weights = found[at + "attention.weights"] = weights / weights.sum(axis=-1, keepdims=True)
    heads = found[at + "attention.heads"] = np.einsum("bhtj,bjhk->bthk", weights, v)
    out = params["attention"]["out"]
    attended = np.einsum("bthk,hkd->btd", heads, wide(out["kernel"]))
    if cfg.out_bias:
        attended = attended + wide(out["bias"])
    found[at + "attention.output"] = attended
    middle = found[at + "residual_middle"] = x + attended
    y = found[at + "feed_forward.input"] = norm(cfg, params["mlp_norm"], middle)
    inner = dense(cfg, params["mlp_in"], y)
    if cfg.feed_forward == "swiglu":
        gate = dense(cfg, params["mlp_gate"], y)
        inner = inner * gate / (1.0 + np.exp(-gate))
    else:
        inner = 0.5 * inner * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (inner + 0.044715 * inner**3)))
    found[at + "feed_forward.inner"] = inner
    fed = found[at + "feed_forward.output"] = dense(cfg, params["mlp_out"], inner)
    found[at + "residual"] = middle + fed
    return found[at + "residual"]


def relation(positions, docs, size: int, sink: bool, document_mask: bool) -> tuple[np.ndarray, np.ndarray]:
    """Which keys each query sees, and which of them are inside."""
    rows, length = docs.shape
    seen, inside = np.zeros((2, rows, length, length), bool)
    for b, t, j in np.ndindex(rows, length, length):
        real = docs[b, t] != PADDING and docs[b, j] != PADDING
        same_document = docs[b, t] == docs[b, j] or not document_mask
        seen[b, t, j] = t == j or (j < t and real and same_document)
        starts = j == 0 or docs[b, j - 1] != docs[b, j]
        same = positions[b, t] // size == positions[b, j] // size
        inside[b, t, j] = t == j or (seen[b, t, j] and (same or (sink and starts)))
        if sink and t != j and (t == 0 or docs[b, t - 1] != docs[b, t]):
            inside[b, t, j] = False  # a sink's own query has itself alone
    return seen, inside


def rotated(x, positions, base: float) -> np.ndarray:
    """Pair i, coordinates i and i + K/2, turned by position · base^(−2i/K)."""
    width = x.shape[-1]
    angle = positions[:, :, None, None] * base ** (-2.0 * np.arange(width // 2) / width)
    first, second = x[..., : width // 2], x[..., width // 2 :]
    turned = [first * np.cos(angle) - second * np.sin(angle), first * np.sin(angle) + second * np.cos(angle)]
    return np.concatenate(turned, axis=-1)


def norm(cfg, params, x) -> np.ndarray:
    """Root mean square, or LayerNorm, with whatever scale and bias there are."""
    one = params.get("RMSNorm_0" if cfg.norm == "rms_norm" else "LayerNorm_0", {})
    if cfg.norm != "rms_norm":
        x = x - x.mean(axis=-1, keepdims=True)
    y = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + cfg.norm_epsilon)
    y = y * wide(one["scale"]) if "scale" in one else y
    return y + wide(one["bias"]) if "bias" in one else y


def dense(cfg, params, x) -> np.ndarray:
    """A product with its bias."""
    y = x @ wide(params["kernel"])
    return y + wide(params["bias"]) if cfg.mlp_bias else y


def wide(array) -> np.ndarray:
    return np.asarray(array, np.float64)
