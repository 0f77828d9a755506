"""Patching against identities: all of the clean pass is the clean pass, nothing is the corrupted one."""

from dataclasses import replace

import numpy as np
import pytest

from aila_jax.inference.inside.cases import Question
from aila_jax.inference.inside.patching import Patching
from aila_jax.inference.language_model import LanguageModel
from tests.support.inside import MODELS, TEXTS, deep_model, equal_texts
from tests.support.untrained import untrained_model

LAM = 0.4


def logits(model: LanguageModel, ids: list[int], lam: float = LAM) -> np.ndarray:
    """Of the plain forward pass."""
    return np.asarray(model.apply(np.asarray([ids]), lam=lam).logits, np.float64)[0]


@pytest.mark.parametrize("name", MODELS)
def test_all_from_clean_is_clean_and_nothing_is_corrupted(name: str) -> None:
    model = MODELS[name]()
    clean, corrupted = equal_texts(model)
    assert np.abs(logits(model, clean) - logits(model, corrupted)).max() > 0.1
    for names in ("layer_0.residual_before", "layer_*.residual"):
        found = model.patched(clean, corrupted, names, lam=LAM, quiet=True)
        np.testing.assert_allclose(found["logits"][0], logits(model, clean), rtol=2e-5, atol=2e-5)
    nothing = model.patched(clean, corrupted, "layer_*.residual", positions=[], lam=LAM, quiet=True)
    np.testing.assert_allclose(nothing["logits"][0], logits(model, corrupted), rtol=2e-5, atol=2e-5)


def test_only_the_positions_and_heads_that_are_named_are_replaced() -> None:
    model = untrained_model()
    clean, corrupted = equal_texts(model)
    name = "layer_1.attention.heads"
    keep = (name, "layer_0.residual")
    own, other = (model.capture(ids, name, lam=LAM, quiet=True)[name] for ids in (clean, corrupted))
    found = model.patched(clean, corrupted, name, positions=[2, 5], heads=[1], keep=keep, lam=LAM, quiet=True)
    want = np.array(other)
    want[:, [2, 5], 1] = np.asarray(own)[:, [2, 5], 1]
    np.testing.assert_allclose(found[name], want, atol=1e-6)
    assert np.abs(want - other).max() > 1e-3 and found.names == ("layer_0.residual", name)


def test_a_later_position_does_not_change_an_earlier_one() -> None:
    model = deep_model()
    clean, corrupted = equal_texts(model)
    found = model.patched(clean, corrupted, "layer_2.residual", positions=[6], lam=LAM, quiet=True)["logits"][
        0
    ]
    before = model.patched(clean, corrupted, "layer_2.residual", positions=[], lam=LAM, quiet=True)["logits"][
        0
    ]
    np.testing.assert_array_equal(found[:6], before[:6])
    assert np.abs(found[6:] - before[6:]).max() > 1e-3


def test_results_of_another_dial_or_of_ones_own_are_put_in() -> None:
    model = untrained_model()
    ids, _ = equal_texts(model)
    name = "layer_1.residual"
    found = model.capture(ids, name, lam=1.0, quiet=True)
    at_one = model.patched(found, ids, name, lam=0.0, quiet=True)["logits"][0]
    np.testing.assert_allclose(at_one, logits(model, ids, 1.0), rtol=2e-5, atol=2e-5)
    zeros = replace(found, arrays={name: np.zeros_like(found[name])})
    zeroed = model.patched(zeros, [ids, ids], name, keep=(name, "logits"), quiet=True)
    assert not np.asarray(zeroed[name]).any() and np.abs(zeroed["logits"][0] - zeroed["logits"][1]).max() == 0


