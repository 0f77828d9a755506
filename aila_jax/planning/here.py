"""The devices of this process, and whether a run fits into them."""

import jax

from aila_jax.config import Config
from aila_jax.planning.devices import Device, machine_memory
from aila_jax.planning.fitting import changes, check_fits, refuse
from aila_jax.planning.memory import certain, step_memory
from aila_jax.planning.mesh import Mesh


def device_here() -> Device:
    """One of this process's devices: its own memory limit where it says one; of CPU devices a share of the
    machine's.
    """
    devices = jax.local_devices()
    first = devices[0]
    if first.platform == "cpu":
        whole = machine_memory()
        memory = None if whole is None else whole / len(devices)
        return Device("cpu", memory, None, None, None, "this machine")
    stats = first.memory_stats() or {}
    return Device(first.device_kind, stats.get("bytes_limit"), None, None, None, "this process")


def check_fits_here(config: Config, vocabulary: int) -> str:
    """A warning where a run will hardly fit into the memory of this process's devices; empty where it will.

    The estimate is by formula, so what is refused is what does not fit even where it is too high.

    Raises:
      ValueError: it cannot fit.
    """
    device, mesh = device_here(), Mesh.of(config.mesh, jax.device_count())
    if device.memory is None:
        return ""
    memory = step_memory(config, vocabulary, mesh, device)
    if certain(config, vocabulary, mesh, device) > device.memory:
        refuse(memory, changes(config, vocabulary, mesh, device, chosen=False), device)
    try:
        check_fits(config, vocabulary, mesh, device, chosen=False)
    except ValueError as error:
        return f"WARNING: {error}"
    return ""
