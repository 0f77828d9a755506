"""Ablation against models whose output projection lacks the head's rows."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.inference.language_model import LanguageModel
from tests.support.inside import MODELS, TEXTS, deep_model
from tests.support.untrained import untrained_model

CASES = [("two layers", (0.3, 0.8), False), ("two layers", 1.0, True), ("six in a loop", (0.3, 0.8), False)]


def without(model: LanguageModel, layer: int, head: int) -> LanguageModel:
    """The head's rows of the output projection are 0."""
    params = dict(model.params)
    one = dict(params[f"layer_{layer}"])
    out = one["attention"]["out"]
    kernel = jnp.asarray(out["kernel"]).at[head].set(0.0)
    one["attention"] = {**one["attention"], "out": {**out, "kernel": kernel}}
    params[f"layer_{layer}"] = one
    return replace(model, params=params)


def mean_loss(model: LanguageModel, lam: Any, hard: bool) -> float:
    """Of the texts' tokens after the first, from `apply`, in float64."""
    total, count = 0.0, 0
    for text, one in zip(TEXTS, np.broadcast_to(lam, 2), strict=True):
        ids = model.tokenizer.encode(text)
        logits = np.asarray(model.apply(np.asarray([ids]), lam=float(one), hard=hard).logits, np.float64)[0]
        most = logits.max(axis=-1, keepdims=True)
        logp = logits - most - np.log(np.exp(logits - most).sum(axis=-1, keepdims=True))
        total -= sum(logp[place, token] for place, token in enumerate(ids[1:]))
        count += len(ids) - 1
    return total / count


@pytest.mark.parametrize(("name", "lam", "hard"), CASES)
def test_ablating_a_head_is_zeroing_its_rows(name: str, lam: Any, hard: bool) -> None:
    model = MODELS[name]()
    found = model.ablate_heads(TEXTS, lam=lam, hard=hard, batch_size=5, quiet=True)
    layers, heads = model.config.model.n_layers, model.config.model.n_heads
    assert found.losses.shape == (layers, heads)
    assert found.loss == pytest.approx(mean_loss(model, lam, hard), abs=1e-5)
    for layer, head in {(0, 0), (layers - 1, heads - 1), (layers // 2, 1)}:
        want = mean_loss(without(model, layer, head), lam, hard)
        assert found.losses[layer, head] == pytest.approx(want, abs=1e-5)
        assert abs(want - found.loss) > 1e-4
    row = found.rows()[heads + 1]
    assert (row.layer, row.head) == (1, 1) and row.change == pytest.approx(row.loss - found.loss)
    assert row.value is None and "heads, to zero" in repr(found)


def test_the_mean_of_a_head_is_put_in_its_place() -> None:
    """Of all tokens that are no padding; and the logit difference after each text's last token is told."""
    model, lam = deep_model(), 0.4
    found = model.ablate_heads(TEXTS, to="mean", answer=7, other=9, lam=lam, quiet=True)
    name = "layer_2.attention.heads"
    captured = model.capture(TEXTS, name, lam=lam, quiet=True)
    lengths = [len(one) for one in captured.pieces]
    assert lengths[0] != lengths[1]
    values = np.concatenate([captured[name][text, :length] for text, length in enumerate(lengths)])
    mean = np.broadcast_to(values.mean(axis=0)[None, None], captured[name].shape)
    given = replace(captured, arrays={name: mean})
    logits = model.patched(given, TEXTS, name, heads=[3], lam=lam, quiet=True)["logits"]
    last = np.stack([logits[text, length - 1] for text, length in enumerate(lengths)])
    assert found.values is not None and found.measure == "logit difference"
    assert found.values[2, 3] == pytest.approx(float((last[:, 7] - last[:, 9]).mean()), abs=1e-5)
    whole = model.capture(TEXTS, "logits", lam=lam, quiet=True)["logits"]
    last = np.stack([whole[text, length - 1] for text, length in enumerate(lengths)])
    assert found.value == pytest.approx(float((last[:, 7] - last[:, 9]).mean()), abs=1e-5)
    row = found.rows()[2 * 4 + 3]
    assert row.value_change == pytest.approx(found.values[2, 3] - found.value)


def test_what_has_no_loss_is_refused() -> None:
    model = untrained_model()
    with pytest.raises(ValueError, match="a text of two tokens or more"):
        model.ablate_heads([5])
    with pytest.raises(ValueError, match="one of zero, mean"):
        model.ablate_heads(TEXTS, to="means")
    with pytest.raises(ValueError, match="left out without an answer"):
        model.ablate_heads(TEXTS, other=5)
    seeing = replace(
        model, config=replace(model.config, model=replace(model.config.model, bidirectional=True))
    )
    with pytest.raises(ValueError, match="sees its targets"):
        seeing.ablate_heads(TEXTS)
