"""Runs the model of this folder in transformers with its locality dial (README.md says what the dial is).

    python with_dial.py --text="The cat saw the owl." --lam=1 --tokens=20

Needs torch and transformers. Blocks come from the tokens, by the rules and tables in dial.json. One text at a
time, read anew for each token: slow, and exactly what the model was made with.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AttentionInterface, AutoModelForCausalLM

HERE = Path(__file__).resolve().parent
EVERY_BLOCK = -2  # the block id of a token that is in all of them


class Dialled:
    """The model, its tokenizer and its dial.

    Attributes:
      dial: dial.json.
      model: of transformers; by itself it attends to everything.
    """

    def __init__(self, folder: str | Path = HERE, base: str = "") -> None:
        folder = Path(folder)
        self.dial = json.loads((folder / "dial.json").read_text(encoding="utf-8"))
        name = "eager"
        if not self.dial["mask"]:
            name = f"aila_{id(self)}"
            AttentionInterface.register(name, self._attend)
        weights = base or self.dial["base"] or folder
        self.model = AutoModelForCausalLM.from_pretrained(
            weights, dtype=torch.float32, attn_implementation=name
        ).eval()
        self.tokenizer = _tokenizer(folder / "tokenizer.json", self.dial["text"]["unknown_byte"])
        self.lam, self.tau, self.hard = 0.0, 1.0, False
        self.inside: list[Tensor] = []
        if self.dial["base"]:
            self._add_adapters(folder)

    def encode(self, text: str) -> list[int]:
        """Token ids: the begin token, if the model has one, and each line end one token."""
        rules = self.dial["text"]
        ids = [] if rules["begin"] is None else [rules["begin"]]
        for number, line in enumerate(text.split("\n")):
            ids += [rules["line_end"]] if number else []
            read = self.tokenizer.encode(line, add_special_tokens=False).ids
            ids += [rules["read_as"].get(str(token), token) for token in read]
        return ids

    @torch.no_grad()
    def logits(
        self,
        tokens: Sequence[int],
        lam: float | None = None,
        tau: float | None = None,
        block_ids: Sequence[int] | None = None,
        hard: bool | None = None,
    ) -> Tensor:
        """Next-token logits [L, V] of one text; what is left out is as dial.json has it.

        Args:
          tokens: at most as many as the model reads.
          lam: λ in [0, 1].
          tau: τ, above 0.
          block_ids: the block of each token, for a model whose blocks are given.
          hard: attention inside alone; needs λ = 1.
        """
        self.hard = self.dial["hard"] if hard is None else hard
        self.lam, self.tau = self._checked(lam, tau, len(tokens))
        self.inside = inside(self.dial, list(tokens), block_ids)
        causal = torch.ones(len(tokens), len(tokens), dtype=torch.bool).tril()
        mask = torch.zeros(causal.shape).masked_fill(~causal, -math.inf)
        attentions = [one for one in self.model.modules() if hasattr(one, "scaling")]
        usual = [one.scaling for one in attentions]
        if self.dial["mask"]:  # z = s/τ + this: of all layers and heads
            share = torch.ones(()) if self.hard else self._share(0)[0]
            mask = torch.where(self.inside[0], mask, mask + self._outside(share, 0.0))
            for one in attentions:
                one.scaling /= self.tau
        try:
            given = torch.tensor([list(tokens)])
            found = self.model(given, attention_mask=mask[None, None], use_cache=False).logits
        finally:
            for one, scaling in zip(attentions, usual, strict=True):
                one.scaling = scaling
        return found[0, :, : self.dial["vocabulary"]]

    def generate(self, text: str, count: int, lam: float | None = None, tau: float | None = None) -> str:
        """The text and `count` tokens more, each the likeliest."""
        ids = self.encode(text)
        for _ in range(count):
            ids.append(int(self.logits(ids, lam, tau)[-1].argmax()))
        pieces: list[list[int]] = [[]]
        for token in ids[self.dial["text"]["begin"] is not None :]:
            if token == self.dial["text"]["line_end"]:
                pieces.append([])
            else:
                pieces[-1].append(token)
        return "\n".join(self.tokenizer.decode(piece, skip_special_tokens=False) for piece in pieces)

    def _checked(self, lam: float | None, tau: float | None, length: int) -> tuple[float, float]:
        dial = self.dial
        lam, tau = dial["lam"] if lam is None else lam, dial["tau"] if tau is None else tau
        if not 0.0 <= lam <= 1.0 or not 0.0 < tau < math.inf:
            raise ValueError(f"lam, tau are {lam}, {tau}; they must be in [0, 1] and above 0.")
        if self.hard and lam != 1.0:
            raise ValueError(f"lam is {lam}; it must be 1 with hard blocks.")
        if dial["only_lam"] and lam != dial["lam"]:
            raise ValueError(
                f"lam is {lam}; it must be {dial['lam']}, which is in the weights. Fix: export again."
            )
        if not 0 < length <= dial["length"]:
            raise ValueError(f"tokens are {length}; they must be from 1 to {dial['length']}.")
        return float(lam), float(tau)

    def _share(self, layer: int) -> Tensor:
        """What each head of a layer imposes of its margin at λ, [H]."""
        margin, lam = self.dial["margin"], torch.full((1,), self.lam)
        if margin["stagger"]:
            rank = torch.tensor(self.dial["head_ranks"][layer])
            rising = ((lam - margin["stagger"] * rank) / (1.0 - margin["stagger"])).clamp(0.0, 1.0)
            lam = torch.ones_like(rank) if self.lam >= 1.0 else rising
        lam = lam * self.dial["layer_scale"][layer]
        if margin["power"] == 1.0:
            return lam
        return margin["linear"] * lam + (1.0 - margin["linear"]) * lam ** margin["power"]

    def _outside(self, share: Tensor, range_: float | Tensor) -> Tensor:
        """What a logit outside is given: −share · m / τ, and the gate; −∞ with hard blocks."""
        if self.hard:
            return torch.full_like(share, -math.inf)
        margin = self.dial["margin"]
        nats = margin["nats"] * torch.ones_like(share)
        if margin["form"] == "self_scaling":
            later = 1.0 if margin["range_bend"] == 1.0 else share ** (margin["range_bend"] - 1.0)
            nats = later * margin["c"] * range_ + margin["m0"]
        pushed = -share * nats / self.tau
        return pushed + margin["gate"] * torch.log1p(-share) if margin["gate"] else pushed

    def _attend(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **settings: Any
    ) -> tuple[Tensor, Tensor]:
        """Attention of one layer, where no one mask says it all."""
        groups, scale, cap = query.shape[1] // key.shape[1], settings["scaling"], self.dial["score_cap"]
        key, value = (one.repeat_interleave(groups, dim=1) for one in (key, value))
        scores = (query @ key.transpose(-1, -2)).float() * scale
        scores = cap * torch.tanh(scores / cap) if cap else scores
        there = mask == 0.0  # causal
        if self.dial["margin"]["range"] == "exact":
            high = scores.masked_fill(~there, -math.inf).amax(-1, keepdim=True)
            range_ = high - scores.masked_fill(~there, math.inf).amin(-1, keepdim=True)
        else:
            most = key.norm(dim=-1)[:, :, None, :].expand_as(scores).masked_fill(~there, 0.0)
            range_ = 2.02 * abs(scale) * query.norm(dim=-1, keepdim=True) * most.amax(-1, keepdim=True)
        layer = module.layer_idx
        within = self.inside[layer if len(self.inside) > 1 else 0]
        outside = self._outside(self._share(layer)[None, :, None, None], range_)
        z = scores / self.tau + mask
        weights = torch.where(within, z, z + outside).softmax(-1).to(value.dtype)
        return (weights @ value).transpose(1, 2).contiguous(), weights

    def _add_adapters(self, folder: Path) -> None:
        """λ · (x A) B beside the modules that have adapters, and nothing at λ = 0."""
        tensors = load_file(folder / "adapter_model.safetensors")
        for name in [name for name in tensors if name.endswith(".lora_A.weight")]:
            down, up = tensors[name], tensors[name.replace("lora_A", "lora_B")]
            module = self.model.get_submodule(
                name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            )

            def added(_: Any, given: Any, made: Tensor, down: Tensor = down, up: Tensor = up) -> Tensor:
                return made + self.lam * (given[0] @ down.T @ up.T) if self.lam else made

            module.register_forward_hook(added)


def inside(dial: dict[str, Any], tokens: list[int], given: Sequence[int] | None) -> list[Tensor]:
    """Which keys are inside for which queries, [L, L] of each layer, or one for all."""
    if any(rule["kind"] == "given" for rule in dial["blocks"]):
        given = _given(dial, tokens, given)
    elif given is not None:
        raise ValueError("block_ids are given; this model makes its blocks from the tokens.")
    found = []
    for rule in dial["blocks"]:
        ids = block_ids(dial, rule, tokens, given)
        row = torch.tensor(ids)
        within = (
            (row[:, None] == row[None, :]) | (row == EVERY_BLOCK)[:, None] | (row == EVERY_BLOCK)[None, :]
        )
        if dial["pointers"] and rule["kind"] != "all":
            order, pointed = pointers(dial["pointers"], tokens, ids)
            number = torch.tensor(order)
            later = number[:, None] - number[None, :]
            horizon = dial["pointers"]["horizon"] or len(tokens)
            within |= (later >= 1) & (later <= horizon) & torch.tensor(pointed)[None, :]
        if dial["sink"]:
            within[:, 0] = True
            within[0, 1:] = False
        found.append(within)
    return found


def _given(dial: dict[str, Any], tokens: list[int], given: Sequence[int] | None) -> list[int]:
    """The caller's ids, or those of lines where blocks are lines."""
    if given is None:
        ends = [token == dial["text"]["line_end"] for token in tokens]
        if dial["given"] != "lines" and any(ends[:-1]):
            raise ValueError("block_ids are missing; blocks are given: one id for each token.")
        return [sum(ends[:place]) for place in range(len(tokens))]
    if len(given) != len(tokens) or any(number < EVERY_BLOCK or number == -1 for number in given):
        raise ValueError("block_ids must be one number for each token, from 0 (or -2: in every block).")
    return list(given)


