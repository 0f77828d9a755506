"""Generation under relations: each new token is the argmax of a full forward pass over the text so far."""

from dataclasses import replace

import numpy as np
import pytest

from aila_jax.config import MarginConfig, PartitionConfig, RelationConfig
from aila_jax.config.options import GenerateOptions
from aila_jax.data.dataset import encode_documents
from aila_jax.data.documents import Document
from aila_jax.inference.language_model import LanguageModel
from aila_jax.partition.fit import fit_partition
from aila_jax.partition.rule_tables import fit_rule_tables
from tests.support.tiny import sentences
from tests.support.untrained import untrained_model

PROMPT = "the cat saw the owl .\nthe"
RELATIONS = {
    "windows, shifted, sink": (PartitionConfig(size=4), RelationConfig(shift=2, sink=True)),
    "windows, ends, sink": (PartitionConfig(size=4), RelationConfig(pointers="ends", horizon=2, sink=True)),
    "sentences, anchors": (PartitionConfig(kind="segments"), RelationConfig(pointers="anchors")),
    "segments in pairs, random": (
        PartitionConfig(kind="segments", unit="sentence"),
        RelationConfig(shift=1, pointers="random"),
    ),
    "lines in pairs, ends": (PartitionConfig(kind="given"), RelationConfig(shift=1, pointers="ends")),
    "all above": (PartitionConfig(size=3), RelationConfig(layers=("own", "all"), sink=True)),
    "clauses below": (
        PartitionConfig(size=3),
        RelationConfig(layers=("clauses", "windows:8"), pointers="ends"),
    ),
}


def model_of(name: str) -> LanguageModel:
    """Drawn weights, hard at λ = 1; windows of 24 tokens."""
    base, (partition, relation) = untrained_model(), RELATIONS[name]
    train = encode_documents(base.tokenizer, [Document("grammar", tuple(sentences(50, 0).splitlines()))])
    config = replace(base.config, model=replace(base.config.model, margin=MarginConfig(gate=1.0)))
    fitted = fit_partition(partition, base.tokenizer, train) if partition.fitted else None
    return replace(
        base,
        config=replace(config, partition=partition, relation=relation),
        fitted=fitted,
        rule_tables=fit_rule_tables(relation, base.tokenizer, train),
        meta={"data": {"given": "lines"}},
    )


def lines(ids: list[int], eos: int) -> list[int]:
    """The number of line ends before each token."""
    return [sum(one == eos for one in ids[:t]) for t in range(len(ids))]


def greedy(model: LanguageModel, ids: list[int], count: int, lam: float, padded: bool) -> list[int]:
    """By `apply` on the text so far, the older half dropped when 24 tokens are full; where it is padded, by
    tokens of the next document.
    """
    length, ids, start, new = model.config.model.length, list(ids), 0, []
    given = model.config.partition.kind == "given"
    for _ in range(count):
        if len(ids) - start >= length:
            start = len(ids) - length // 2
        window = ids[start:]
        blocks = lines(ids, model.tokenizer.eos_id)[start:]
        last = len(window) - 1
        if padded:
            window = window + [7] * (length - len(window))
            blocks = blocks + [blocks[-1]] * (length - len(blocks))
        arguments = {"block_ids": np.int32([blocks])} if given else {}
        logits = model.apply(np.int32([window]), lam=lam, **arguments).logits
        new.append(int(np.asarray(logits)[0, last].argmax()))
        ids.append(new[-1])
    return new


@pytest.mark.parametrize("name", RELATIONS)
def test_generation_is_the_argmax_of_full_passes_beyond_the_window_too(name: str) -> None:
    """Pointers of the block that is being written change from token to token."""
    model = model_of(name)
    ids = model.tokenizer.encode(PROMPT)
    count = model.config.model.length - len(ids) + 8
    assert count > 8
    for lam in (0.5, 1.0):
        options = GenerateOptions(lam=lam, max_tokens=count, sample_temperature=0.0)
        [[found]] = model.continuations(PROMPT, options)
        want = greedy(model, ids, count, lam, padded=True)
        assert found.dropped == 1
        assert found.text == model.tokenizer.decode(want)


@pytest.mark.parametrize("name", ["sentences, anchors", "lines in pairs, ends"])
def test_what_is_generated_first_is_that_of_a_text_that_ends_there(name: str) -> None:
    """Without anything behind the text; each length is a program of its own."""
    model = model_of(name)
    ids = model.tokenizer.encode(PROMPT)
    options = GenerateOptions(lam=1.0, max_tokens=3, sample_temperature=0.0)
    [[found]] = model.continuations(PROMPT, options)
    assert found.text == model.tokenizer.decode(greedy(model, ids, 3, 1.0, padded=False))


def test_relations_are_told_apart_by_what_is_generated() -> None:
    """Else the tests above could not fail."""
    options = GenerateOptions(lam=1.0, max_tokens=20, sample_temperature=0.0)
    texts = {model_of(name).continuations(PROMPT, options)[0][0].text for name in RELATIONS}
    assert len(texts) >= len(RELATIONS) - 1
