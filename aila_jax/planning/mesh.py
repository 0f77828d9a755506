"""Devices as a mesh, and into how many parts it cuts what a run holds."""

from dataclasses import asdict, dataclass, replace
from math import prod

from aila_jax.config import Config, MeshConfig
from aila_jax.model.shards import spec_of
from aila_jax.planning.parameters import Parameter


@dataclass(frozen=True)
class Mesh:
    """Three numbers whose product is that of the devices.

    Attributes:
      data: groups of devices that hold all weights between them, and read different sequences.
      fsdp: devices of a group that share weights, and read different sequences.
      tensor: devices that share the heads and the inner width of every layer, and read the same sequences.
    """

    data: int = 1
    fsdp: int = 1
    tensor: int = 1

    @classmethod
    def of(cls, config: MeshConfig, devices: int = 0) -> "Mesh":
        """What a configuration asks for; where it leaves `data` open, that of so many devices, at least 1."""
        data = config.data or max(devices // (config.fsdp * config.tensor), 1)
        return cls(data, config.fsdp, config.tensor)

    @property
    def devices(self) -> int:
        """How many there are."""
        return self.data * self.fsdp * self.tensor

    @property
    def readers(self) -> int:
        """Parts that a batch is cut into."""
        return self.data * self.fsdp

    @property
    def line(self) -> str:
        """As `--mesh` takes it."""
        return f"{self.data},{self.fsdp},{self.tensor}"


def check_mesh(mesh: Mesh, config: Config) -> None:
    """ValueError for a mesh that the configuration's own rules refuse, as they word it."""
    replace(config, mesh=MeshConfig(mesh.data, mesh.fsdp, mesh.tensor))


def parts_of(parameter: Parameter, mesh: Mesh) -> int:
    """Into how many parts training cuts a parameter.

    Raises:
      ValueError: it cannot; `check_mesh` says so first.
    """
    sizes = asdict(mesh)
    cuts = spec_of(parameter.name, parameter.shape, sizes)
    return prod(sizes[cut] for cut in cuts if cut is not None)
