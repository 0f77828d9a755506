"""Tests of the loop with a counting step in place of the model: what is read when, and how it stops."""

import itertools
import re
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aila_jax.training.loop import LAG, Hook, NonFiniteError, fit
from aila_jax.training.state import create_state
from aila_jax.training.step import StepMetrics
from aila_jax.training.stopping import TrainingStopped

PARAMS = {"a": jnp.zeros(2), "b": {"w": jnp.zeros((2, 2))}}  # parts: loss, a, b


class Rig:
    """A loop over a step that counts; a log of all that happens, in order."""

    def __init__(self, bad_steps=(), start=0):
        self.events: list[tuple] = []
        self.bad_steps = bad_steps
        self.state = create_state(PARAMS, optax.identity(), jax.random.key_data(jax.random.key(0))).replace(
            step=jnp.int32(start)
        )
        self.skipped, self.first = 0, -1

    def train_step(self, state, batch, lam, tau):
        count = int(state.step)
        self.events.append(("step", count + 1, float(batch), lam, tau))
        if count in self.bad_steps:
            self.skipped += 1
            self.first = count if self.first < 0 else self.first
        bad_parts = np.array([False, False, self.skipped > 0])
        metrics = StepMetrics(
            loss=jnp.float32(count + 1), grad_norm=1.0, lam_mean=0.0, bin_loss=jnp.zeros(6), bin_targets=jnp.zeros(6),
            skipped=jnp.int32(self.skipped), first_bad_step=jnp.int32(self.first), bad_parts=jnp.asarray(bad_parts),
        )  # fmt: skip
        return state.replace(step=state.step + 1), metrics

    def run(self, steps, hooks=(), max_skipped=0, **options):
        batches = (np.float32(number) for number in itertools.count(int(self.state.step)))
        return fit(
            self.state,
            train_step=self.train_step,
            inputs=lambda step: (next(batches), ("lam", step), ("tau", step)),
            steps=steps,
            on_metrics=self.on_metrics,
            hooks=hooks,
            max_skipped=max_skipped,
            **options,
        )

    def on_metrics(self, step, metrics):
        assert isinstance(metrics.loss, np.ndarray | np.floating)  # on the host
        assert float(metrics.loss) == step
        self.events.append(("read", step))

    def hook(self, name, every, at_end=True):
        return Hook(every, lambda step, state: self.events.append((name, step, int(state.step))), at_end)

    def of(self, *names):
        return [event for event in self.events if event[0] in names]


def test_each_step_gets_its_own_batch_and_draw_and_each_metric_is_read_once_in_order():
    rig = Rig()
    state = rig.run(20)
    assert int(state.step) == 20
    assert rig.of("step") == [("step", n + 1, float(n), ("lam", n), ("tau", n)) for n in range(20)]
    assert rig.of("read") == [("read", n + 1) for n in range(20)]


def test_metrics_are_read_at_most_lag_steps_late_and_not_sooner():
    rig = Rig()
    rig.run(20)
    done = 0
    for event in rig.events:
        if event[0] == "step":
            done = event[1]
        elif done < 20:
            assert done - event[1] == LAG
    unread = [event[1] for event in rig.events[: rig.events.index(("read", 20))] if event[0] == "read"]
    assert unread == list(range(1, 20))


def test_hooks_fire_at_their_steps_after_all_metrics_were_read():
    rig = Rig()
    rig.run(10, hooks=(rig.hook("eval", 4), rig.hook("save", 5), rig.hook("mid", 3, at_end=False)))
    assert rig.of("eval") == [("eval", n, n) for n in (4, 8, 10)]
    assert rig.of("save") == [("save", n, n) for n in (5, 10)]  # once at the last step, not twice
    assert rig.of("mid") == [("mid", n, n) for n in (3, 6, 9)]
    assert [event[0] for event in rig.events[-3:]] == ["read", "eval", "save"]  # in the order they were given
    for index, event in enumerate(rig.events):
        if event[0] in ("eval", "save", "mid"):
            read = [earlier[1] for earlier in rig.events[:index] if earlier[0] == "read"]
            assert read == list(range(1, event[1] + 1))


