"""Memory of a training step on a device, by formula, at the moment that needs most.

What XLA holds follows from few numbers: how many arrays of which width a token leaves behind in a layer. They
were counted from compiled steps (`compile().memory_analysis()` of a CPU), and tests compare them again.
"""

from dataclasses import dataclass

from aila_jax.config import (
    AttentionRoute,
    Config,
    FeedForwardKind,
    ModelConfig,
    OptimizerKind,
    Remat,
    TrainedPart,
)
from aila_jax.model.route import TileSize, tile_of
from aila_jax.model.scanned import UNROLLED
from aila_jax.planning.devices import Device
from aila_jax.planning.flops import recomputes
from aila_jax.planning.mesh import Mesh, parts_of
from aila_jax.planning.parameters import Parameter, parameters

FLOAT = 4  # bytes of a parameter, and of everything that is not of the compute type
MOMENTS = 2  # of each trained number, with AdamW; with Muon one of a layer's matrices
# Until an update is known to be finite, gradients and what it would write stand beside the old state.
UPDATE = 3.5
MUON = 4.6  # copies of each matrix beside that, while Muon works


@dataclass(frozen=True)
class Memory:
    """Bytes on a device at the moment that needs most.

    Attributes:
      weights: float32 parameters.
      optimizer: the moments that its optimizer keeps.
      gradients: of weights, what an update writes before it is accepted, and copies of weights for a loop.
      activations: what layers leave for the backward pass, and what one of them works with.
      logits: of the tokens whose logits exist at once.
      attention: scores.
      moment: which one: `output layer`, `layers` or `update`.
    """

    weights: float
    optimizer: float
    gradients: float
    activations: float
    logits: float
    attention: float
    moment: str

    @property
    def total(self) -> float:
        """All of it."""
        return (
            self.weights + self.optimizer + self.gradients + self.activations + self.logits + self.attention
        )


@dataclass(frozen=True)
class Held:
    """Numbers, not bytes, that a device holds of the parameters, after the mesh has cut them.

    Attributes:
      weights: of all, and of a teacher beside them.
      trained: of those that are trained.
      layers: of the layers' alone.
      trained_layers: of these, trained.
      moments: of the trained ones.
      matrices: that Muon trains.
      gathered: of one layer, whole but for what `tensor` cuts, where `fsdp` shares it; 0 where it does not.
      table: gradient of the output layer's weights; 0 where they are frozen.
    """

    weights: float
    trained: float
    layers: float
    trained_layers: float
    moments: float
    matrices: float
    gathered: float
    table: float


def held(config: Config, vocabulary: int, mesh: Mesh) -> Held:
    """What each device has."""
    every = list(parameters(config.model, vocabulary))
    frozen = config.train.trained == TrainedPart.DIAL
    trained = [one for one in every if one.turns or not frozen]
    teacher = [one for one in every if not one.turns and config.locality.taught and not frozen]
    muon = config.train.optimizer == OptimizerKind.MUON
    inside = [one for one in trained if one.name.startswith("layer_")]
    matrices = [one for one in inside if muon and one.name.endswith("/kernel")]
    table = next(one for one in reversed(every[:3]) if one.name in ("output", "embedding"))

    def share(of: list[Parameter]) -> float:
        return sum(one.size / parts_of(one, mesh) for one in of)

    within = Mesh(tensor=mesh.tensor)
    first = [one for one in every if one.name.startswith("layer_0/")]
    return Held(
        share(every) + share(teacher),
        share(trained),
        share([one for one in every if one.name.startswith("layer_")]),
        share(inside),
        MOMENTS * share(trained) - share(matrices),
        share(matrices),
        sum(one.size / parts_of(one, within) for one in first) if mesh.fsdp > 1 else 0.0,
        0.0 if frozen else table.size / parts_of(table, mesh),
    )


@dataclass(frozen=True)
class Reading:
    """What a device reads at once.

    Attributes:
      rows: sequences, each as often as it is read.
      tokens: of them.
      tile: of attention; None: in one piece.
      number: bytes of an activation, in the mean.
    """

    rows: int
    tokens: int
    tile: TileSize | None
    number: float

    @classmethod
    def of(cls, config: Config, mesh: Mesh, device: Device) -> "Reading":
        """Of one microbatch."""
        train, model = config.train, config.model
        rows = train.batch_size * config.locality.views // (mesh.readers * train.accumulate)
        tile = tile_size(model, rows, mesh, device)
        number: float = FLOAT
        if model.dtype == "bfloat16":
            # For CPUs XLA makes products of bfloat16, and keeps most of what they read, in float32.
            number = 3.5 if device.is_cpu else 2.0
        return cls(rows, rows * model.length, tile, number)


