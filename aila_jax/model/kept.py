"""Keys and values of tokens that were read: the next token attends to them, and only it is computed.

A later token changes no key and no value before it: attention is causal, and so is what is inside of the keys
up to a query. What is inside for the new query is made anew for each token, since pointers of a block that is
not finished may change.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from aila_jax.config import ModelConfig
from aila_jax.types import Array

COLLECTION = "kept"  # of Flax's variables; layers put their keys and values there where it is asked for
NAME = "keys_values"


@flax.struct.dataclass
class KeysValues:
    """Those of one layer, as its queries meet them: rotated, of unit length where queries are. Of all layers
    with a leading axis.

    Attributes:
      keys: G heads of keys; what stands where no token was read is never attended to.
      values: likewise.
    """

    keys: Float[Array, "*N B L G K"]
    values: Float[Array, "*N B L G K"]

    def put(self, fresh: "KeysValues", at: Int[Array, "B T"]) -> "KeysValues":
        """With those of T tokens at their positions."""
        rows = jnp.arange(at.shape[0])[:, None]
        return jax.tree.map(lambda old, new: old.at[rows, at].set(new), self, fresh)

    def put_row(self, fresh: "KeysValues", row: Int[Array, ""]) -> "KeysValues":
        """With the first tokens of one example, those of `fresh`, a single one."""
        return jax.tree.map(
            lambda old, new: jax.lax.dynamic_update_slice(old, new, (row, 0, 0, 0)), self, fresh
        )


Kept = tuple[KeysValues, ...]  # of each layer


def nothing_kept(config: ModelConfig, rows: int, length: int) -> Kept:
    """Room for `length` tokens of each of `rows` examples."""
    shape = (rows, length, config.kv_heads, config.head_size)

    def room() -> Array:
        return jnp.zeros(shape, jnp.dtype(config.dtype))

    return tuple(KeysValues(room(), room()) for _ in range(config.n_layers))


def kept_of(layer: Any) -> KeysValues:
    """What a layer put into its variables, the dictionary that Flax returns."""
    found = layer[COLLECTION]["attention"][NAME]
    assert isinstance(found, KeysValues)
    return found


def put_rows(kept: Kept, fresh: Kept, row: Int[Array, ""]) -> Kept:
    """`KeysValues.put_row` of every layer."""
    return tuple(old.put_row(new, row) for old, new in zip(kept, fresh, strict=True))


def latest(_: Any, new: Any) -> Any:
    """Of what a layer puts into its variables: the last."""
    return new