def test_attention_of_a_clean_text_is_patched_in() -> None:
    """Weights too are results: with clean's weights and values, a layer's heads are clean's."""
    model = deep_model()
    clean, corrupted = equal_texts(model)
    names = ("layer_3.attention.weights", "layer_3.attention.values")
    head = "layer_3.attention.heads"
    found = model.patched(clean, corrupted, names, keep=head, lam=LAM, quiet=True)[head]
    want = model.capture(clean, head, lam=LAM, quiet=True)[head]
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_sweep_is_its_passes_one_by_one(name: str) -> None:
    model = MODELS[name]()
    clean, corrupted = equal_texts(model)
    last = len(clean) - 1
    found = model.patching(
        clean, corrupted, "layer_*.residual", lam=LAM, positions=[2, last], batch_size=3, quiet=True
    )
    own, other = logits(model, clean)[-1], logits(model, corrupted)[-1]
    pair = own.argmax(), other.argmax()
    measure = Question(pair[0], pair[1] if pair[0] != pair[1] else None)
    assert found.clean == pytest.approx(measure.values(own[None])[0], abs=1e-4)
    assert found.corrupted == pytest.approx(measure.values(other[None])[0], abs=1e-4)
    assert found.places == (2, last) and found.names[0] == "layer_0.residual"
    assert found.recovery[-1, 1] == pytest.approx(1.0, abs=1e-3)  # the last state at the last position
    assert found.recovery[-1, 0] == pytest.approx(0.0, abs=1e-3)
    one = model.patched(clean, corrupted, "layer_0.residual", positions=[2], lam=LAM, quiet=True)["logits"]
    value = measure.values(np.asarray(one, np.float64)[:, -1])[0]
    assert found.values[0, 0] == pytest.approx(value, abs=1e-4)
    recovery = (value - found.corrupted) / (found.clean - found.corrupted)
    rows = found.rows()
    assert len(rows) == 2 * model.config.model.n_layers
    assert rows[0].recovery == pytest.approx(recovery, abs=1e-3) and (rows[0].layer, rows[0].position) == (
        0,
        2,
    )
    assert rows[0].token == found.pieces[1][2] and rows[0].head is None


def heads(model: LanguageModel, **settings: object) -> Patching:
    ids, _ = equal_texts(model)
    return model.patching(ids, ids, "*.heads", each="head", lam=(0.0, 1.0), quiet=True, **settings)


def test_heads_of_one_dial_are_put_into_another() -> None:
    """The same text at λ = 0 and at λ = 1: which heads carry what the dial takes away."""
    model = untrained_model()
    ids, _ = equal_texts(model)
    found = heads(model, answer=7, other=9)
    for lam, value in ((0.0, found.clean), (1.0, found.corrupted)):
        last = logits(model, ids, lam)[-1]
        assert value == pytest.approx(last[7] - last[9], abs=1e-4)
    own = model.capture(ids, "*.heads", lam=0.0, quiet=True)
    one = model.patched(own, ids, "layer_1.attention.heads", heads=[1], lam=1.0, quiet=True)["logits"][0, -1]
    assert found.values[1, 1] == pytest.approx(float(one[7] - one[9]), abs=1e-4)
    assert found.measure == "logit difference" and found.rows()[3].head == 1
    assert "4 passes" in repr(found)


def test_a_log_probability_is_one() -> None:
    logits_CxV = np.random.default_rng(0).normal(size=(2, 9)) * 300
    want = [row[3] - row.max() - np.log(sum(np.exp(row - row.max()))) for row in logits_CxV]
    np.testing.assert_allclose(Question(3).values(logits_CxV), want)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"names": "logits"}, "a result of a layer"),
        ({"each": "head"}, "a result of heads"),
        ({"each": "heads"}, "one of position, head"),
        ({"at": 99}, "position from 0 to"),
        ({"answer": "the cat"}, "a single token"),
        ({"corrupted": TEXTS[1]}, "word them so that they have as many tokens"),
        ({"corrupted": TEXTS[0]}, "between which they differ"),
        ({"limit_mib": 1e-6}, "it may take 1e-06 MiB"),
    ],
)
def test_what_has_no_meaning_is_refused(settings: dict[str, object], words: str) -> None:
    model = untrained_model()
    clean, corrupted = equal_texts(model)
    given = {"clean": clean, "corrupted": corrupted, "quiet": True, "answer": 7, **settings}
    if settings.get("corrupted") == TEXTS[0]:
        given["clean"] = TEXTS[0]
    with pytest.raises(ValueError, match=words):
        model.patching(**given)


def test_a_clean_result_of_another_shape_is_refused() -> None:
    model = untrained_model()
    with pytest.raises(ValueError, match="texts of as many tokens"):
        model.patched(TEXTS[1], TEXTS[0], "layer_0.residual", quiet=True)
    with pytest.raises(ValueError, match="choose positions in both"):
        model.patched(list(TEXTS), [TEXTS[0], TEXTS[0]], "layer_0.residual", quiet=True)
    with pytest.raises(ValueError, match=r"left out with layer_0.residual: of attention.queries"):
        model.patched(TEXTS[0], TEXTS[0], "layer_0.residual", heads=[0], quiet=True)
