"""FLOPs of a token, by formula: of matrix products alone, 2 of each product of two numbers.

With W the numbers of a layer's kernels, n the keys that a query is compared with (all L in one piece; in
tiles those of the chunks at and before it) and H · K the width of all heads, a layer costs 2W + 4nHK a token
forward. Backward each product costs two more. What the computation does again counts too: scores from tiles,
and layers in a loop.
"""

from dataclasses import dataclass, replace

from aila_jax.config import Config, MarginForm, ModelConfig, Remat, TrainedPart
from aila_jax.model.scanned import UNROLLED
from aila_jax.planning.parameters import parameters


@dataclass(frozen=True)
class Flops:
    """Of one token.

    Attributes:
      attention: queries, keys, values, output, and scores with all keys.
      feed_forward: of all layers.
      output: logits.
      dial: what the dial adds: weights that turn, further readings, a second look at scores, a teacher.
    """

    attention: float
    feed_forward: float
    output: float
    dial: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.attention + self.feed_forward + self.output + self.dial


@dataclass(frozen=True)
class Passes:
    """How often each product is made for one reading.

    Attributes:
      kernels: products with frozen or trained weights.
      last: a layer's last product, which nothing reads when the layer is computed again.
      turning: products with weights that turn with the dial.
      scores: attention's two products with all keys.
      output: logits.
      ranges: the self-scaling margin's look at scores.
    """

    kernels: float = 1.0
    last: float = 1.0
    turning: float = 1.0
    scores: float = 1.0
    output: float = 1.0
    ranges: float = 1.0


def forward_flops(config: Config, vocabulary: int, tile: int | None) -> Flops:
    """Of a forward pass with logits.

    Args:
      config: the run's.
      vocabulary: V, token types.
      tile: tokens a side of attention's tiles; None: in one piece.
    """
    return _split(config, vocabulary, tile, Passes())


def step_flops(config: Config, vocabulary: int, tile: int | None) -> Flops:
    """Of a training step, a token of its batch; see `forward_flops`. The second and further readings of a
    sequence (`locality.views`) and the teacher's (`locality.taught`) are the dial's.
    """
    frozen = config.train.trained == TrainedPart.DIAL
    again = 1.0 if recomputes(config) else 0.0
    backward = 1.0 if frozen else 2.0
    passes = Passes(
        kernels=1.0 + again + backward,
        last=1.0 + backward,
        turning=1.0 + again + 2.0,
        # A tile's gradient makes its scores again: five products for the two of the forward pass.
        scores=1.0 + again + (2.0 if tile is None else 2.5),
        output=1.0 + backward,
        ranges=1.0 + again,
    )
    reading, views = _split(config, vocabulary, tile, passes), config.locality.views
    more = (views - 1) * reading.total
    if config.locality.taught:
        once = _split(config, vocabulary, tile, Passes(turning=0.0, output=0.0))
        # In chunks a teacher's logits make gradients as the model's own do.
        said = reading.output if config.train.loss_chunk else reading.output / passes.output
        more += once.total + views * said
    return replace(reading, dial=reading.dial + more)


def recomputes(config: Config) -> bool:
    """Whether the products of a layer are computed again for its gradient."""
    remat = config.train.remat
    return remat == Remat.FULL or (remat == Remat.AUTO and config.model.n_layers > UNROLLED)


def keys_a_query(config: ModelConfig, tile: int | None) -> float:
    """The keys that a query is compared with, masked ones included, in the mean. What hard attention and
    documents let tiles skip depends on the text, and is not taken off.
    """
    if tile is None:
        return config.length
    chunks = -(-config.length // tile)
    tiles = chunks * chunks if config.bidirectional else chunks * (chunks + 1) // 2
    return tiles * tile * tile / config.length


def _split(config: Config, vocabulary: int, tile: int | None, passes: Passes) -> Flops:
    model = config.model
    sizes = dict.fromkeys(("attention", "feed_forward", "last", "dial"), 0)
    for one in parameters(model, vocabulary):
        if one.name.endswith("kernel"):
            sizes["last" if "/mlp_out/" in one.name else one.part] += one.size
    product = 2.0 * keys_a_query(model, tile) * model.n_heads * model.head_size  # scores, or what is read
    looks = (
        model.margin.form == MarginForm.SELF_SCALING and model.margin.range == "exact" and tile is not None
    )
    return Flops(
        2.0 * sizes["attention"] * passes.kernels + 2.0 * model.n_layers * product * passes.scores,
        2.0 * sizes["feed_forward"] * passes.kernels + 2.0 * sizes["last"] * passes.last,
        2.0 * vocabulary * model.d_model * passes.output,
        2.0 * sizes["dial"] * passes.turning + model.n_layers * product * passes.ranges * looks,
    )
