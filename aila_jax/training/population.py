"""Several runs by one program: members that differ in λ, learning rate and seed, and in nothing else.

One compiled step takes the members of a group, each with its state, its batch, its λ and its learning rate.
Devices share the members and exchange nothing. On a device they are one (a *loop* of groups over the one
program) or several under vmap.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aila_jax.config import Config
from aila_jax.model.network import Network
from aila_jax.training.loop import LAG, Hook, NonFiniteError, stop_if_skipped
from aila_jax.training.optimizer import build_optimizer
from aila_jax.training.penalty import penalty_rule
from aila_jax.training.state import TrainState, part_names
from aila_jax.training.step import Objective, StepMetrics, make_train_step

T = TypeVar("T")

AXIS = "member"
LOOP, VMAP = "loop", "vmap"
TRIED = 5  # steps of a form that are timed, after one that warms up


@dataclass(frozen=True)
class Seats:
    """Where the members of a group are.

    Attributes:
      each: members of one device, side by side under vmap where they are more than one.
      mesh: all local devices.
    """

    each: int
    mesh: Mesh = field(default_factory=lambda: Mesh(np.asarray(jax.local_devices()), (AXIS,)))

    @property
    def size(self) -> int:
        """Members of a group."""
        return self.each * self.mesh.size

    @property
    def form(self) -> str:
        """What members do on their device."""
        return LOOP if self.each == 1 else VMAP

    @property
    def split(self) -> NamedSharding:
        """Members along the first axis."""
        return NamedSharding(self.mesh, PartitionSpec(AXIS))

    def stacked(self, members: Sequence[T]) -> T:
        """The arrays of a group's members, [size, …]; seats that are left take what the first one has."""
        every = [*members, *[members[0]] * (self.size - len(members))]
        stacked = jax.tree.map(lambda *arrays: np.stack(arrays), *jax.device_get(every))
        return jax.device_put(stacked, self.split)

    def member(self, tree: T, place: int) -> T:
        """The arrays of one member, on its device."""

        def own(array: jax.Array) -> jax.Array:
            for part in array.addressable_shards:
                first = part.index[0].start or 0
                if first <= place < first + len(part.data):
                    return part.data[place - first]
            raise AssertionError("each member is on a device")

        return jax.tree.map(own, tree)

    def changed(self, tree: T, place: int, member: T) -> T:
        """The same with other arrays for one member."""
        every = [self.member(tree, one) for one in range(self.size)]
        return self.stacked([*every[:place], member, *every[place + 1 :]])


def group_step(
    config: Config, network: Network, seats: Seats
) -> Callable[..., tuple[TrainState, StepMetrics]]:
    """Compiles (state, batch, λ, τ, rate) → (state, metrics) of a group, every array [size, …]; the state's
    buffers are reused. With a penalty its strengths come last.

    Args:
      config: of any member; nothing is read of it in which they differ.
      network: the members' decoder and partition.
      seats: where they are.
    """
    objective, penalty = Objective.of(config), penalty_rule(config)

    def one(state: TrainState, batch: Any, lam: Any, tau: Any, rate: Any, *strength: Any) -> Any:
        optimizer = build_optimizer(config.train, config.penalty, config.feature_groups, rate)
        step = make_train_step(
            network, optimizer, objective, accumulate=config.train.accumulate, penalty=penalty
        )
        return step(state, batch, lam, tau, *strength)

    def alone(*arguments: Any) -> Any:
        """Without vmap the program of one member is that of its single run."""
        found = one(*jax.tree.map(lambda x: x[0], arguments))
        return jax.tree.map(lambda x: x[None], found)

    mapped = jax.shard_map(
        alone if seats.each == 1 else jax.vmap(one),
        mesh=seats.mesh,
        in_specs=PartitionSpec(AXIS),
        out_specs=PartitionSpec(AXIS),
        check_vma=False,
    )
    # Stated, since one device would give arrays back as whole, which are other arguments to the next step.
    return jax.jit(mapped, in_shardings=seats.split, out_shardings=seats.split, donate_argnums=0)


