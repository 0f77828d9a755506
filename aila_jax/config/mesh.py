"""Settings of the devices that a run is laid out on."""

from dataclasses import dataclass

from aila_jax.config.checks import Rule, check_fields, check_rules

MAX_DEVICES = 2**20


@dataclass(frozen=True)
class MeshConfig:
    """How devices share a run: data · fsdp · tensor of them, of which each has a place on three axes
    (docs/howto/many_devices.md).

    It says where numbers are, not what they are: a run goes on under another mesh.

    Attributes:
      data: parts of the batch, each on devices with a copy of everything; 0 is what the other two leave of
        the devices that are there.
      fsdp: parts of the batch, too, and of parameters and optimizer state: each device keeps one part, and
        has the others of a layer's weights only while it computes that layer. It must divide the width
        `model.d_model`.
      tensor: parts of each layer's heads, inner units and of the vocabulary. It must divide `model.n_heads`
        and `model.d_ff`.
    """

    data: int = 0
    fsdp: int = 1
    tensor: int = 1

    def __post_init__(self) -> None:
        check_fields(self, "mesh.")
        limit = f"at least 1, and at most {MAX_DEVICES:,}"
        rules: tuple[Rule, ...] = (
            ("data", 0 <= self.data <= MAX_DEVICES, f"at least 0, and at most {MAX_DEVICES:,}",
             "set --config.mesh.data=0, which takes all devices"),
            ("fsdp", 1 <= self.fsdp <= MAX_DEVICES, limit, "set --config.mesh.fsdp=1"),
            ("tensor", 1 <= self.tensor <= MAX_DEVICES, limit, "set --config.mesh.tensor=1"),
        )  # fmt: skip
        check_rules("mesh.", self, rules)

    @property
    def plain(self) -> bool:
        """Whether every device has a copy of everything."""
        return self.fsdp == self.tensor == 1
