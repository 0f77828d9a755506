"""Where arrays live: the batch split over all local devices, everything else copied to each."""

import warnings
from dataclasses import dataclass
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Placement:
    """Data parallelism over a one-dimensional mesh.

    Attributes:
      mesh: all local devices on the axis "data".
    """

    mesh: Mesh

    @property
    def batch(self) -> NamedSharding:
        """Split over devices along the first axis."""
        return NamedSharding(self.mesh, PartitionSpec("data"))

    @property
    def replicated(self) -> NamedSharding:
        """Whole on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    def shard(self, tree: T) -> T:
        """Puts [B, …] arrays on the devices, B split over them."""
        return jax.device_put(tree, self.batch)

    def replicate(self, tree: T) -> T:
        """Puts arrays whole on every device."""
        return jax.device_put(tree, self.replicated)


def place(batch_size: int, name: str = "train.batch_size") -> Placement:
    """A placement over all local devices.

    Raises:
      ValueError: `batch_size` is not divisible by their number.
    """
    devices = jax.local_devices()
    if batch_size % len(devices):
        down = max(batch_size // len(devices), 1) * len(devices)
        raise ValueError(f"{name} is {batch_size}; it must be divisible by the {len(devices)} devices. Fix: set it to {down}.")
    return Placement(Mesh(np.asarray(devices), ("data",)))


def describe_devices() -> str:
    """The devices in use, in words. Warns where an accelerator is installed for but JAX fell back to the CPU."""
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
    return any(find_spec(name) is not None for name in ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin", "libtpu"))
