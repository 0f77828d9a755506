"""A model's dial as `dial.json`: all that the exported program reads beside the weights.

The program needs no more than token ids: every kind of blocks is a rule over places or a table over types.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from aila_jax.config import ALL_BLOCKS, Config, LayerBlocks, MarginForm, ModelConfig, PointerKind, require
from aila_jax.inference.inputs import begin_ids
from aila_jax.inference.language_model import LanguageModel
from aila_jax.model.margin import default_layer_scale, head_ranks
from aila_jax.partition.kinds import Classes, Segments, Windows

DIAL, FORMAT = "dial.json", 1


@dataclass(frozen=True)
class Setting:
    """Where the dial stands in an exported folder.

    Attributes:
      lam: λ.
      tau: τ.
      only: the weights are those of this λ alone.
      base: what the weights of a folder with adapters alone are added to; empty for whole weights.
    """

    lam: float
    tau: float
    only: bool
    base: str = ""


def takes_mask(config: Config) -> bool:
    """Whether one 4-D mask says it all: one relation for all layers and heads, and a fixed margin, or none
    that matters."""
    model, relation = config.model, config.relation
    alike = not (relation.shift or relation.layers) and not model.score_cap
    same_margin = model.margin.form == MarginForm.FIXED and not model.layer_beta and not model.margin.stagger
    return alike and (same_margin or model.hard)


def check_dial(config: Config) -> None:
    """ValueError for what no exported program computes."""
    model = config.model
    for name, found, plain in (
        ("bidirectional", model.bidirectional, False),
        ("localist", model.localist, False),
        ("qk_norm", model.qk_norm, False),
    ):
        fix = "keep it in aila_jax, or train a model without it"
        require(found == plain, f"model.{name}", found, f"{plain} in a model that is exported", fix)


def dial_json(model: LanguageModel, setting: Setting) -> dict[str, Any]:
    """The contents of `dial.json`."""
    config, shape, tokenizer = model.config, model.config.model, model.tokenizer
    margin = shape.margin
    begin = begin_ids(model)
    return {
        "format": FORMAT,
        "lam": setting.lam,
        "tau": setting.tau,
        "only_lam": setting.only,
        "base": setting.base,
        "hard": shape.hard,
        "mask": takes_mask(config),
        "length": shape.length,
        "vocabulary": tokenizer.vocab_size,
        "text": {
            "begin": begin[0] if begin else None,
            "line_end": tokenizer.eos_id,
            "unknown_byte": tokenizer.unknown_byte,
            "read_as": {str(token): other for token, other in tokenizer.read_as.items()},
        },
        "score_cap": shape.score_cap,
        "margin": {
            "form": margin.form.value,
            "nats": margin.nats,
            "c": margin.c,
            "m0": margin.m0,
            "range": margin.range,
            "range_bend": margin.range_bend,
            "power": margin.power,
            "linear": margin.linear,
            "gate": margin.gate,
            "stagger": margin.stagger,
        },
        "layer_scale": np.asarray(default_layer_scale(shape), np.float64).tolist(),
        "head_ranks": _ranks(shape) if margin.stagger else [],
        "global_first": config.partition.global_first,
        "given": model.given if config.partition.kind == "given" else "",
        "sink": config.relation.sink,
        "pointers": _pointers(model),
        "blocks": _blocks(model),
        "tables": _tables(model),
    }


def _ranks(config: ModelConfig) -> list[list[float]]:
    return head_ranks(config).astype(np.float32).astype(np.float64).tolist()


def _pointers(model: LanguageModel) -> dict[str, Any] | None:
    relation = model.config.relation
    if not relation.points:
        return None
    entropy: list[float] = []
    if relation.pointers == PointerKind.ANCHORS:
        assert model.rule_tables is not None and model.rule_tables.entropy is not None, "build_rules has it"
        entropy = np.asarray(model.rule_tables.entropy, np.float64).tolist()
    return {
        "kind": relation.pointers.value,
        "count": relation.anchors,
        "seed": relation.seed,
        "horizon": None if relation.horizon == ALL_BLOCKS else relation.horizon,
        "entropy": entropy,
    }


def _blocks(model: LanguageModel) -> list[dict[str, Any]]:
    """The rule of each layer; a single one is that of all layers."""
    relation, layers = model.config.relation, model.config.model.n_layers
    if relation.layers:
        return [_layer(model, blocks, size) for blocks, size in relation.layer_blocks]
    own = _own(model)
    if not relation.shift:
        return [own]
    if isinstance(model.partition, Windows):
        return [{**own, "moved": relation.shift * layer} for layer in range(layers)]
    return [{**own, "pairs": layer % 2} for layer in range(layers)]


def _own(model: LanguageModel) -> dict[str, Any]:
    """The partition's own blocks."""
    partition = model.partition
    if isinstance(partition, Windows):
        return {"kind": "windows", "size": partition.size}
    if isinstance(partition, Segments):
        return {"kind": "segments", "table": "own"}
    return {"kind": "classes", "table": "own"} if isinstance(partition, Classes) else {"kind": "given"}


def _layer(model: LanguageModel, blocks: LayerBlocks, size: int) -> dict[str, Any]:
    if blocks == LayerBlocks.OWN:
        return _own(model)
    if blocks == LayerBlocks.ALL:
        return {"kind": "all"}
    if blocks == LayerBlocks.WINDOWS:
        return {"kind": "windows", "size": size}
    return {"kind": "segments", "table": blocks.value}


def _tables(model: LanguageModel) -> dict[str, list[int]]:
    """Types that close a segment, or the class of each type, by the name of the table."""
    partition, found = model.partition, {}
    if isinstance(partition, Segments):
        found["own"] = np.flatnonzero(np.asarray(partition.boundary)).tolist()
    if isinstance(partition, Classes):
        found["own"] = np.asarray(partition.table).tolist()
    if model.rule_tables is not None:
        found |= {
            name: np.flatnonzero(closes).tolist() for name, closes in model.rule_tables.boundaries.items()
        }
    return found
