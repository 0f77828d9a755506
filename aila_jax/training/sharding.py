"""Where arrays live: on a mesh of all devices, those of other processes too, which share the batch and, where
the mesh says so, parameters and optimizer state.
"""

import math
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aila_jax.config import Config, require
from aila_jax.model.shards import BATCH, DATA, FSDP, TENSOR, mapped_part, specs_of
from aila_jax.processes import here

T = TypeVar("T")

AXIS = DATA  # the name of the devices' axis, in a mesh of one and for collectives
SPLIT, WHOLE = PartitionSpec(AXIS), PartitionSpec()


@dataclass(frozen=True)
class Sharding:
    """Where arrays live on a mesh: the batch cut over its first axes; parameters and what follows them as
    `model.shards` says where the mesh has three, and whole on every device where it has one.

    Attributes:
      mesh: all devices, on the axis AXIS, or on the axes data, fsdp and tensor.
    """

    mesh: Mesh

    @property
    def plain(self) -> bool:
        """Whether every device has a copy of everything but the batch."""
        return self.mesh.axis_names == (AXIS,)

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of the mesh that the batch is cut over."""
        return (AXIS,) if self.plain else BATCH

    @property
    def rows(self) -> int:
        """Parts that the batch is cut into."""
        return math.prod(self.mesh.shape[axis] for axis in self.axes)

    @property
    def summed(self) -> tuple[str, ...] | None:
        """The axes that sums over the batch run over; None where one part has all of it. (XLA refuses sums
        over mapped axes of one device each, where others are the compiler's.)
        """
        return self.axes if self.plain or self.rows > 1 else None

    @property
    def split(self) -> PartitionSpec:
        """Cut along the first axis, as a batch is."""
        return SPLIT if self.plain else PartitionSpec(BATCH)

    @property
    def batch(self) -> NamedSharding:
        """Split over devices along the first axis."""
        return NamedSharding(self.mesh, self.split)

    @property
    def replicated(self) -> NamedSharding:
        """Whole on every device."""
        return NamedSharding(self.mesh, WHOLE)

    def rows_here(self, rows: int) -> slice:
        """The rows of a batch of `rows` that devices of this process hold; they are neighbours."""
        held = self.batch.addressable_devices_indices_map((rows,)).values()
        spans = [part[0].indices(rows)[:2] for part in held if part is not None]
        return slice(min(start for start, _ in spans), max(stop for _, stop in spans))

    def shard(self, tree: T) -> T:
        """Puts [B, …] arrays on the devices, B split over them; every process has all of them."""
        return _put(tree, self.batch)

    def shard_own(self, tree: T, rows: int) -> T:
        """Puts the arrays of a batch of `rows` on the devices, of which this process has `rows_here`."""
        if self.batch.is_fully_addressable:
            return self.shard(tree)
        first = self.rows_here(rows).start

        def whole(leaf: Any) -> Any:
            def part(index: Any) -> Any:
                start, stop, _ = index[0].indices(rows)
                return leaf[start - first : stop - first]

            return jax.make_array_from_callback((rows, *leaf.shape[1:]), self.batch, part)

        return jax.tree.map(whole, tree)

    def replicate(self, tree: T) -> T:
        """Puts arrays whole on every device."""
        return _put(tree, self.replicated)

    def specs(self, tree: Any) -> Any:
        """How each array of parameters, or of what follows them, is cut."""
        if self.plain:
            return jax.tree.map(lambda _: WHOLE, tree)
        return specs_of(tree, dict(self.mesh.shape))

    def shardings(self, tree: Any) -> Any:
        """The same, as `jit` takes it."""
        return jax.tree.map(lambda spec: NamedSharding(self.mesh, spec), self.specs(tree))

    def place(self, tree: T) -> T:
        """Puts parameters, or a training state, where the table says."""
        return self.replicate(tree) if self.plain else jax.tree.map(_put, tree, self.shardings(tree))

    def begin(self, make: Callable[[Any], T], params: Any) -> T:
        """The state that `make` makes of parameters, or of None; no device ever has it whole that has a part
        of it in the end.
        """
        if self.plain:
            return self.place(make(params))
        params = self.place(params)
        return jax.jit(make, out_shardings=self.shardings(jax.eval_shape(make, params)))(params)

    def mapped(self, function: Callable[..., Any], arguments: tuple[Any, ...], results: Any) -> Any:
        """`function` of each device's part of its arguments. What is cut over `tensor` is left to the
        compiler.

        Args:
          arguments: how each of the arguments is cut.
          results: how what it returns is cut.
        """
        arguments, results = jax.tree.map(mapped_part, (arguments, results))
        return jax.shard_map(
            function,
            mesh=self.mesh,
            in_specs=arguments,
            out_specs=results,
            axis_names=set(self.axes),
            check_vma=False,
        )


def _put(tree: T, sharding: NamedSharding) -> T:
    """Puts arrays that every process has whole."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def put(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return jax.device_put(leaf, sharding)
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree)


