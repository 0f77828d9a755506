"""What a training run will take, said before anything is made: parameters, FLOPs, memory and time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aila_jax.cards import Card, Shown
from aila_jax.config import Config
from aila_jax.config.checks import check_instance
from aila_jax.config.options import PlanOptions
from aila_jax.planning.devices import GB, TERA, Device, device_named
from aila_jax.planning.flops import Flops, forward_flops, step_flops
from aila_jax.planning.forecast import Forecast, duration
from aila_jax.planning.memory import Memory, Reading, step_memory
from aila_jax.planning.mesh import Mesh, check_mesh
from aila_jax.planning.parameters import PARTS, parameters
from aila_jax.planning.vocabulary import vocabulary_of


@dataclass(frozen=True)
class ParameterCounts:
    """How many parameters a model has.

    Attributes:
      embedding: tables of tokens and, where they are learned, of positions.
      attention: queries, keys, values and output of all layers.
      feed_forward: of all layers.
      output: the output layer's own table; 0 where it is tied.
      norms: scales and shifts.
      dial: what turns with the dial: adapters, FiLM, second weights.
    """

    embedding: int
    attention: int
    feed_forward: int
    output: int
    norms: int
    dial: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(getattr(self, part) for part in PARTS)

    @property
    def without_embedding(self) -> int:
        """All but the tables of tokens and positions."""
        return self.total - self.embedding - self.output


@dataclass(frozen=True, repr=False)
class Plan(Shown):
    """What a run will take.

    Attributes:
      vocabulary: V, token types, at most.
      parameters: by part.
      forward: FLOPs of a forward pass, a token.
      step: FLOPs of a training step, a token of its batch, however often it is read.
      memory: bytes on a device, by part.
      device: what it runs on.
      mesh: how many of them, and what they share.
      batch_tokens: tokens of a step.
      readings: how often a step reads each of them.
      tokens: the budget.
      steps: optimizer steps that the budget takes.
      utilisation: share of the devices' peak speed that is assumed.
      seconds: of all steps; None where the device's speed is not known.
    """

    vocabulary: int
    parameters: ParameterCounts
    forward: Flops
    step: Flops
    memory: Memory
    device: Device
    mesh: Mesh
    batch_tokens: int
    readings: int
    tokens: int
    steps: int
    utilisation: float
    seconds: float | None

    @property
    def fits(self) -> bool | None:
        """Whether the device's memory is enough; None where that is not known."""
        return None if self.device.memory is None else self.memory.total <= self.device.memory

    @property
    def forecast(self) -> Forecast:
        """Of one step."""
        how = f"by formula, at {100 * self.utilisation:g} % of peak speed"
        seconds = None if self.seconds is None else self.seconds / self.steps
        return Forecast(seconds, self.batch_tokens, self.memory.total / 1e6, how)

    def card(self) -> Card:
        fits = {True: "fits", False: "does not fit", None: "not known"}[self.fits]
        facts = {
            "parameters": f"{self.parameters.total:,} ({self.parameters.without_embedding:,} without embeddings)",
            "FLOPs a token": f"{self.forward.total:.3g} forward, {self.step.total:.3g} a step",
            "memory a device": f"{self.memory.total / GB:.2f} GB at the {self.memory.moment}: {fits}",
            "steps": f"{self.steps:,} of {self.batch_tokens:,} tokens",
            "time": "not known" if self.seconds is None else f"about {duration(self.seconds)}",
        }
        return Card(f"Plan for {self.mesh.devices} × {self.device.name}, mesh {self.mesh.line}", facts)


def plan(
    config: Config,
    *,
    mesh: Sequence[int] | None = None,
    device: str = "cpu",
    tokens: int | None = None,
    utilisation: float = 0.4,
    memory_gb: float | None = None,
    tflops: float | None = None,
    vocabulary: int | None = None,
) -> Plan:
    """What training as `config` says will take, by formula: nothing is compiled or allocated.

    Memory agrees within 10 % with what XLA compiles for a CPU (`tests/planning`). On accelerators it was not
    compared yet.

    Args:
      config: the run's.
      mesh: devices along data, fsdp and tensor; None: as configured, one along data where that is open.
      device: one of `h100`, `h200`, `a100`, `a100-40gb`, `l4`, `tpu-v4`, `tpu-v5e`, `tpu-v5p`, `tpu-v6e`, or
        `cpu`, which is this machine.
      tokens: to train on; None: as many as the configuration's steps read.
      utilisation: share of the device's peak speed that is reached, above 0, at most 1. The default is an
        assumption.
      memory_gb: of a device, in GB (1e9 bytes); None: as listed.
      tflops: peak TFLOP/s of a device; None: as listed for the compute type.
      vocabulary: V; None: as the configuration says, at most.

    Returns:
      The plan, whether it fits or not (`Plan.fits`).

    Raises:
      ValueError: an unknown device, or a mesh that does not divide batch, heads or widths.
    """
    check_instance("config", config, Config, "a Config", "aila_jax.presets.base(), say")
    options = PlanOptions(
        mesh=mesh,
        device=device,
        tokens=tokens,
        utilisation=utilisation,
        memory_gb=memory_gb,
        tflops=tflops,
        vocabulary=vocabulary,
    )
    return planned(config, options)


def planned(config: Config, options: PlanOptions) -> Plan:
    """`plan`, with the options of the command."""
    listed = device_named(options.device)
    device = replace(
        listed,
        memory=listed.memory if options.memory_gb is None else options.memory_gb * GB,
        bfloat16=listed.bfloat16 if options.tflops is None else options.tflops * TERA,
        float32=listed.float32 if options.tflops is None else options.tflops * TERA,
    )
    mesh = Mesh.of(config.mesh) if options.mesh is None else Mesh(*options.mesh)
    vocabulary = vocabulary_of(config.data) if options.vocabulary is None else options.vocabulary
    return plan_of(config, vocabulary, mesh, device, options.tokens, options.utilisation)


def plan_of(
    config: Config,
    vocabulary: int,
    mesh: Mesh,
    device: Device,
    tokens: int | None = None,
    utilisation: float = 0.4,
) -> Plan:
    """The plan for devices that are described, not named; see `plan`."""
    check_mesh(mesh, config)
    sizes = dict.fromkeys(PARTS, 0)
    for one in parameters(config.model, vocabulary):
        sizes[one.part] += one.size
    size = Reading.of(config, mesh, device).tile
    tile = None if size is None else size.side
    step = step_flops(config, vocabulary, tile)
    batch = config.train.batch_size * config.model.length
    budget = config.train.steps * batch if tokens is None else tokens
    steps = math.ceil(budget / batch)
    peak = device.peak(config.model.dtype)
    speed = None if peak is None else peak * utilisation * mesh.devices
    return Plan(
        vocabulary=vocabulary,
        parameters=ParameterCounts(
            embedding=sizes["embedding"],
            attention=sizes["attention"],
            feed_forward=sizes["feed_forward"],
            output=sizes["output"],
            norms=sizes["norms"],
            dial=sizes["dial"],
        ),
        forward=forward_flops(config, vocabulary, tile),
        step=step,
        memory=step_memory(config, vocabulary, mesh, device),
        device=device,
        mesh=mesh,
        batch_tokens=batch,
        readings=config.locality.views,
        tokens=budget,
        steps=steps,
        utilisation=utilisation,
        seconds=None if speed is None else steps * batch * step.total / speed,
    )
