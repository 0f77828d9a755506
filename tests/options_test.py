"""The options of commands: their limits, their text, and what the run's own settings fill in."""

import dataclasses
import inspect
import re

import numpy as np
import pytest

from aila_jax.config import Config, LocalityConfig, ModelConfig, SweepConfig
from aila_jax.config import options as module
from aila_jax.config.options import (
    AttentionOptions,
    BlocksOptions,
    CertifyOptions,
    GenerateOptions,
    InfluenceOptions,
    OneOf,
    Options,
    PromptOptions,
    Reading,
    ReadingOptions,
    ScoreTextOptions,
    ScoringOptions,
    SweepOptions,
    ThresholdOptions,
)

CLASSES = [found for _, found in inspect.getmembers(module, inspect.isclass) if issubclass(found, Options)]
ONE_OF_TWO = {PromptOptions: {"prompt": "x"}, ScoreTextOptions: {"text": "x"}}
OWN = Config(
    model=ModelConfig(hard=True),
    locality=LocalityConfig(mode="fixed", lam=1.0),
    sweep=SweepConfig(split="test", batch_size=5, max_batches=7),
)


@pytest.mark.parametrize("options", CLASSES)
def test_every_option_says_what_it_is(options):
    for each in dataclasses.fields(options):
        assert each.metadata["help"].endswith("."), each.name
        if isinstance(each.metadata["check"], OneOf) and each.default is not None:
            assert each.default in each.metadata["check"].allowed


@pytest.mark.parametrize("options", CLASSES)
def test_defaults_are_within_their_limits_and_options_cannot_be_changed(options):
    needed = {each.name: "x" for each in dataclasses.fields(options) if each.default is dataclasses.MISSING}
    needed |= ONE_OF_TWO.get(options, {})
    made = options(**needed)
    assert made == options(**needed)
    for each in dataclasses.fields(options):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, each.name, None)


def test_what_is_not_asked_for_is_the_runs_own_setting():
    assert ScoringOptions().reading(OWN) == Reading("test", True, 5, 7, "spread")
    asked = ScoringOptions(split="train", hard=False, batch_size=2, max_batches=0)
    assert asked.reading(OWN) == Reading("train", False, 2, 0, "spread")
    assert ReadingOptions(split="train").reading(OWN) == Reading("train", True, 5, 7, "spread")
    assert InfluenceOptions(hard=False).reading(OWN) == Reading("test", False, 5, 7, "spread")


def test_numbers_are_kept_as_floats_in_a_tuple():
    made = SweepOptions(lams=[0, np.float32(0.5), 1], taus=np.array([2]))
    assert (made.lams, made.taus) == ((0.0, 0.5, 1.0), (2.0,))
    assert [type(value) for value in (*made.lams, *made.taus)] == [float] * 4


def test_a_value_that_is_given_twice_is_taken_once_in_the_order_given():
    made = SweepOptions(lams=(1, 0, 0.0, -0.0, 1), taus=[2, np.float32(2)])
    assert (made.lams, made.taus) == ((1.0, 0.0), (2.0,))
    own = SweepConfig(lams=(0.5, 0.0, 0.5), taus=(1.0, 1.0))
    assert (own.lams, own.taus) == ((0.5, 0.0), (1.0,))
    assert InfluenceOptions(lams=(0, 0)).lams == AttentionOptions(text="t", lam=(0, 0)).lam == (0.0,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SweepOptions(lams=(0, 2)), "lams is 2.0; it must be a number in [0, 1]. Fix: choose λ"),
        (lambda: SweepOptions(taus=()), "taus is (); it must be at least one τ, in a sequence. Fix: taus=(1,)"),
        (lambda: SweepOptions(pointers="anchor"), "one of auto, none, anchors, answers, relation. Fix: did you mean 'anch"),
        (lambda: SweepOptions(split="vaild"), "split is 'vaild'; it must be one of train, validation, test"),
        (lambda: ScoringOptions(batch_size=0), "batch_size is 0; it must be at least 1. Fix: set --batch_size=1"),
        (lambda: ScoringOptions(batch_size=2.5), "batch_size is 2.5; it must be a whole number, at least 1"),
        (lambda: ScoringOptions(batch_size=True), "batch_size is True; it must be a whole number, at least 1"),
        (lambda: ScoringOptions(max_batches=-1), "max_batches is -1; it must be at least 0. Fix: 0 scores the"),
        (lambda: BlocksOptions(n_in=0.5), "n_in is 0.5; it must be finite and at least 1. Fix: set --n_in=1"),
        (lambda: BlocksOptions(n_in="3"), "n_in is '3'; it must be finite and at least 1"),
        (lambda: BlocksOptions(top=None), "top is None; it must be a whole number, at least 1"),
        (lambda: CertifyOptions(target_mass=1), "target_mass is 1; it must be a number above 0 and below 1"),
        (lambda: CertifyOptions(split="test"), "split is 'test'; it must be left out unless bound='empirical'"),
        (lambda: CertifyOptions(text="a", length=3), "length is 3; it must be left out with a text"),
        (lambda: AttentionOptions(text=" "), "text is ' '; it must be a text of at least one token"),
        (lambda: GenerateOptions(seed=2**32), "seed is 4294967296; it must be a whole number in [0, 2**32)"),
        (lambda: ThresholdOptions(path_levels=3), "path_levels is 3; it must be left out without the path"),
        (lambda: InfluenceOptions(draws=1), "draws is 1; it must be a whole number, at least 2: a spread needs"),
    ],
)  # fmt: skip
def test_an_option_outside_its_limits_is_refused_with_value_limit_and_fix(make, message):
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        make()
    assert "Fix: " in str(refused.value)