def gathered(tree: Any) -> Any:
    """The whole arrays on the host, in every process: all must ask for them, one array after another."""
    if here.count() == 1:
        return jax.device_get(tree)
    from jax.experimental.multihost_utils import process_allgather

    def whole(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
            return jax.device_get(leaf)
        return process_allgather(leaf, tiled=True)

    return jax.tree.map(whole, tree)


def all_devices() -> list[Any]:
    """Those of all processes, the same list in each; a process's own are neighbours."""
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    held = Counter(device.process_index for device in devices)
    if len(set(held.values())) > 1:
        numbers = ", ".join(f"{held[process]} of process {process}" for process in sorted(held))
        raise ValueError(
            f"devices are {numbers}; every process must have as many. Fix: show each the same number"
        )
    return devices


def batch_sharding(batch_size: int, name: str = "train.batch_size", accumulate: int = 1) -> Sharding:
    """A sharding over all devices, each with a copy of everything but the batch.

    Raises:
      ValueError: `batch_size` is not divisible by their number times `accumulate` microbatches.
    """
    devices = all_devices()
    _check_batch(batch_size, name, len(devices), accumulate, _devices_words())
    return Sharding(Mesh(np.asarray(devices), (AXIS,)))


def _devices_words() -> str:
    return "devices" if here.count() == 1 else f"devices of {here.count()} processes"


def _check_batch(batch_size: int, name: str, parts: int, accumulate: int, what: str) -> None:
    together = parts * accumulate
    if batch_size % together:
        down = max(batch_size // together, 1) * together
        by = f"the {parts} {what}" + (f" times train.accumulate ({accumulate})" if accumulate > 1 else "")
        raise ValueError(f"{name} is {batch_size}; it must be divisible by {by}. Fix: set it to {down}.")


def mesh_sharding(config: Config) -> Sharding:
    """The sharding that `config` trains on.

    Raises:
      ValueError: the mesh does not fit the devices, or the batch does not fit the mesh.
    """
    mesh, train, devices = config.mesh, config.train, all_devices()
    own = mesh.fsdp * mesh.tensor
    limit = f"a divisor of the {len(devices)} devices that are here"
    fix = f"choose mesh.fsdp · mesh.tensor among {', '.join(map(str, _divisors(len(devices))))}"
    require(len(devices) % own == 0, "mesh.fsdp · mesh.tensor", own, limit, fix)
    data = len(devices) // own
    limit = f"0, or {data}: mesh.fsdp · mesh.tensor is {own}, and {len(devices)} devices are here"
    require(mesh.data in (0, data), "mesh.data", mesh.data, limit, "set --config.mesh.data=0")
    if here.count() > 1:
        limit = f"'jit' with {here.count()} processes: pmap has the devices of one"
        require(
            train.parallel == "jit", "train.parallel", train.parallel, limit, "--config.train.parallel=jit"
        )
    if mesh.plain:
        return batch_sharding(train.batch_size, accumulate=train.accumulate)
    parts = "parts of mesh.data · mesh.fsdp"
    _check_batch(train.batch_size, "train.batch_size", data * mesh.fsdp, train.accumulate, parts)
    grid = np.asarray(devices).reshape(data, mesh.fsdp, mesh.tensor)
    return Sharding(Mesh(grid, (DATA, FSDP, TENSOR)))


def _divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]


def mesh_step(step: Callable[..., Any], sharding: Sharding, state: Any, whole: int = 0) -> Callable[..., Any]:
    """Compiles a step (state, batch, lam, tau) → (state, metrics) of whole arrays, for a mesh of three axes.

    The state stays where the table says, and its buffers are reused.

    Args:
      step: of `make_train_step`, whose part that reads the batch is mapped over the mesh.
      state: one like those that the step takes.
      whole: number of arguments after tau; they are whole on every device.
    """
    states, batch = sharding.shardings(state), sharding.batch
    return jax.jit(
        step,
        in_shardings=(states, batch, batch, batch, *[sharding.replicated] * whole),
        out_shardings=(states, sharding.replicated),
        donate_argnums=0,
    )


def map_step(
    step: Callable[..., Any], sharding: Sharding, parallel: str = "jit", whole: int = 0
) -> Callable[..., Any]:
    """Compiles a step (state, batch, lam, tau) → (state, metrics) that sums over AXIS, to run on each
    device's part of the batch.

    The state is whole on every device and its buffers are reused; both ways take arrays as `Sharding` puts
    them.

    Args:
      parallel: `jit` over the mesh, or `pmap`, which the paper's design names and JAX keeps for older code.
      whole: number of arguments after tau; they are whole on every device.
    """
    if parallel == "jit":
        mapped = jax.shard_map(
            step,
            mesh=sharding.mesh,
            in_specs=(WHOLE, SPLIT, SPLIT, SPLIT, *[WHOLE] * whole),
            out_specs=WHOLE,
            check_vma=False,
        )
        return jax.jit(mapped, donate_argnums=0)
    devices = list(sharding.mesh.devices.flat)
    pmapped = jax.pmap(
        step, AXIS, in_axes=(None, 0, 0, 0, *[None] * whole), out_axes=None, donate_argnums=0, devices=devices
    )

    @partial(jax.jit, out_shardings=sharding.batch)
    def by_device(tree: Any) -> Any:
        """[B, …] as [devices, B / devices, …], which is what pmap maps over."""
        return jax.tree.map(lambda x: x.reshape(len(devices), -1, *x.shape[1:]), tree)

    return lambda state, batch, lam, tau, *rest: pmapped(state, *by_device((batch, lam, tau)), *rest)


def mesh_line(sharding: Sharding, state: Any) -> str:
    """The mesh, and what a device holds between two steps, measured from its buffers, in words."""
    sizes = " × ".join(f"{axis} {size}" for axis, size in sharding.mesh.shape.items())
    params, optimizer = (
        f"{device_bytes(tree) / 1e6:,.2f} of {whole_bytes(tree) / 1e6:,.2f} MB"
        for tree in (state.params, state.opt_state)
    )
    return f"{sizes}; the fullest device holds {params} of parameters and {optimizer} of optimizer state"


def device_bytes(tree: Any) -> int:
    """Bytes of the arrays' parts on the device that holds most."""
    held: Counter[Any] = Counter()
    for leaf in jax.tree.leaves(tree):
        for part in leaf.addressable_shards:
            held[part.device] += part.data.nbytes
    return max(held.values(), default=0)


def whole_bytes(tree: Any) -> int:
    """Bytes of the whole arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def describe_devices() -> str:
    """The devices in use, in words. Warns where an accelerator is installed for but JAX fell back to the
    CPU.
    """
    devices = jax.local_devices()
    several = "" if here.count() == 1 else f" in each of {here.count()} processes"
    if devices[0].platform == "cpu" and _accelerator_expected():
        warnings.warn(
            "an accelerator plug-in for JAX is installed, but JAX runs on the CPU. "
            "Fix: check the driver, or set JAX_PLATFORMS=cpu to mean it",
            stacklevel=2,
        )
    return f"{len(devices)} × {devices[0].device_kind} ({devices[0].platform}){several}"


def _accelerator_expected() -> bool:
    """Whether a CUDA, ROCm or TPU plug-in is installed and the user did not choose the CPU."""
    from importlib.util import find_spec
    from os import environ

    if "cpu" in environ.get("JAX_PLATFORMS", ""):
        return False
    return any(
        find_spec(name) is not None
        for name in ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin", "libtpu")
    )