@dataclass(frozen=True)
class Program:
    """The one compiled step of all members.

    Attributes:
      seats: of its groups.
      step: of `group_step`.
      seconds: of one step of one member, the median; None where nobody tried.
    """

    seats: Seats
    step: Callable[..., tuple[TrainState, StepMetrics]]
    seconds: float | None = None

    @classmethod
    def of(cls, config: Config, network: Network, seats: Seats) -> "Program":
        """Not compiled yet: the first step does it."""
        return cls(seats, group_step(config, network, seats))

    def tried(self, state: TrainState, inputs: tuple[Any, ...]) -> "Program":
        """The same, timed over some steps in which all members are the same.

        Args:
          state: one member's; it stays as it is.
          inputs: of one step of one member, beside its state.
        """
        every, arguments = self.seats.stacked([state]), self.seats.stacked([inputs])
        seconds = []
        for _ in range(1 + TRIED):
            began = time.perf_counter()
            every, metrics = self.step(every, *arguments)
            jax.block_until_ready((every, metrics))
            seconds.append(time.perf_counter() - began)
        return replace(self, seconds=median(seconds[1:]) / self.seats.size)

    @property
    def compilations(self) -> int:
        """How often its step was compiled."""
        return int(self.step._cache_size())  # type: ignore[attr-defined]


@dataclass
class Member:
    """One run of a group while it trains.

    Attributes:
      on_metrics: gets every step's number and metrics, as in `fit`.
      hooks: what it does beside its steps.
      max_skipped: updates that may be discarded.
      ended: what ends this member alone after a step; None to go on.
      early: why it ended before its last step.
    """

    on_metrics: Callable[[int, StepMetrics], None]
    hooks: tuple[Hook, ...] = ()
    max_skipped: int = 0
    ended: Callable[[int], Exception | None] = lambda step: None
    early: Exception | None = None

    def take(self, step: int, metrics: StepMetrics, names: list[str]) -> bool:
        """Reads the metrics of one step; whether it still trains."""
        if self.early is None:
            try:
                stop_if_skipped(metrics, names, self.max_skipped)
            except NonFiniteError as error:  # the others go on
                self.early = error
            else:
                self.on_metrics(step, metrics)
        return self.early is None


def fit_members(
    state: TrainState,
    members: Sequence[Member],
    program: Program,
    *,
    inputs: Callable[[int], tuple[Any, ...]],
    steps: range,
    placed: Callable[[TrainState], TrainState],
    told: Callable[[int, list[float]], None],
    stop: Callable[[int], BaseException | None],
) -> None:
    """Trains the members of a group side by side, as `fit` trains one. A member whose updates are not finite,
    or that ends early, is left out of the rest.

    Args:
      state: of all of them, [size, …].
      members: those of the first seats.
      program: what they do together.
      inputs: of the step of that number, counted from 0.
      steps: numbers of the steps to do, from 0.
      placed: puts the state of one member where its hooks want it.
      told: gets every step's number (from 1) and the losses of those that train.
      stop: as in `fit`.

    Raises:
      What `stop` returns.
    """
    names, seats = part_names(state.params), program.seats
    pending: deque[tuple[int, StepMetrics]] = deque()

    def read(most_pending: int) -> None:
        while len(pending) > most_pending:
            number, metrics = pending.popleft()
            host = jax.device_get(metrics)
            each = [jax.tree.map(lambda x, seat=seat: x[seat], host) for seat in range(len(members))]
            losses = [
                float(one.loss) for member, one in zip(members, each, strict=True)
                if member.take(number, one, names)
            ]  # fmt: skip
            told(number, losses)

    def call(number: int, seat: int, hooks: list[Hook]) -> None:
        nonlocal state
        own = placed(seats.member(state, seat))
        for hook in hooks:
            if (changed := hook.call(number, own)) is not None:
                own = changed
                state = seats.changed(state, seat, own)

    for number in range(steps.start + 1, steps.stop + 1):
        state, metrics = program.step(state, *inputs(number - 1))
        pending.append((number, metrics))
        read(LAG)
        if any(hook.due(number, steps.stop) for member in members for hook in member.hooks):
            read(0)
        for seat, member in enumerate(members):
            due = [hook for hook in member.hooks if hook.due(number, steps.stop)]
            if member.early is None and due:
                call(number, seat, due)
            if member.early is None and (reason := member.ended(number)):
                call(number, seat, [hook for hook in member.hooks if hook.on_stop])
                member.early = reason
        if (why := stop(number)) is not None:
            read(0)
            for seat, member in enumerate(members):
                if member.early is None:
                    call(number, seat, [hook for hook in member.hooks if hook.on_stop])
            raise why
        if all(member.early is not None for member in members):
            return
    read(0)
