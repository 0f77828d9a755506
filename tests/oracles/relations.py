"""What is inside, layer by layer, and the gate, as plain loops, written from docs/method.md (sections 11 and
12).
"""

import math
from dataclasses import dataclass

import numpy as np

from tests.oracles.attention import GLOBAL, PADDING

OWN, POINTED, SUNK = 1, 2, 3


@dataclass(frozen=True)
class Rule:
    """A relation in words. `blocks` of a layer: ("windows", size), ("segments", boundary of each type),
    ("given",) or ("all",); one for all layers, or one for each.
    """

    blocks: tuple
    layers: int = 1
    sink: bool = False
    shift: int = 0
    pointers: str = "none"
    k: int = 1
    seed: int = 0
    horizon: int | None = None
    entropy: tuple = ()
    global_first: bool = False
    document_mask: bool = False


@dataclass(frozen=True)
class Text:
    """One row: token types, documents (PADDING at padding) and given ids."""

    tokens: tuple
    docs: tuple
    given: tuple


def kinds(rule: Rule, text: Text, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """inside[t, j], and its kind: OWN, POINTED, SUNK or 0, for j <= t of the same context; no others are
    compared.
    """
    length = len(text.tokens)
    inside, kind = np.zeros((length, length), bool), np.zeros((length, length), int)
    starts = [
        t for t in range(length) if text.docs[t] != PADDING and (t == 0 or text.docs[t] != text.docs[t - 1])
    ]
    sinks = set(starts) if rule.sink else set()
    if rule.global_first:  # of no piece, then
        given = tuple(GLOBAL if t in starts else text.given[t] for t in range(length))
        text = Text(text.tokens, text.docs, given)
    for context in contexts(text, rule.document_mask):
        ids = block_ids(rule, text, context, layer)
        for t in context:
            if rule.global_first and t in starts:
                ids[t] = GLOBAL
        blocks = stretches(context, ids)
        number = {t: b for b, members in enumerate(blocks) for t in members}
        pointers = {t for b, members in enumerate(blocks) for t in chosen(rule, text, members, b)}
        for t in context:
            for j in (j for j in context if j <= t):
                plain = ids[t] == ids[j]
                shared = GLOBAL in (ids[t], ids[j])
                apart = number[t] - number[j] if t in number and j in number else 0
                pointed = j in pointers and 1 <= apart <= (rule.horizon or length)
                if t in sinks:
                    inside[t, j], kind[t, j] = j == t, SUNK if j == t else 0
                else:
                    inside[t, j] = plain or shared or pointed or j in sinks
                    kind[t, j] = (
                        SUNK if j in sinks else 0 if shared else OWN if plain else POINTED if pointed else 0
                    )
    return inside, kind


def contexts(text: Text, document_mask: bool) -> list[list[int]]:
    """What positions are counted in: documents under a document mask, else the whole row; no padding."""
    real = [t for t in range(len(text.docs)) if text.docs[t] != PADDING]
    if not document_mask:
        return [real] if real else []
    return [[t for t in real if text.docs[t] == doc] for doc in dict.fromkeys(text.docs[t] for t in real)]


def block_ids(rule: Rule, text: Text, context: list[int], layer: int) -> dict:
    """Something that tokens of one block, and no others, share."""
    own = rule.blocks[layer] if len(rule.blocks) > 1 else rule.blocks[0]
    found, segment, run, last = {}, 0, 0, None
    for position, t in enumerate(context):
        if own[0] == "windows":
            found[t] = ("window", (position - rule.shift * layer) // own[1])  # no −1 or −2, which mean others
        elif own[0] == "segments":
            found[t] = (segment + layer % 2) // 2 if rule.shift else segment
            segment += bool(own[1][text.tokens[t]])
        elif own[0] == "given" and text.given[t] == GLOBAL:
            found[t] = GLOBAL
        elif own[0] == "given":
            run += last is not None and text.given[t] != last
            last = text.given[t]
            found[t] = (run + layer % 2) // 2 if rule.shift else text.given[t]
        else:
            found[t] = 0
    return found


def stretches(context: list[int], ids: dict) -> list[list[int]]:
    """Members of each block, in the order of the text; global tokens are of none."""
    blocks: list[list[int]] = []
    last = None
    for t in context:
        if ids[t] == GLOBAL:
            continue
        if last is None or ids[t] != last:
            blocks.append([])
        blocks[-1].append(t)
        last = ids[t]
    return blocks


def chosen(rule: Rule, text: Text, members: list[int], number: int) -> list[int]:
    """The pointers of a block."""
    if rule.pointers == "ends":
        return members[-1:]
    if rule.pointers == "random":
        return [members[murmur(number, rule.seed) % len(members)]]
    if rule.pointers == "anchors":
        ranked = sorted(members, key=lambda t: (rule.entropy[text.tokens[t]], t))
        return ranked[: min(rule.k, max(len(members) - 1, 1))]
    return []


def murmur(number: int, seed: int) -> int:
    """The finalizer of MurmurHash3 on 32 bits, of the block's number moved by the seed."""
    x = (number + seed * 0x9E3779B9 + 0x85EBCA6B) % 2**32
    x = (x ^ (x >> 16)) * 0x85EBCA6B % 2**32
    x = (x ^ (x >> 13)) * 0xC2B2AE35 % 2**32
    return x ^ (x >> 16)


def attend(scores, attendable, inside, *, lam, tau, margin, gate=0.0) -> tuple[np.ndarray, np.ndarray]:
    """α [B, H, L, L] in float64 and entropy [B, H, L] in bits; `lam` [B, H], `tau` [B], `margin` a number or
    [B, H, L], the masks [B, L, L].

    The weights outside are those of the margin times (1 − λ)^κ, made to sum to 1 again. A query without a key
    inside keeps its own position whole.
    """
    rows, heads, length, _ = scores.shape
    margin = np.broadcast_to(np.asarray(margin, np.float64), (rows, heads, length))
    alpha, entropy = np.zeros(scores.shape), np.zeros((rows, heads, length))
    for b, h, t in np.ndindex(rows, heads, length):
        keys = [j for j in range(length) if attendable[b, t, j]]
        alone = not any(inside[b, t, j] for j in keys)
        z = {
            j: (scores[b, h, t, j] - (0 if inside[b, t, j] else lam[b, h] * margin[b, h, t])) / tau[b]
            for j in keys
        }
        passes = {j: inside[b, t, j] or (alone and j == t) for j in keys}
        kept = [j for j in keys if passes[j] or not (gate and lam[b, h] == 1.0)]
        top = max(z[j] for j in kept)
        raw = {j: math.exp(z[j] - top) * (1.0 if passes[j] else (1.0 - lam[b, h]) ** gate) for j in kept}
        total = sum(raw.values())
        for j in kept:
            alpha[b, h, t, j] = raw[j] / total
        entropy[b, h, t] = sum(-w * math.log2(w) for w in alpha[b, h, t] if w > 0)
    return alpha, entropy
