"""`aila_jax.from_pretrained`: somebody else's model with a dial."""

from collections.abc import Iterator
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from aila_jax.config import MarginConfig, PartitionConfig, PartitionKind, RelationConfig, require
from aila_jax.config.checks import check_instance
from aila_jax.data.packing import TokenStream
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.inference.chat import CHAT
from aila_jax.inference.inputs import check_sink
from aila_jax.inference.language_model import LanguageModel
from aila_jax.partition.build import Partition
from aila_jax.partition.fit import fit_partition
from aila_jax.partition.rule_tables import tables_for
from aila_jax.pretrained.hub import fetched
from aila_jax.pretrained.opened import SENTENCES, SINK, Opened, Reading, open_pretrained
from aila_jax.pretrained.source import sha256_of
from aila_jax.provenance import versions

# Kinds of blocks that are made without a text.
FREE = (
    PartitionKind.WINDOWS,
    PartitionKind.GIVEN,
    PartitionKind.SEGMENTS,
    PartitionKind.POS,
    PartitionKind.CLASS_FILE,
)


def from_pretrained(
    path: str | Path,
    *,
    length: int | None = None,
    partition: PartitionConfig = SENTENCES,
    relation: RelationConfig = SINK,
    margin: MarginConfig | None = None,
    begin: str | None = None,
) -> LanguageModel:
    """A pretrained model of the families Llama (also Mistral and Qwen 2), GPT-2 and GPT-NeoX, with a dial: at
    λ = 0 it is the model as it is, at λ = 1 nothing outside a block is attended to.

    Its weights become float32. A text gets the tokenizer's begin token before it, as in pretraining, and so
    does each window of a corpus; it is the sink then. A chat template that comes with it is kept in
    `meta["chat"]`, which `generate` reads. Rows of the embedding that no type of the tokenizer has are
    left out.

    Args:
      path: a Hugging Face folder (config.json, safetensors, tokenizer.json), a GGUF file (F32, F16, Q8_0,
        Q4_0, Q4_1), or OWNER/NAME of the Hugging Face hub, where `huggingface_hub` is installed.
      length: L, tokens that it reads at once, at most its positions; by default as many, and at most 1,024,
        since memory of attention grows with the square of L.
      partition: its blocks; by default sentences, whose ends are known without a text, and which such a
        model loses less by than by windows of the same size.
      relation: what is inside beyond them; by default a sink, which pretrained models lean on.
      margin: of λ = 1; by default self-scaling (the scores have no bound), with m0 for .9 of the mass inside
        at this length, and a gate, so that exactly nothing is left outside at λ = 1.
      begin: the type that stands before every text and every window of a corpus; by default the tokenizer's
        begin token. A sink needs one.

    Raises:
      ValueError: files that are missing, cut off or do not belong together; an architecture, or something an
        architecture asks, that is not there; or settings that do not fit. All of it before the weights are
        read.

    Source: ours (docs/method.md, section 14).
    """
    check_instance(
        "partition", partition, PartitionConfig, "a PartitionConfig", "aila_jax.Config().partition, say"
    )
    check_instance(
        "relation", relation, RelationConfig, "a RelationConfig", "aila_jax.Config().relation, say"
    )
    fix = "aila_jax.Config().model.margin, say, or leave it out"
    check_instance("margin", margin, MarginConfig | None, "a MarginConfig or None", fix)
    check_instance(
        "begin", begin, str | None, "a type of the tokenizer, or None", "begin='<|endoftext|>', say"
    )
    reading = Reading(length, partition, relation, margin, begin)
    return load_pretrained(open_pretrained(path, reading, fetched))


def load_pretrained(opened: Opened) -> LanguageModel:
    """The model of files that were opened."""
    config, tokenizer = opened.config, opened.tokenizer
    check_sink(config, tokenizer)
    fitted = _partition(config.partition, tokenizer)
    tables = tables_for(config.relation, tokenizer, None)
    chat = opened.tokenizer_text.chat
    meta = {"pretrained": _origin(opened), "versions": versions(), **({CHAT: asdict(chat)} if chat else {})}
    params: dict[str, Any] = {}
    for name, part in arrays_of(opened):
        *path, last = name.split("/")
        place = params
        for step in path:
            place = place.setdefault(step, {})
        place[last] = jnp.asarray(part)
    return LanguageModel(params, config, tokenizer, opened.name, 0, meta, None, fitted, tables)


def arrays_of(opened: Opened) -> Iterator[tuple[str, Float[np.ndarray, "..."]]]:
    """Every parameter with its name, read from the files one after another.

    The largest come first: for a moment one is there twice, when little else is.
    """
    for one in sorted(opened.tensors, key=lambda one: -prod(one.shape)):
        array = opened.source.read(one.name, one.shape[0])
        yield from zip(one.targets, one.read(array), strict=True)
        del array


def _partition(config: PartitionConfig, tokenizer: Tokenizer) -> Partition | None:
    """The partition where it has a table; None where it has none."""
    limit = f"one of {', '.join(FREE)}, which need no text"
    fix = "load it with another one, then model.with_partition(partition, aila_jax.fit_partition(…))"
    require(config.kind in FREE, "partition.kind", config.kind, limit, fix)
    if not config.fitted:
        return None
    none = np.zeros(0, np.int32)
    return fit_partition(config, tokenizer, TokenStream(none, none, none, 0, 0))


def _origin(opened: Opened) -> dict[str, Any]:
    """What `meta` says of where the weights came from."""
    source = opened.source
    return {
        "path": str(source.path.resolve()),
        **({"hub_name": opened.hub_name} if opened.hub_name else {}),
        "model_type": opened.family.model_type,
        "files": {file.name: sha256_of(file) for file in source.files},
        "unused_rows": opened.unused_rows,
    }