def test_a_hook_may_change_the_state_that_training_goes_on_with():
    rig = Rig()
    renamed = Hook(
        4,
        lambda step, state: state.replace(importance=jnp.full((1, 1), float(step))) if step == 4 else None,
        at_end=False,
    )
    state = rig.run(
        9, hooks=(renamed, Hook(4, lambda step, state: rig.events.append(("seen", state.importance))))
    )
    assert float(state.importance[0, 0]) == 4
    assert float(rig.of("seen")[0][1][0, 0]) == 4  # the hooks after it see it too


def test_a_continued_run_starts_after_the_steps_that_are_done():
    rig = Rig(start=7)
    state = rig.run(10, hooks=(rig.hook("save", 4),))
    assert [event[1] for event in rig.of("step")] == [8, 9, 10]
    assert rig.of("save") == [("save", 8, 8), ("save", 10, 10)]
    assert int(state.step) == 10


def test_a_finished_run_does_nothing():
    rig = Rig(start=10)
    assert int(rig.run(10, hooks=(rig.hook("save", 5),)).step) == 10
    assert rig.events == []


def test_too_many_updates_that_are_not_finite_stop_the_run_and_are_named():
    rig = Rig(bad_steps=(3, 5))
    with pytest.raises(
        NonFiniteError,
        match=re.escape("first at step 4, in gradient or update of b; all of them were discarded. Fix: "),
    ) as caught:
        rig.run(40, max_skipped=1)
    assert "2 update(s) were not finite, the limit train.max_skipped is 1" in str(caught.value)
    assert (caught.value.step, caught.value.parts, caught.value.skipped) == (
        4,
        ["gradient or update of b"],
        2,
    )  # counted from 1
    assert rig.of("read")[-1] == ("read", 5)  # the metrics of the bad step are no record
    assert rig.of("step")[-1][1] <= 6 + LAG


def test_a_hook_does_not_run_on_a_state_whose_run_must_stop():
    rig = Rig(bad_steps=(3,))
    with pytest.raises(NonFiniteError):
        rig.run(10, hooks=(rig.hook("save", 4),))
    assert rig.of("save") == []


def test_as_many_as_allowed_do_not_stop_it():
    rig = Rig(bad_steps=(3, 5))
    assert int(rig.run(12, max_skipped=2).step) == 12
    assert len(rig.of("read")) == 12


def test_a_request_to_stop_ends_after_the_step_with_the_hooks_that_save():
    rig = Rig()
    hooks = (
        rig.hook("eval", 100),
        Hook(100, lambda step, state: rig.events.append(("save", step, int(state.step))), on_stop=True),
    )
    with pytest.raises(
        TrainingStopped, match="stopped by SIGTERM after step 7, which is saved; the same command continues"
    ) as caught:
        rig.run(20, hooks, stop=lambda step: TrainingStopped(step, signal.SIGTERM) if step == 7 else None)
    assert (caught.value.step, caught.value.signum) == (7, signal.SIGTERM)
    assert rig.of("save", "eval") == [("save", 7, 7)]
    assert rig.of("read") == [("read", n + 1) for n in range(7)]


def test_a_hook_of_one_step_runs_there_alone_and_the_loop_waits_at_no_other():
    rig = Rig()
    rig.run(20, (Hook(3, lambda step, state: rig.events.append(("once", step)), at_end=False, once=True),))
    assert rig.of("once") == [("once", 3)]
    after = rig.of("step", "read")
    assert after.index(("read", 3)) < after.index(("step", 4, 3.0, ("lam", 3), ("tau", 3)))
    assert after.index(("read", 6)) > after.index(("step", 7, 6.0, ("lam", 6), ("tau", 6)))


def test_a_hook_of_step_zero_alone_never_runs():
    rig = Rig()
    rig.run(4, (Hook(0, lambda step, state: pytest.fail("called"), at_end=False, once=True),))
    assert len(rig.of("step")) == 4
