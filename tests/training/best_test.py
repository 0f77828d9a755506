"""The lowest validation loss and patience, against a search over the whole list of losses."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aila_jax.config import Config, TrainConfig, check_unread
from aila_jax.training.best import Seen, ValidationWatch

LOSSES = st.lists(
    st.sampled_from([1.0, 1.5, 1.9, 2.0, 2.1, 3.0, math.inf, math.nan]), min_size=1, max_size=12
)


def stop_of(losses: list[float], patience: int, min_delta: float) -> int | None:
    """The number of the evaluation after which training ends, read from the definition: the last `patience`
    ones all failed to be lower by `min_delta` than every reference before them.
    """
    for end in range(1, len(losses) + 1):
        references: list[tuple[int, float]] = []
        for number, loss in enumerate(losses[:end], start=1):
            if math.isfinite(loss) and all(loss < other - min_delta for _, other in references):
                references.append((number, loss))
        if end - (references[-1][0] if references else 0) >= patience:
            return end
    return None


@given(LOSSES, st.integers(1, 4), st.sampled_from([0.0, 0.15, 1.0]))
def test_it_stops_where_the_definition_says_and_knows_the_lowest(losses, patience, min_delta):
    config = TrainConfig(patience=patience, min_delta=min_delta)
    watch, stopped, seen = ValidationWatch(config), None, 0
    for number, loss in enumerate(losses, start=1):
        watch = ValidationWatch(config, watch.seen)  # as a run that is resumed before each evaluation
        watch.see(10 * number, loss)
        seen = number
        if watch.stops:
            stopped = number
            break
    assert stopped == stop_of(losses, patience, min_delta)
    finite = [
        (loss, 10 * number) for number, loss in enumerate(losses[:seen], start=1) if math.isfinite(loss)
    ]
    lowest = min(finite, default=(None, None))
    assert (watch.seen.loss, watch.seen.step) == lowest


def test_off_is_off_and_only_keeping_never_stops():
    off = ValidationWatch(TrainConfig())
    keeping = ValidationWatch(TrainConfig(keep_best=True))
    for step in range(1, 30):
        for watch in (off, keeping):
            watch.see(step, 2.0)
            assert watch.ended(step) is None
    assert (off.on, off.kept, keeping.on, keeping.kept) == (False, None, True, 1)
    patient = ValidationWatch(TrainConfig(patience=1), Seen(3, 2.0, 2.0, 1))
    assert (patient.on, patient.kept) == (True, None)
    assert patient.ended(TrainConfig().steps) is None  # the last step ends by itself
    error = patient.ended(9)
    assert error is not None and error.step == 9
    assert str(error) == "no validation loss was lower than 2.0000 in 1 evaluations"


@pytest.mark.parametrize(
    ("setting", "limit"),
    [({"patience": -1}, "at least 0"), ({"min_delta": -0.1}, "finite and at least 0")],
)
def test_settings_are_checked(setting, limit):
    with pytest.raises(ValueError, match=rf"train\.{next(iter(setting))} is -.*; it must be {limit}"):
        TrainConfig(**setting)


def test_a_delta_that_nothing_reads_is_refused():
    check_unread(Config(train=TrainConfig(patience=2, min_delta=0.1)))
    with pytest.raises(
        ValueError, match=r"train\.min_delta is 0\.1; it must be left at 0\.0 when train\.patience is 0"
    ):
        check_unread(Config(train=TrainConfig(min_delta=0.1)))
