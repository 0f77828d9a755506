"""What flow allows between pieces of a prompt: against the enumeration over all tokens, and against what
other words do.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from aila_jax.answering.flow import flow_of, piece_reach, shut
from aila_jax.answering.modes import Together
from aila_jax.answering.slots import Setting
from aila_jax.data.prompts import lay_out
from aila_jax.partition.relations import Relation, reach_through
from tests.support.passages import model_of, prompt_of_tokens


@pytest.mark.parametrize(("hard", "layers"), list(itertools.product([True, False], [1, 2, 3])))
def test_reach_of_pieces_is_that_of_their_tokens(hard: bool, layers: int) -> None:
    """The enumeration over all tokens says the same of the last one of each piece."""
    bodies = [[3, 4, 5], [6], [7, 8]]
    laid = lay_out([1, 2], bodies, [9, 10, 11], capacity=4)
    mask = np.asarray(Relation(laid.block_ids[None]).masks(hard).attendable)[0, 0]
    reach = reach_through([mask] * layers)
    starts, lasts = [0, 2, 5, 6, 8], [1, 4, 5, 7, 10]
    want = [
        [reach[last, start : end + 1].any() for start, end in zip(starts, lasts, strict=True)]
        for last in lasts
    ]
    np.testing.assert_array_equal(piece_reach(3, layers, hard), want)


# The margin of `learned` has a gate; that of `rotary` has none.
@pytest.mark.parametrize(
    ("form", "lam", "exact"), [("learned", 1.0, True), ("learned", 0.99, False), ("rotary", 1.0, False)]
)
def test_other_words_in_one_passage_change_another_where_flow_allows_it(
    form: str, lam: float, exact: bool
) -> None:
    setting, prompt = Setting(model_of(form), lam, 1.0, False), prompt_of_tokens()
    assert shut(setting) is exact
    flow = flow_of(setting, "together", 3)
    assert flow.allowed.all() and flow.claim.startswith("exact" if exact else "none")
    np.testing.assert_array_equal(flow.carries, False if exact else np.tril(np.ones((3, 3), bool), -1))
    other = replace(prompt, bodies=(tuple(token + 1 for token in prompt.bodies[0]), *prompt.bodies[1:]))
    here, there = (Together(setting, one).question.prefix for one in (prompt, other))
    for number in range(3):
        own = here.tokens.pieces == number
        same = np.array_equal(
            np.asarray(here.kept.values)[:, :, own], np.asarray(there.kept.values)[:, :, own]
        )
        assert same is bool(number > 0 and not flow.carries[number, 0])


def test_a_gate_that_lower_layers_do_not_shut() -> None:
    setting = Setting(model_of("learned"), 1.0, 1.0, False)
    config = setting.model.config
    lower = replace(config, model=replace(config.model, layer_beta=1.0))
    assert not shut(replace(setting, model=replace(setting.model, config=lower)))
    assert shut(replace(setting, model=model_of("rotary"), hard=True))
