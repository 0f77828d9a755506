"""Where arrays live: the batch split over all local devices, everything else copied to each."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

T = TypeVar("T")

AXIS = "data"  # the name of the devices' axis, in the mesh and for collectives
SPLIT, WHOLE = PartitionSpec(AXIS), PartitionSpec()


@dataclass(frozen=True)
class Sharding:
    """Data parallelism over a one-dimensional mesh.

    Attributes:
      mesh: all local devices on the axis AXIS.
    """

    mesh: Mesh

    @property
    def batch(self) -> NamedSharding:
        """Split over devices along the first axis."""
        return NamedSharding(self.mesh, SPLIT)

    @property
    def replicated(self) -> NamedSharding:
        """Whole on every device."""
        return NamedSharding(self.mesh, WHOLE)

    def shard(self, tree: T) -> T:
        """Puts [B, …] arrays on the devices, B split over them."""
        return jax.device_put(tree, self.batch)

    def replicate(self, tree: T) -> T:
        """Puts arrays whole on every device."""
        return jax.device_put(tree, self.replicated)


def batch_sharding(batch_size: int, name: str = "train.batch_size", accumulate: int = 1) -> Sharding:
    """A sharding over all local devices.

    Raises:
      ValueError: `batch_size` is not divisible by their number times `accumulate` microbatches.
    """
    devices = jax.local_devices()
    parts = len(devices) * accumulate
    if batch_size % parts:
        down = max(batch_size // parts, 1) * parts
        by = f"the {len(devices)} devices" + (
            f" times train.accumulate ({accumulate})" if accumulate > 1 else ""
        )
        raise ValueError(f"{name} is {batch_size}; it must be divisible by {by}. Fix: set it to {down}.")
    return Sharding(Mesh(np.asarray(devices), (AXIS,)))


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


def describe_devices() -> str:
    """The devices in use, in words. Warns where an accelerator is installed for but JAX fell back to the
    CPU.
    """
    devices = jax.local_devices()
    if devices[0].platform == "cpu" and _accelerator_expected():
        warnings.warn(
            "an accelerator plug-in for JAX is installed, but JAX runs on the CPU. "
            "Fix: check the driver, or set JAX_PLATFORMS=cpu to mean it",
            stacklevel=2,
        )
    return f"{len(devices)} × {devices[0].device_kind} ({devices[0].platform})"


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
