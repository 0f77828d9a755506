"""What the decoder takes beside tokens, and what it returns."""

import flax.struct
from jaxtyping import Float

from aila_jax.cards import Card, Shown, shape
from aila_jax.config import require
from aila_jax.model.stats import AttentionStats, StatsRequest
from aila_jax.types import Array


@flax.struct.dataclass
class Dial:
    """The runtime arguments of the forward pass.

    Attributes:
      lam: λ in [0, 1], one number or one per example.
      tau: τ > 0, likewise.
      layer_scale: factor of λ in each layer; None takes the configuration's ((ℓ + 1) / N)^β. Hard attention
        has none.
    """

    lam: Float[Array, "..."]
    tau: Float[Array, "..."]
    layer_scale: Float[Array, "N"] | None = None


@flax.struct.dataclass
class Request:
    """What the forward pass returns beside the features; static, and nothing is computed that is not asked
    for.

    Attributes:
      logits: next-token logits.
      stats: which attention statistics; None for none.
      weights: the attention weights of every layer.
      hard: attend inside the block only.
      no_attention: the attention branch of every layer adds 0 to the residual stream; then there are no
        statistics or weights.
    """

    logits: bool = flax.struct.field(pytree_node=False, default=True)
    stats: StatsRequest | None = flax.struct.field(pytree_node=False, default=None)
    weights: bool = flax.struct.field(pytree_node=False, default=False)
    hard: bool = flax.struct.field(pytree_node=False, default=False)
    no_attention: bool = flax.struct.field(pytree_node=False, default=False)

    def __post_init__(self) -> None:
        fix = "ask for statistics of the model with its attention"
        require(
            not (self.no_attention and self.reads_attention),
            "Request.no_attention",
            True,
            "false with stats or weights",
            fix,
        )

    @property
    def reads_attention(self) -> bool:
        """Whether something of the attention weights is asked for."""
        return self.stats is not None or self.weights


@flax.struct.dataclass(repr=False)
class ModelOutput(Shown):
    """What the forward pass returns.

    Attributes:
      features: what the output layer reads, in the compute type.
      logits: next-token logits, float32, or None if not asked for.
      stats: attention statistics with a leading layer axis, or None if not asked for.
      weights: attention weights [layer, example, head, query, key], float32, 0 outside A_t, or None if not
        asked for.
    """

    features: Float[Array, "B L D"]
    logits: Float[Array, "B L V"] | None = None
    stats: AttentionStats | None = None
    weights: Float[Array, "N B H L L"] | None = None

    def card(self) -> Card:
        facts = {name: shape(getattr(self, name)) for name in ("features", "logits", "weights")}
        return Card(
            "ModelOutput", {**facts, "stats": "none" if self.stats is None else type(self.stats).__name__}
        )
