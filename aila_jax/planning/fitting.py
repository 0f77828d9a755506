"""Whether a run fits into a device's memory, and what would make it fit."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from aila_jax.config import Config, require
from aila_jax.planning.devices import GB, Device
from aila_jax.planning.memory import Memory, step_memory
from aila_jax.planning.mesh import Mesh, check_mesh

MOST_DEVICES = 4096  # of the meshes that are tried


@dataclass(frozen=True)
class Change:
    """A change of the call that makes it fit.

    Attributes:
      flag: as it is typed.
      memory: bytes a device then.
    """

    flag: str
    memory: float

    @property
    def line(self) -> str:
        """In words."""
        return f"{self.flag} ({gigabytes(self.memory)} GB)"


def gigabytes(size: float) -> str:
    """Of bytes, with enough digits to compare."""
    return f"{size / GB:,.2f}" if size < 100 * GB else f"{size / GB:,.0f}"


def check_fits(config: Config, vocabulary: int, mesh: Mesh, device: Device, chosen: bool = True) -> None:
    """ValueError where a training step takes more than the device has, with what would fit.

    Args:
      config: the run's.
      vocabulary: V, token types.
      mesh: of the devices.
      device: one of them; without a known memory nothing is refused.
      chosen: the mesh may be changed; False: the devices are those that there are.
    """
    if device.memory is None:
        return
    memory = step_memory(config, vocabulary, mesh, device)
    if memory.total > device.memory:
        refuse(memory, changes(config, vocabulary, mesh, device, chosen), device)


def refuse(memory: Memory, found: list[Change], device: Device) -> None:
    """Raises the ValueError."""
    assert device.memory is not None, "what is not known refuses nothing"
    smaller = "a smaller model, or a device with more memory: no batch of its size fits"
    require(
        False,
        f"memory of a training step, in GB a device at the {memory.moment},",
        round(memory.total / GB, 3),
        f"at most {gigabytes(device.memory)}, what {device.name} has",
        ", or ".join(change.line for change in found) or smaller,
    )


def changes(config: Config, vocabulary: int, mesh: Mesh, device: Device, chosen: bool) -> list[Change]:
    """Of each kind of change the smallest that fits."""
    kinds = [_accumulated(config, mesh), _smaller(config, mesh), _chunked(config, mesh)]
    if chosen:
        kinds.insert(0, _larger_meshes(config, mesh))
    found = []
    for kind in kinds:
        for flag, changed, other in kind:
            size = step_memory(changed, vocabulary, other, device).total
            if device.memory is not None and size <= device.memory:
                found.append(Change(flag, size))
                break
    return found


# What to type, and what a step is then.
Tried = Iterator[tuple[str, Config, Mesh]]


def _larger_meshes(config: Config, mesh: Mesh) -> Tried:
    """With weights shared by more devices, as far as the batch and the heads go."""
    for tensor in (mesh.tensor, 2 * mesh.tensor, 4 * mesh.tensor, 8 * mesh.tensor):
        fsdp = mesh.fsdp
        while mesh.data * fsdp * tensor <= MOST_DEVICES:
            other = Mesh(mesh.data, fsdp, tensor)
            if other != mesh and _divides(config, other):
                yield f"--mesh={other.line}", config, other
            fsdp *= 2


def _divides(config: Config, mesh: Mesh) -> bool:
    try:
        check_mesh(mesh, config)
    except ValueError:
        return False
    return True


def _accumulated(config: Config, mesh: Mesh) -> Tried:
    """The same batch in more microbatches."""
    own = config.train.batch_size // mesh.readers
    for microbatches in range(config.train.accumulate + 1, own + 1):
        if own % microbatches == 0:
            train = replace(config.train, accumulate=microbatches)
            yield f"--config.train.accumulate={microbatches}", replace(config, train=train), mesh


def _smaller(config: Config, mesh: Mesh) -> Tried:
    """A smaller batch."""
    step = mesh.readers * config.train.accumulate
    size = config.train.batch_size // 2 // step * step
    while size >= step:
        train = replace(config.train, batch_size=size)
        yield f"--config.train.batch_size={size}", replace(config, train=train), mesh
        size = size // 2 // step * step


def _chunked(config: Config, mesh: Mesh) -> Tried:
    """Fewer logits at once."""
    for chunk in (8192, 2048, 512):
        if not config.train.loss_chunk or chunk < config.train.loss_chunk:
            train = replace(config.train, loss_chunk=chunk)
            yield f"--config.train.loss_chunk={chunk}", replace(config, train=train), mesh
