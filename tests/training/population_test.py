"""The loop of several members with a counting step in place of the model: whose numbers go where."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aila_jax.training.loop import Hook, NonFiniteError
from aila_jax.training.population import Member, Program, Seats, fit_members
from aila_jax.training.state import create_state
from aila_jax.training.step import StepMetrics

STEPS = 12


def state_of(number):
    """One whose only weight says which member it is."""
    key = jax.random.key_data(jax.random.key(number))
    return create_state({"a": jnp.full(2, float(number))}, optax.identity(), key)


@jax.jit
def counted(state, add, bad):
    """Each member adds its own number; one in `bad` discards every update."""
    step = state.step + 1
    skipped = jnp.where(bad, step, 0)
    params = {"a": state.params["a"] + add[:, None]}
    zeros = jnp.zeros((len(step), 6))
    metrics = StepMetrics(
        loss=params["a"][:, 0], grad_norm=add, lam_mean=add, bin_loss=zeros, bin_targets=zeros, skipped=skipped,
        first_bad_step=jnp.where(bad, 0, -1), bad_parts=jnp.stack([jnp.zeros_like(bad), bad], axis=1),
    )  # fmt: skip
    return state.replace(step=step, params=params), metrics


class Rig:
    """Three members in four seats; a log of all that happens to each."""

    def __init__(self, bad=()):
        self.seats = Seats(4)
        self.events = []
        self.bad = np.array([seat in bad for seat in range(4)])
        self.add = np.array([1.0, 10.0, 100.0, 1.0], np.float32)
        self.members = [self.member(seat) for seat in range(3)]

    def member(self, seat):
        def seen(name):
            def call(step, state):
                self.events.append((name, seat, step, float(state.params["a"][0])))

            return call

        hooks = (Hook(4, seen("eval")), Hook(5, seen("save"), on_stop=True))
        return Member(
            lambda step, metrics: self.events.append(("read", seat, step, float(metrics.loss))), hooks
        )

    def run(self, stop=lambda step: None, told=lambda step, losses: None):
        fit_members(
            self.seats.stacked([state_of(seat) for seat in range(3)]),
            self.members,
            Program(self.seats, counted),
            inputs=lambda step: (self.add, self.bad),
            steps=range(STEPS),
            placed=lambda state: state,
            told=told,
            stop=stop,
        )

    def of(self, name, seat):
        return [event[2:] for event in self.events if event[:2] == (name, seat)]


def weight(seat, step):
    """What the step gives, by hand."""
    return seat + step * (1.0, 10.0, 100.0)[seat]


def test_each_member_reads_its_own_numbers_and_its_hooks_see_its_own_state():
    rig, told = Rig(), []
    rig.run(told=lambda step, losses: told.append((step, losses)))
    for seat in range(3):
        assert rig.of("read", seat) == [(step, weight(seat, step)) for step in range(1, STEPS + 1)]
        assert rig.of("eval", seat) == [(step, weight(seat, step)) for step in (4, 8, 12)]
        assert rig.of("save", seat) == [(step, weight(seat, step)) for step in (5, 10, 12)]
    assert told == [(step, [weight(seat, step) for seat in range(3)]) for step in range(1, STEPS + 1)]


def test_a_member_whose_updates_are_not_finite_ends_alone():
    rig = Rig(bad=(1,))
    rig.run()
    error = rig.members[1].early
    assert isinstance(error, NonFiniteError)
    assert error.step == 1
    assert error.parts == ["gradient or update of a"]
    assert not [event for event in rig.events if event[1] == 1]
    assert len(rig.of("read", 0)) == len(rig.of("read", 2)) == STEPS


def test_where_all_have_ended_no_step_is_made():
    rig, told = Rig(bad=(0, 1, 2)), []
    rig.run(told=lambda step, losses: told.append(losses))
    assert told == [[]] * len(told)
    assert len(told) < STEPS


def test_a_member_that_ends_early_is_saved_and_the_others_go_on():
    rig, ends = Rig(), RuntimeError("enough")
    rig.members[2].ended = lambda step: ends if step == 8 else None
    rig.run()
    assert rig.members[2].early is ends
    assert rig.of("save", 2) == [(5, weight(2, 5)), (8, weight(2, 8))]
    assert rig.of("read", 2)[-1] == (8, weight(2, 8))
    assert rig.of("save", 0)[-1] == (12, weight(0, 12))


def test_a_stop_saves_every_member_where_it_is():
    rig = Rig()
    with pytest.raises(KeyboardInterrupt):
        rig.run(stop=lambda step: KeyboardInterrupt() if step == 7 else None)
    for seat in range(3):
        assert rig.of("save", seat) == [(5, weight(seat, 5)), (7, weight(seat, 7))]
        assert rig.of("read", seat)[-1] == (7, weight(seat, 7))


def test_a_hook_may_change_the_state_of_its_member_alone():
    rig = Rig()
    add = Hook(
        3, lambda step, state: state.replace(params={"a": state.params["a"] + 1000}), once=True, at_end=False
    )
    rig.members[1].hooks = (add, *rig.members[1].hooks)
    rig.run()
    assert rig.of("eval", 1)[0] == (4, weight(1, 4) + 1000)
    assert rig.of("eval", 0)[0] == (4, weight(0, 4))
    assert rig.of("eval", 2)[0] == (4, weight(2, 4))


def test_seats_that_are_left_take_what_the_first_one_has():
    seats = Seats(3)
    placed = seats.stacked([{"x": np.arange(2)}, {"x": np.arange(2) + 5}])
    np.testing.assert_array_equal(placed["x"], [[0, 1], [5, 6], [0, 1]])
    np.testing.assert_array_equal(seats.member(placed, 1)["x"], [5, 6])


DEVICES = """
    import jax, json
    import numpy as np
    from aila_jax.training.population import Seats

    seats = Seats(2)
    members = [{{"x": np.full(3, number)}} for number in range(8)]
    placed = seats.stacked(members)
    own = [seats.member(placed, number)["x"] for number in range(8)]
    changed = seats.changed(placed, 5, {{"x": np.full(3, 50)}})
    print(json.dumps([
        [int(one[0]) for one in own],
        [next(iter(one.devices())).id for one in own],
        np.asarray(changed["x"])[:, 0].tolist(),
    ]))
"""


def test_members_are_shared_out_to_devices(run_in_subprocess_with_devices):
    said = run_in_subprocess_with_devices(4, DEVICES.format())
    own, devices, changed = json.loads(said.strip().splitlines()[-1])
    assert own == list(range(8))
    assert devices == [0, 0, 1, 1, 2, 2, 3, 3]
    assert changed == [0, 1, 2, 3, 4, 50, 6, 7]
