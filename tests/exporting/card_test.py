"""The model card says what the certificate says, and what the dial is."""

from dataclasses import replace
from pathlib import Path

import pytest

import aila_jax as aila
from aila_jax.config import MarginConfig, RelationConfig
from aila_jax.exporting.merge import merged
from aila_jax.inference.language_model import LanguageModel
from tests.support.exported import FIXED, OPEN, WINDOWS, adapted, pretrained, with_margin


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return adapted(pretrained("gpt2"))


def card(model: LanguageModel, path: Path, lam: float, tau: float = 1.0) -> str:
    return (aila.export(model, path / "out", lam=lam, tau=tau) / "README.md").read_text()


def test_at_1_with_a_gate_nothing_outside_has_weight(model: LanguageModel, tmp_path: Path) -> None:
    text = card(model, tmp_path, 1.0)
    assert "No key outside has any weight, in any layer and head, for every text." in text
    for row in (
        "| λ | 1, and no other |", "| τ | 1 |", "| partition | segments, unit sentence |", "| relation | sink |",
        "| margin | s^6 · 1 · range of the scores + s · 5 nats, s = 0.75 λ + 0.25 λ^6, gate (1 − s)^1 |",
        "| adapters | rank 3 on query, key, value, out |",
        "| length | 32 tokens |", "| begin token | `<\\|endoftext\\|>` before every text |",
        "| data | not trained on for its blocks |",
    ):  # fmt: skip
        assert row in text, row
    assert "arXiv:2511.03559" in text and "not affiliated" in text
    sha = model.meta["pretrained"]["files"]["model.safetensors"]
    assert f"model.safetensors (SHA-256 {sha[:12]}" in text
    assert text.startswith("---\nlibrary_name: transformers\n")


def test_the_figures_are_those_of_the_certificate(tmp_path: Path) -> None:
    """Self-scaling, no gate: soft, and a guarantee for every text."""
    margin = MarginConfig("self_scaling", c=1.0, m0=6.0)
    model = adapted(pretrained("mistral", margin=margin))
    text = card(model, tmp_path, 1.0, tau=0.5)
    made = aila.certify(merged(model, 1.0), lam=1.0, tau=0.5)
    assert made.card().text() in text and not made.non_interfering
    assert f"{made.least_block_mass:.2f}"[:3] in text
    assert "For every text at least this much attention is inside" in text
    assert "It is for texts of one document." in text


def test_where_nothing_is_guaranteed_it_says_so(model: LanguageModel, tmp_path: Path) -> None:
    text = card(model, tmp_path, 0.0)
    assert "Nothing is guaranteed at this λ" in text and "No key outside" not in text


@pytest.mark.parametrize("mask", [True, False])
def test_how_to_load_it(mask: bool, tmp_path: Path) -> None:
    plain = pretrained("gpt2", WINDOWS, RelationConfig(), FIXED if mask else None)
    text = card(plain, tmp_path, 0.5)
    assert ("a 4-D attention mask" in text) == mask
    assert ("an attention function of its own (`AttentionInterface`)" in text) != mask
    assert 'python with_dial.py --text="…" --lam=0.5 --tau=1' in text
    assert "The weights are the same at every λ." in text and "| λ | 0.5 |" in text


def test_a_trained_run_says_what_it_was_trained_on(tmp_path: Path) -> None:
    model = with_margin(pretrained("gpt2"), OPEN, layer_beta=2.0, score_cap=9.0)
    meta = {**model.meta, "data": {"name": "wikitext2", "fingerprint": "ab" * 32}}
    text = card(replace(model, step=300, meta=meta), tmp_path, 1.0)
    assert "| data | wikitext2 (fingerprint abababababab…), 300 steps, λ conditional |" in text
    assert "Loaded without the program its logits are others." in text and "Without the dial" not in text
    assert "| scores | capped at 9 |" in text and "| layers | λ · ((ℓ + 1) / 3)^2 in layer ℓ |" in text
