"""Logit lens against a float64 unembedding of captured states; after the last layer it is the model."""

import numpy as np
import pytest

from aila_jax.inference.language_model import LanguageModel
from tests.oracles.forward import norm
from tests.support.inside import MODELS, TEXTS, deep_model
from tests.support.untrained import untrained_model

LAM = 0.7


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def states(model: LanguageModel) -> np.ndarray:
    """Log-probabilities of each state [S, B, L, V], in float64."""
    cfg = model.config.model
    found = model.capture(TEXTS, ("layer_0.residual_before", "layer_*.residual"), lam=LAM, quiet=True)
    output = np.asarray(model.params["embedding" if cfg.tied else "output"], np.float64)
    each = [np.asarray(found[name], np.float64) for name in found.names]
    return np.stack([log_probabilities(norm(cfg, model.params["final_norm"], x) @ output.T) for x in each])


@pytest.mark.parametrize("name", MODELS)
def test_each_state_is_unembedded(name: str) -> None:
    model = MODELS[name]()
    found, want = model.logit_lens(TEXTS, lam=LAM, top=3, quiet=True), states(model)
    ids = [model.tokenizer.encode(text) for text in TEXTS]
    assert found.names[:2] == ("layer_0.residual_before", "layer_0.residual")
    assert found.kl.shape[0] == model.config.model.n_layers + 1
    for text, tokens in enumerate(ids):
        for place in range(len(tokens)):
            assert found.real[text, place]
            own = want[:, text, place]
            np.testing.assert_allclose(
                np.exp(-np.sort(-own, axis=-1)[:, :3]), found.top_probabilities[:, text, place], rtol=1e-4
            )
            last = own[-1]
            kl = (np.exp(last) * (last - own)).sum(axis=-1)
            np.testing.assert_allclose(found.kl[:, text, place], kl, rtol=1e-3, atol=1e-5)
            if place + 1 < len(tokens):
                target = tokens[place + 1]
                assert found.targets[text, place] == target
                np.testing.assert_allclose(
                    found.probabilities[:, text, place], np.exp(own[:, target]), rtol=1e-4
                )
                ranks = (own > own[:, target : target + 1]).sum(axis=-1)
                np.testing.assert_array_equal(found.ranks[:, text, place], ranks)
    assert not found.real[1, len(ids[1]) :].any()


def test_after_the_last_layer_it_is_the_model() -> None:
    model = deep_model()
    found = model.logit_lens(TEXTS[0], lam=LAM, top=4, quiet=True)
    logits = np.asarray(model.capture(TEXTS[0], "logits", lam=LAM, quiet=True)["logits"], np.float64)
    logp = log_probabilities(logits)
    np.testing.assert_array_equal(found.top[-1], np.argsort(-logp, axis=-1, kind="stable")[..., :4])
    assert np.abs(found.kl[-1]).max() < 1e-6 and found.kl[0].min() > 1e-3


def test_positions_and_an_answer_are_chosen() -> None:
    model = untrained_model()
    every = model.logit_lens(TEXTS[0], lam=LAM, quiet=True)
    found = model.logit_lens(TEXTS, lam=LAM, positions=[1, 8], answer=7, quiet=True)
    assert found.positions == (1, 8) and (found.targets == np.where(found.real, 7, -1)).all()
    np.testing.assert_allclose(found.kl[:, 0], every.kl[:, 0][:, [1, 8]], atol=1e-5)
    rows = found.rows()
    assert len(rows) == 3 * int(found.real.sum()) and {row.target for row in rows} == {found.types[7]}
    assert [row.layers for row in rows if (row.text, row.position) == (0, 8)] == [0, 1, 2]
    best = found.tokens(2, 8)
    assert best[0][0] == [row for row in rows if row.position == 8][-1].best and len(best) == 5


def test_the_last_token_has_no_target() -> None:
    found = untrained_model().logit_lens(TEXTS[0], quiet=True)
    row = found.rows()[len(found.pieces[0]) - 1]
    assert (row.target, row.probability, row.rank) == (None, None, None)
    assert "3 states" in repr(found)


def test_bad_choices_are_refused() -> None:
    model = untrained_model()
    with pytest.raises(ValueError, match="at most the vocabulary"):
        model.logit_lens(TEXTS[0], top=10**6)
    with pytest.raises(ValueError, match="positions from 0 to"):
        model.logit_lens(TEXTS[0], positions=[99])
    with pytest.raises(ValueError, match="at least one"):
        model.logit_lens(TEXTS[0], positions=[])
    with pytest.raises(ValueError, match="one of"):
        model.logit_lens(TEXTS[0], quiet=True).tokens(9, 0)
