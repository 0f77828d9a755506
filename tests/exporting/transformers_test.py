"""The exported program in transformers against our own logits, and PEFT's reading of adapters (extra
`parity`)."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tokenizers

import aila_jax as aila
from aila_jax.config import LocalityConfig, MarginConfig, PartitionConfig, RelationConfig
from aila_jax.config.options import GenerateOptions
from aila_jax.inference.inputs import read_text
from aila_jax.inference.language_model import LanguageModel
from aila_jax.partition.fit import fit_relation
from aila_jax.partition.rule_tables import RuleTables
from tests.support.exported import (
    FILES,
    FIXED,
    LENGTH,
    NAMES,
    PLAIN,
    SELF,
    SENTENCES,
    SINK,
    WINDOWS,
    adapted,
    pretrained,
    tokens_of,
    with_margin,
)

pytestmark = [pytest.mark.external, pytest.mark.filterwarnings("ignore")]  # theirs
PROGRAM = Path(aila.__file__).parent / "exporting" / "programs" / "with_dial.py"
LAMS = (0.0, 0.5, 1.0)
TOLERANCE = 1e-4
GATED = MarginConfig(nats=3.0, gate=1.0)


@pytest.fixture(scope="module")
def program() -> ModuleType:
    pytest.importorskip("transformers", reason="needs the extra parity")
    spec = importlib.util.spec_from_file_location("with_dial", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Partition, relation, margin, other settings of the decoder; whether one mask says it all.
CASES: dict[str, tuple[PartitionConfig, RelationConfig, MarginConfig, dict[str, Any], bool]] = {
    "windows, fixed margin and gate": (WINDOWS, PLAIN, FIXED, {}, True),
    "sentences and sink, exactly hard end": (SENTENCES, SINK, GATED, {}, True),
    "ends": (SENTENCES, RelationConfig(pointers="ends", sink=True, horizon=1), FIXED, {}, True),
    "self-scaling": (SENTENCES, SINK, SELF, {}, False),
    "self-scaling by norms": (WINDOWS, PLAIN, replace(SELF, range="norms", power=2.0), {}, False),
    "by layer": (SENTENCES, RelationConfig(layers=("windows:4", "own"), sink=True), FIXED, {}, False),
    "shifted": (WINDOWS, RelationConfig(shift=2), FIXED, {}, False),
    "pairs": (SENTENCES, RelationConfig(shift=1, sink=True), SELF, {}, False),
    "later layers more": (WINDOWS, PLAIN, FIXED, {"layer_beta": 1.5}, False),
    "staggered": (WINDOWS, PLAIN, replace(FIXED, stagger=0.6), {}, False),
    "capped": (WINDOWS, PLAIN, FIXED, {"score_cap": 1.5}, False),
}
EVERY = ("windows, fixed margin and gate", "sentences and sink, exactly hard end", "self-scaling", "shifted")


def made(name: str, case: str) -> LanguageModel:
    partition, relation, margin, settings, _ = CASES[case]
    layers = pretrained(name).config.model.n_layers
    if relation.layers:
        relation = replace(relation, layers=(relation.layers * layers)[:layers])
    return with_margin(adapted(pretrained(name, partition, relation)), margin, **settings)


def difference(
    found: Any, model: LanguageModel, tokens: np.ndarray, lam: float, tau: float, **more: Any
) -> float:
    ours = np.asarray(model.apply(tokens, lam=lam, tau=tau, **more).logits[0])
    return float(np.abs(found.numpy() - ours).max())


@pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for name in NAMES for case in EVERY]
    + [(name, case) for name in ("qwen2", "gpt2") for case in CASES if case not in EVERY],
)
def test_logits_are_ours(program: ModuleType, name: str, case: str, tmp_path: Path) -> None:
    """Merged at each λ; and adapters alone, on their base, at every λ."""
    model = made(name, case)
    tokens = tokens_of(model)
    adapters = aila.export(model, tmp_path / "adapters", format="peft", lam=0.25, tau=0.7)
    assert json.loads((adapters / "dial.json").read_text())["mask"] == CASES[case][-1]
    beside = program.Dialled(adapters)
    for lam in LAMS:
        folder = aila.export(model, tmp_path / f"whole{lam}", lam=lam, tau=0.7)
        assert difference(program.Dialled(folder).logits(tokens[0]), model, tokens, lam, 0.7) < TOLERANCE
        assert difference(beside.logits(tokens[0], lam, 1.3), model, tokens, lam, 1.3) < TOLERANCE


def test_a_real_model_is_ours_to_rounding(program: ModuleType, tmp_path: Path) -> None:
    """SmolLM2's logits reach 40: float32 leaves 3e-4 of them, on either side (docs/howto/export.md)."""
    if not (path := os.environ.get("SMOLLM2", "")):
        pytest.skip("SMOLLM2 does not name SmolLM2-135M-Instruct's GGUF file")
    model = aila.from_pretrained(path, length=128)
    text = (
        "The lighthouse stood at the end of a long spit of sand. Its keeper was old. He had once sailed. " * 8
    )
    tokens = np.array([read_text(model, text)[0][:128]], np.int32)
    found = program.Dialled(aila.export(model, tmp_path / "out"))
    for lam in LAMS:
        ours = np.asarray(model.apply(tokens, lam=lam).logits[0])
        apart = np.abs(found.logits(tokens[0], lam).numpy() - ours)
        assert apart.max() < 4e-4 and np.sqrt((apart**2).mean()) < 4e-5, lam