def tile_size(model: ModelConfig, rows: int, mesh: Mesh, device: Device) -> TileSize | None:
    """Of attention's tiles, as attention chooses them; None: in one piece."""
    shape = (rows, model.n_heads // mesh.tensor, model.length)
    return tile_of(AttentionRoute(model.attention), shape, weights=False, cpu=device.is_cpu)


def kept_of_a_layer(config: Config, reading: Reading, mesh: Mesh) -> float:
    """Numbers that a token leaves in a layer for its backward pass, scores apart."""
    model = config.model
    heads = model.n_heads * model.head_size / mesh.tensor
    width = 8.0 + 2.0 * model.film + 1.0 * (model.dial_weights != "none") + 4.5 * (model.dropout > 0.0)
    by_head = 4.0 if reading.tile is None else 8.5  # tiles read queries, keys and values laid out anew
    return width * model.d_model + by_head * heads + _inner(model) * model.d_ff / mesh.tensor


def products_of_a_layer(config: Config, mesh: Mesh) -> float:
    """Numbers of a token that products with weights make in a layer, and the layer's input."""
    model = config.model
    heads = (model.n_heads + 2.0 * model.kv_heads) * model.head_size / mesh.tensor
    into = 2.0 if model.feed_forward == FeedForwardKind.SWIGLU else 1.0
    return 3.0 * model.d_model + heads + into * model.d_ff / mesh.tensor


def step_memory(config: Config, vocabulary: int, mesh: Mesh, device: Device) -> Memory:
    """Of a training step, on each device of the mesh."""
    own, reading = held(config, vocabulary, mesh), Reading.of(config, mesh, device)
    moments = [*_while_reading(config, vocabulary, mesh, own, reading), _at_the_update(own)]
    return max(moments, key=lambda moment: moment.total)


def _while_reading(config: Config, vocabulary: int, mesh: Mesh, own: Held, reading: Reading) -> list[Memory]:
    """At the output layer, when all layers have left what they keep; and in a loop over layers, which keep
    their inputs alone, when the gradient of one is made.
    """
    model = config.model
    stream, kept = model.d_model, kept_of_a_layer(config, reading, mesh)
    scores = _scores(config, reading, mesh)
    logits = _logits(config, vocabulary, reading, mesh)
    summed = own.trained if config.train.accumulate > 1 else 0.0
    some = config.train.remat == Remat.DOTS
    if not some and not recomputes(config):
        layers = model.n_layers
        if layers > UNROLLED:  # a loop keeps what XLA makes again where layers stand side by side
            kept += (1.0 if model.feed_forward == FeedForwardKind.SWIGLU else 2.0) * model.d_ff / mesh.tensor
        return [_moment(
            "output layer", own, summed + own.table + own.gathered, reading.tokens * (layers * kept + 6.0 * stream),
            logits, scores * (layers if reading.tile is None else 1), reading.number,
        )]  # fmt: skip
    left = products_of_a_layer(config, mesh) if some else stream
    inputs = model.n_layers * left
    again = kept - left if some else kept
    work = again + 2.0 * stream + (model.d_ff / mesh.tensor if model.feed_forward == "swiglu" else 0.0)
    copies = summed + own.layers + own.gathered
    return [
        _moment("output layer", own, copies + own.table, reading.tokens * (inputs + 6.0 * stream), logits, 0.0,
                reading.number),
        _moment("layers", own, copies + own.trained_layers + own.gathered, reading.tokens * (inputs + work), 0.0,
                scores, reading.number),
    ]  # fmt: skip


def _at_the_update(own: Held) -> Memory:
    return _moment("update", own, UPDATE * own.trained + MUON * own.matrices, 0.0, 0.0, 0.0, FLOAT)


def _moment(
    name: str, own: Held, gradients: float, activations: float, logits: float, scores: float, number: float
) -> Memory:
    return Memory(
        FLOAT * own.weights,
        FLOAT * own.moments,
        FLOAT * gradients,
        number * activations,
        FLOAT * logits,
        FLOAT * scores,
        name,
    )


def _inner(model: ModelConfig) -> float:
    """Arrays as wide as the feed-forward part that a layer keeps."""
    return {FeedForwardKind.SWIGLU: 5.0, FeedForwardKind.GELU: 3.0, FeedForwardKind.GELU_EXACT: 3.0}[
        model.feed_forward
    ]


def _scores(config: Config, reading: Reading, mesh: Mesh) -> float:
    """Numbers of three arrays of scores: of all pairs in each layer, or of one tile's."""
    model = config.model
    if reading.tile is not None:
        return 3.0 * reading.rows * reading.tile.heads * reading.tile.side**2
    return 3.0 * reading.rows * model.n_heads / mesh.tensor * model.length**2


def _logits(config: Config, vocabulary: int, reading: Reading, mesh: Mesh) -> float:
    """Numbers of the logits that exist at once. In chunks they become their gradient where they stand; in one
    piece there are probabilities and gradients beside them.
    """
    chunk = config.train.loss_chunk
    types = vocabulary / mesh.tensor if vocabulary % mesh.tensor == 0 else vocabulary
    if not chunk:
        return 3.0 * reading.tokens * types
    teachers = 1.0 if config.locality.taught else 0.0
    return (1.13 + teachers) * min(chunk, reading.tokens) * types


def certain(config: Config, vocabulary: int, mesh: Mesh, device: Device) -> float:
    """Bytes that a step takes at least: nine tenths of the estimate on a CPU, where it was compared with what
    XLA compiles; elsewhere weights, moments and gradients alone.
    """
    if device.is_cpu:
        return 0.9 * step_memory(config, vocabulary, mesh, device).total
    own = held(config, vocabulary, mesh)
    return FLOAT * (own.weights + own.moments + own.trained)
