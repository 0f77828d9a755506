"""Locality attention and its statistics as plain float64 loops, written from docs/method.md (section 2)."""

import math
from dataclasses import dataclass

import numpy as np

PADDING = -1
GLOBAL = -2


@dataclass(frozen=True)
class Attended:
    """Arrays as in the package: out [B, L, H, K], weights and z [B, H, L, L] (0 outside A_t), per-query
    statistics [B, H, L] or [B, L].
    """

    out: np.ndarray
    weights: np.ndarray
    z: np.ndarray
    entropy_bits: np.ndarray
    block_mass: np.ndarray
    local_mass: np.ndarray
    delta: np.ndarray
    n_keys: np.ndarray
    n_in: np.ndarray
    n_local: np.ndarray


def may_attend(ids, t: int, j: int, causal: bool = True, doc_ids=None, key_ids=None) -> bool:
    """Whether key j is in A_t. `ids`, `doc_ids` and `key_ids` are those of one row."""
    key_ids = ids if key_ids is None else key_ids
    if t == j:
        return True
    if ids[t] == PADDING or key_ids[j] == PADDING or ids[j] == PADDING:
        return False
    if doc_ids is not None and doc_ids[t] != doc_ids[j]:
        return False
    return not causal or j <= t


def in_block(query_id: int, key_id: int) -> bool:
    """Whether query and key share a block; a global token shares every block."""
    return GLOBAL in (query_id, key_id) or query_id == key_id


def scores(q, k, scale=None, cap=0.0) -> np.ndarray:
    """s[b, h, t, j] = ⟨q_t, k_j⟩ · scale_h, with 1/√K by default; c · tanh(s / c) with a cap c."""
    q, k = np.asarray(q, np.float64), np.asarray(k, np.float64)
    scale = np.broadcast_to(
        1.0 / math.sqrt(q.shape[-1]) if scale is None else np.asarray(scale, np.float64), (q.shape[2],)
    )
    s = np.einsum("bthk,bjhk,h->bhtj", q, k, scale)
    return cap * np.tanh(s / cap) if cap else s


def self_scaling(
    q,
    k,
    ids,
    *,
    c: float | np.ndarray,
    m0: float,
    exact: bool,
    causal=True,
    doc_ids=None,
    key_ids=None,
    scale=None,
    score_cap=0.0,
) -> np.ndarray:
    """m[b, h, t] = c · r_t + m0, c a number or [B, 1, 1], r_t the range of the scores over A_t or its bound
    2‖q_t‖ max‖k_j‖ · |scale|.
    """
    return (
        c
        * score_range(
            q,
            k,
            ids,
            exact=exact,
            causal=causal,
            doc_ids=doc_ids,
            key_ids=key_ids,
            scale=scale,
            score_cap=score_cap,
        )
        + m0
    )


def score_range(
    q, k, ids, *, exact: bool, causal=True, doc_ids=None, key_ids=None, scale=None, score_cap=0.0
) -> np.ndarray:
    """r[b, h, t] of the self-scaling margin."""
    s = scores(q, k, scale, score_cap)
    rows, heads, length, _ = s.shape
    scale = np.broadcast_to(
        1.0 / math.sqrt(np.shape(q)[-1]) if scale is None else np.asarray(scale, np.float64), (heads,)
    )
    r = np.zeros((rows, heads, length))
    for b, h, t in np.ndindex(r.shape):
        keys = [
            j for j in range(length) if may_attend(ids[b], t, j, causal, _row(doc_ids, b), _row(key_ids, b))
        ]
        if exact:
            r[b, h, t] = max(s[b, h, t, j] for j in keys) - min(s[b, h, t, j] for j in keys)
        else:
            longest = max(np.linalg.norm(np.asarray(k[b, j, h], np.float64)) for j in keys)
            r[b, h, t] = 2.02 * abs(scale[h]) * np.linalg.norm(np.asarray(q[b, t, h], np.float64)) * longest
    return r


def attend(
    q,
    k,
    v,
    ids,
    *,
    lam,
    tau,
    margin,
    causal=True,
    doc_ids=None,
    key_ids=None,
    scale=None,
    score_cap=0.0,
    hard=False,
) -> Attended:
    """The whole of section 2 for one batch; `tau` scalar or [B], `lam` those or [B, H], `margin` a number or
    [B, H, L].
    """
    s = scores(q, k, scale, score_cap)
    v = np.asarray(v, np.float64)
    rows, heads, length, _ = s.shape
    lam, tau = np.asarray(lam, np.float64), np.broadcast_to(np.asarray(tau, np.float64), (rows,))
    lam = np.broadcast_to(lam if lam.ndim == 2 else lam.reshape(-1, 1), (rows, heads))
    margin = np.broadcast_to(np.asarray(margin, np.float64), (rows, heads, length))
    weights, z = np.zeros(s.shape), np.zeros(s.shape)
    entropy, mass, local_mass, delta = (np.zeros((rows, heads, length)) for _ in range(4))
    n_keys, n_in, n_local = (np.zeros((rows, length), int) for _ in range(3))
    for b, h, t in np.ndindex(rows, heads, length):
        key_row = ids[b] if key_ids is None else key_ids[b]
        keys = [j for j in range(length) if may_attend(ids[b], t, j, causal, _row(doc_ids, b), key_row)]
        inside = [j for j in keys if in_block(ids[b][t], key_row[j])]
        if hard:
            keys = inside or [t]
        local = [j for j in inside if ids[b][t] == key_row[j] and key_row[j] != GLOBAL]
        outside = [j for j in keys if j not in inside]
        for j in keys:
            z[b, h, t, j] = (s[b, h, t, j] - lam[b, h] * margin[b, h, t] * (j in outside)) / tau[b]
        largest = max(z[b, h, t, j] for j in keys)
        total = sum(math.exp(z[b, h, t, j] - largest) for j in keys)
        for j in keys:
            weights[b, h, t, j] = math.exp(z[b, h, t, j] - largest) / total
        entropy[b, h, t] = sum(-w * math.log2(w) for w in weights[b, h, t] if w > 0)
        mass[b, h, t] = sum(weights[b, h, t, j] for j in inside)
        local_mass[b, h, t] = sum(weights[b, h, t, j] for j in local)
        if inside and outside:
            delta[b, h, t] = tau[b] * (
                min(z[b, h, t, j] for j in inside) - max(z[b, h, t, j] for j in outside)
            )
        n_keys[b, t], n_in[b, t], n_local[b, t] = len(keys), len(inside), len(local)
    out = np.einsum("bhtj,bjhk->bthk", weights, v)
    return Attended(out, weights, z, entropy, mass, local_mass, delta, n_keys, n_in, n_local)


def _row(ids, b: int):
    return None if ids is None else ids[b]