@pytest.mark.parametrize("case", ["windows, fixed margin and gate", "self-scaling"])
def test_the_dial_matters(program: ModuleType, case: str, tmp_path: Path) -> None:
    """What would pass without it is caught: λ, τ, blocks and the dial as a whole."""
    model = made("llama", case)
    tokens = tokens_of(model)
    found = program.Dialled(aila.export(model, tmp_path / "out", format="peft"))
    for lam, tau in ((0.4, 1.0), (0.5, 0.9)):
        assert difference(found.logits(tokens[0], lam, tau), model, tokens, 0.5, 1.0) > 10 * TOLERANCE
    import torch

    given = torch.tensor(tokens, dtype=torch.long)
    with torch.no_grad():
        plain = found.model.set_attn_implementation("eager") or found.model(given).logits[0]
    assert difference(plain[:, : model.tokenizer.vocab_size], model, tokens, 1.0, 1.0) > 10 * TOLERANCE


@pytest.mark.parametrize("case", ["sentences and sink, exactly hard end", "self-scaling"])
def test_hard_blocks(program: ModuleType, case: str, tmp_path: Path) -> None:
    model = made("neox", case)
    open_end = replace(model.config.model.margin, gate=0.0)  # soft λ = 1 leaves something outside
    model = with_margin(model, open_end)
    tokens = tokens_of(model)
    found = program.Dialled(aila.export(model, tmp_path / "out"))
    assert difference(found.logits(tokens[0], hard=True), model, tokens, 1.0, 1.0, hard=True) < TOLERANCE
    always = replace(model.config, locality=LocalityConfig(mode="fixed", lam=1.0))
    hard = with_margin(replace(model, config=always), model.config.model.margin, hard=True)
    found = program.Dialled(aila.export(hard, tmp_path / "hard"))
    assert difference(found.logits(tokens[0]), hard, tokens, 1.0, 1.0) < TOLERANCE
    with pytest.raises(ValueError, match="it must be 1 with hard blocks"):
        found.logits(tokens[0], lam=0.5)


RELATIONS = (
    RelationConfig(pointers="ends"), RelationConfig(pointers="ends", horizon=2, sink=True),
    RelationConfig(pointers="random", seed=7), RelationConfig(pointers="anchors", anchors=2, horizon=1),
    RelationConfig(pointers="anchors", shift=1, sink=True), RelationConfig(pointers="random", shift=1),
    RelationConfig(pointers="ends", layers=("own", "all", "windows:3")), RelationConfig(layers=("clauses", "sentences", "own")),
)  # fmt: skip
PARTITIONS = (
    WINDOWS, SENTENCES, PartitionConfig(size=3, global_first=True), PartitionConfig(kind="given"),
    PartitionConfig(kind="segments", unit="clause", global_first=True), PartitionConfig(kind="pos"),
)  # fmt: skip


def fits(partition: PartitionConfig, relation: RelationConfig) -> bool:
    """Whether they go together: classes are no stretches of text, and one kind of first token is enough."""
    classes = partition.kind == "pos" and (relation.shift or relation.points)
    return not classes and not (partition.global_first and relation.sink)


@pytest.mark.parametrize(
    ("partition", "relation"),
    [(one, other) for one in PARTITIONS for other in (PLAIN, SINK, *RELATIONS) if fits(one, other)],
    ids=str,
)
def test_what_is_inside_is_what_we_say(
    program: ModuleType, partition: PartitionConfig, relation: RelationConfig, tmp_path: Path
) -> None:
    """Every kind of blocks with every relation that fits it, key by key."""
    fitted = pretrained("gpt2")
    model = pretrained("gpt2", partition, PLAIN)
    tables = None
    if relation.pointers == "anchors":
        entropy = np.random.default_rng(1).random(fitted.tokenizer.vocab_size).round(1)  # with ties
        tables = RuleTables(fitted.tokenizer.fingerprint, entropy.astype(np.float32), {})
    elif relation.makes_segments:
        tables = fit_relation(relation, fitted.tokenizer, None)
    model = model.with_relation(relation, tables)
    folder = aila.export(model, tmp_path / "out")
    dial = json.loads((folder / "dial.json").read_text())
    for seed in (0, 1):
        tokens = tokens_of(model, LENGTH, seed)
        given = (
            np.repeat([3, 3, 7, 0, 9, 1], [4, 1, 9, 2, 10, 6])[None] if partition.kind == "given" else None
        )
        blocks = model.network.blocks(model.batch(tokens, given))
        found = program.inside(dial, tokens[0].tolist(), None if given is None else given[0].tolist())
        causal = np.tril(np.ones((LENGTH, LENGTH), bool))
        for layer in range(3):
            ours = np.asarray(blocks.of_layer(layer).inside())[0, 0] & causal
            theirs = found[layer if len(found) > 1 else 0].numpy() & causal
            assert np.array_equal(theirs, ours), (layer, np.argwhere(theirs != ours)[:5])


