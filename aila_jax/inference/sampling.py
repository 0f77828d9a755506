"""How a token is drawn of the logits of each row, and what is said of the draw."""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from aila_jax.types import Array


@flax.struct.dataclass
class Sampling:
    """How a token is drawn: of the `top_k` likeliest, at a temperature, the fewest that hold `top_p`.

    Attributes:
      keys: of this draw, one for each row.
      temperature: 0 takes the most likely token.
      top_p: share of the probability, above 0; 1 is all of it.
      top_k: tokens that may be drawn, the most likely ones.
      alternatives: likeliest tokens to name beside the one that was drawn; None for no log-probabilities.
    """

    keys: Array
    temperature: Float[Array, ""]
    top_p: Float[Array, ""]
    top_k: int = flax.struct.field(pytree_node=False)
    alternatives: int | None = flax.struct.field(pytree_node=False, default=None)


@flax.struct.dataclass
class Drawn:
    """One token of each row.

    Attributes:
      tokens: their ids.
      logprobs: log-probability of each by the model, nats: among all tokens and at temperature 1, however it
        was drawn; None where it is not asked for.
      others: ids of the likeliest tokens, in order, whether drawn or not.
      others_logprobs: theirs.
    """

    tokens: Int[Array, "B"]
    logprobs: Float[Array, "B"] | None = None
    others: Int[Array, "B n"] | None = None
    others_logprobs: Float[Array, "B n"] | None = None


def draw(logits_BxV: Float[Array, "B V"], sampling: Sampling) -> Drawn:
    """Draws a token of each row. Pure, and meant to run inside jit."""
    kept, ids = jax.lax.top_k(logits_BxV, sampling.top_k)
    scaled = within(kept / jnp.maximum(sampling.temperature, 1e-6), sampling.top_p)
    drawn_B = jax.vmap(jax.random.categorical)(sampling.keys, scaled)
    chosen_B = jnp.where(sampling.temperature > 0, drawn_B, 0)
    tokens_B = jnp.take_along_axis(ids, chosen_B[:, None], axis=1)[:, 0]
    if sampling.alternatives is None:
        return Drawn(tokens_B)
    logprobs_BxV = jax.nn.log_softmax(logits_BxV, axis=-1)
    own_B = jnp.take_along_axis(logprobs_BxV, tokens_B[:, None], axis=1)[:, 0]
    return Drawn(tokens_B, own_B, *reversed(jax.lax.top_k(logprobs_BxV, sampling.alternatives)))


def within(sorted_Bxk: Float[Array, "B k"], top_p: Float[Array, ""]) -> Float[Array, "B k"]:
    """Logits in falling order, −∞ for those behind the first that together hold `top_p` of the probability;
    the first one stays, and with 1 all do.

    Source: nucleus sampling, Holtzman et al. (arXiv 1904.09751).
    """
    shares = jax.nn.softmax(sorted_Bxk, axis=-1)
    before = jnp.cumsum(shares, axis=-1) - shares
    first = jnp.arange(sorted_Bxk.shape[1])[None] == 0
    return jnp.where((before < top_p) | (top_p >= 1.0) | first, sorted_Bxk, -jnp.inf)