def block_ids(
    dial: dict[str, Any], rule: dict[str, Any], tokens: list[int], given: Sequence[int] | None
) -> list[int]:
    """The block of each token by one rule of dial.json."""
    kind, places = rule["kind"], range(len(tokens))
    if kind == "windows":
        moved = rule.get("moved", 0)
        up = -(-moved // rule["size"])
        ids = [(place - moved) // rule["size"] + up for place in places]
    elif kind == "segments":
        closing, ids = set(dial["tables"][rule["table"]]), []
        for place in places:
            ids.append(ids[-1] + (tokens[place - 1] in closing) if place else 0)
    elif kind == "classes":
        ids = [dial["tables"][rule["table"]][token] for token in tokens]
    else:
        ids = [0] * len(tokens) if kind == "all" or given is None else list(given)
    if dial["global_first"]:
        ids[0] = EVERY_BLOCK
    if "pairs" in rule:
        number = stretches(ids) if kind == "given" else ids
        ids = [(number[place] + rule["pairs"]) // 2 if ids[place] >= 0 else ids[place] for place in places]
    return ids


def stretches(ids: list[int]) -> list[int]:
    """The running number of each token's block; a token of every block begins none, but the first."""
    number, last, found = 0, ids[0], []
    for one in ids:
        if EVERY_BLOCK not in (one, last) and one != last:
            number += 1
        last = last if one == EVERY_BLOCK else one
        found.append(number)
    return found


def pointers(rule: dict[str, Any], tokens: list[int], ids: list[int]) -> tuple[list[int], list[bool]]:
    """The running number of each token's block, and whether later blocks find the token inside."""
    order, chosen = stretches(ids), [False] * len(ids)
    for number in range(order[-1] + 1):
        members = [place for place, one in enumerate(order) if one == number and ids[place] != EVERY_BLOCK]
        if not members:
            continue
        if rule["kind"] == "ends":
            best = members[-1:]
        elif rule["kind"] == "random":
            best = [members[hashed(number, rule["seed"]) % len(members)]]
        else:
            ranked = sorted(members, key=lambda place: rule["entropy"][tokens[place]])
            best = ranked[: min(rule["count"], max(len(members) - 1, 1))]
        for place in best:
            chosen[place] = True
    return order, chosen


def hashed(number: int, seed: int) -> int:
    """The finalizer of MurmurHash3 over the number and a multiple of the seed."""
    x = (number + seed * 0x9E3779B9 + 0x85EBCA6B) % 2**32
    for multiplier, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13)):
        x = ((x ^ (x >> shift)) * multiplier) % 2**32
    return x ^ (x >> 16)


def _tokenizer(path: Path, unknown: str | None) -> tokenizers.Tokenizer:
    """As the model was trained with: nothing is added, and no text becomes a special token."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    stored["post_processor"] = None
    if unknown:
        stored["model"]["unk_token"] = unknown
    found = tokenizers.Tokenizer.from_str(json.dumps(stored))
    found.encode_special_tokens = True
    return found


def main() -> None:
    """Continues a text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--text", required=True, help="the text to continue")
    parser.add_argument("--lam", type=float, help="λ in [0, 1]; default: as exported")
    parser.add_argument("--tau", type=float, help="τ, above 0; default: as exported")
    parser.add_argument(
        "--tokens", type=int, default=20, help="how many more, each the likeliest; default: 20"
    )
    parser.add_argument("--base", default="", help="of adapters: where their base is now")
    asked = parser.parse_args()
    print(Dialled(base=asked.base).generate(asked.text, asked.tokens, asked.lam, asked.tau))


if __name__ == "__main__":
    main()