@pytest.mark.parametrize("text", ["The cat saw.\nA small  dog! ", "<|endoftext|> é 猫\n\n", " x"])
def test_texts_are_read_as_we_read_them(program: ModuleType, text: str, tmp_path: Path) -> None:
    model = pretrained("gpt2")
    found = program.Dialled(aila.export(model, tmp_path / "out"))
    assert found.encode(text) == list(read_text(model, text)[0])


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox"])
def test_peft_reads_what_is_merged(program: ModuleType, name: str, tmp_path: Path) -> None:
    """PEFT's own loading of the adapters gives the logits of the weights merged at λ, to rounding."""
    import torch

    peft = pytest.importorskip("peft", reason="needs the extra parity")
    from transformers import AutoModelForCausalLM

    model = adapted(pretrained(name))
    tokens = torch.tensor(tokens_of(model), dtype=torch.long)
    adapters = aila.export(model, tmp_path / "adapters", format="peft", lam=0.5)
    whole = aila.export(model, tmp_path / "whole", lam=0.5)
    base = AutoModelForCausalLM.from_pretrained(FILES / name, dtype=torch.float32)
    with torch.no_grad():
        before = base(tokens).logits
        loaded = peft.PeftModel.from_pretrained(base, str(adapters))
        expected = AutoModelForCausalLM.from_pretrained(whole, dtype=torch.float32)(tokens).logits
        found = loaded(tokens).logits[..., : expected.shape[-1]]
        merged = loaded.merge_and_unload()(tokens).logits[..., : expected.shape[-1]]
    assert float((found - expected).abs().max()) < TOLERANCE
    assert float((merged - expected).abs().max()) < TOLERANCE
    assert float((before[..., : expected.shape[-1]] - expected).abs().max()) > 0.1


def test_the_command_continues_a_text_without_this_package(tmp_path: Path) -> None:
    """A process of its own, in the folder, that could not import aila_jax or jax."""
    pytest.importorskip("transformers", reason="needs the extra parity")
    model = adapted(pretrained("llama"))
    folder = aila.export(model, tmp_path / "out", lam=0.5)
    blocked = (
        "import sys; sys.modules.update(dict.fromkeys(['jax', 'flax', 'aila_jax', 'peft', 'accelerate']));"
    )
    run = f"{blocked} sys.argv = ['with_dial.py', '--text=The cat', '--tokens=5']; import with_dial; with_dial.main()"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", run], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    options = GenerateOptions(lam=0.5, max_tokens=5, sample_temperature=0.0)
    ids = list(model.continuations("The cat", options)[0][0].ids)[1:]  # without the begin token
    assert model.tokenizer.eos_id not in ids
    # The library's own text of them: bytes that are no whole character, which we would name, are U+FFFD.
    library = tokenizers.Tokenizer.from_str(model.tokenizer.to_json())
    assert done.stdout == library.decode(ids, skip_special_tokens=False) + "\n"


def test_what_the_program_cannot_do_it_refuses(program: ModuleType, tmp_path: Path) -> None:
    model = adapted(pretrained("gpt2"))
    found = program.Dialled(aila.export(model, tmp_path / "out", lam=0.5))
    for tokens, settings, message in (
        ([1], {"lam": 1.0}, "which is in the weights"),
        ([1], {"lam": 2.0}, "they must be in"),
        ([1], {"tau": 0.0}, "they must be in"),
        ([1] * 33, {}, "from 1 to 32"),
        ([], {}, "from 1 to 32"),
        ([1], {"block_ids": [0]}, "makes its blocks from the tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            found.logits(tokens, **settings)
    fields = pretrained("gpt2", PartitionConfig(kind="given"), PLAIN)
    fields.meta["data"] = {"given": "fields"}
    given = program.Dialled(aila.export(fields, tmp_path / "given"))
    for settings, message in (
        ({}, "block_ids are missing"),
        ({"block_ids": [0]}, "one number for each token"),
    ):
        with pytest.raises(ValueError, match=message):
            given.logits([2, given.dial["text"]["line_end"], 3], **settings)
