"""What callers hand to attention and to models: types and shapes are checked always, values where they are
known. Inside a caller's `jit` they are traced and are not.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aila_jax.config import MAX_MARGIN, MAX_TAU, MIN_TAU, require
from aila_jax.config.checks import shown
from aila_jax.partition.pairs import Pairs
from aila_jax.partition.relations import Relation
from aila_jax.types import Array


def is_traced(*values: Any) -> bool:
    """Whether any of the arrays has no values yet: it is an argument of a function that JAX transforms."""
    return any(isinstance(value, jax.core.Tracer) for value in values)


def number_array(name: str, value: Any, limit: str, fix: str) -> Array:
    """One number or (nested) sequences of them as an array of its own type; a traced one stays traced.

    Raises:
      ValueError: text, None, or rows of several lengths.
    """
    array = any_array(value)
    kinds = (np.floating, np.integer, np.bool_)
    right = array is not None and any(jnp.issubdtype(array.dtype, kind) for kind in kinds)
    require(right, name, value, limit, fix)
    return array


def any_array(value: Any) -> Array | None:
    """The value as an array, NumPy's unless it is one of JAX's or holds traced values; None where it is
    none.
    """
    if isinstance(value, jax.Array):
        return value
    try:
        return np.asarray(value)
    except jax.errors.TracerArrayConversionError:  # a list of traced numbers
        return jnp.asarray(value)
    except ValueError:  # rows of several lengths
        return None


def check_attention(
    qkv: tuple[Any, Any, Any],
    relation: Relation,
    lam: Any,
    tau: Any,
    scale: Any,
    score_cap: Any,
    pointers: Any,
) -> None:
    """Refuses what `locality_attention` cannot read: queries, keys and values, the ids of the relation, λ and
    τ, the scale of scores, their cap and the pointers.

    Raises:
      ValueError: another type or shape, or a known value outside its limits.
    """
    arrays = [
        number_array(name, value, "an array of numbers [B, L, H, K]", "jnp.asarray(…)")
        for name, value in zip("qkv", qkv, strict=True)
    ]
    shape = arrays[0].shape
    for name, array in zip("qkv", arrays, strict=True):
        floats = jnp.issubdtype(array.dtype, np.floating)
        require(
            floats, f"{name}.dtype", str(array.dtype), "a floating-point type", "q.astype(jnp.float32), say"
        )
        right = len(shape) == 4 and array.shape == shape
        require(right, f"{name}.shape", array.shape, "[B, L, H, K], as q's", "q.reshape(B, L, H, K), say")
    for name in ("block_ids", "doc_ids", "key_block_ids"):
        value = getattr(relation, name)
        if value is None and name != "block_ids":
            continue
        array = any_array(value)
        whole = array is not None and jnp.issubdtype(array.dtype, np.integer)
        require(whole, name, value, "an array of whole numbers [B, L]", "number the blocks from 0")
        assert array is not None  # for mypy, which does not know `require`
        found = array.shape
        require(
            found == shape[:2],
            f"{name}.shape",
            found,
            f"that of q's first two axes, {shape[:2]}",
            "one id per position",
        )
    lams = ((), shape[:1], (1, shape[2]), (shape[0], shape[2]))
    for name, value in (("lam", lam), ("tau", tau)):
        check_dial(name, value, lams if name == "lam" else ((), shape[:1]))
    if scale is not None:
        array = number_array("scale", scale, "a number, or one per head", "leave it out for 1/√K")
        known = not is_traced(array)
        right = not known or bool(np.all(np.isfinite(np.asarray(array, np.float64))))
        require(right, "scale", scale, "finite", "leave it out for 1/√K")
        require(
            array.shape in ((), shape[2:3]),
            "scale.shape",
            array.shape,
            f"() or {shape[2:3]}",
            "leave it out for 1/√K",
        )
    if pointers is not None and not isinstance(pointers, Pairs):
        _check_pointers(pointers, *shape[:2])
    array = number_array("score_cap", score_cap, "a number", "0 is none")
    known = not is_traced(array)
    right = array.shape == () and (not known or 0.0 <= float(array) <= MAX_MARGIN)
    require(right, "score_cap", score_cap, f"a number from 0 to {MAX_MARGIN:g}", "0 is none")


def _check_pointers(pointers: Any, rows: int, length: int) -> None:
    """Raises ValueError unless the pointers are True or False for each [query, key]."""
    array = any_array(pointers)
    right = array is not None and array.dtype == bool and array.shape == (rows, length, length)
    limit = f"True or False for each query and key, {(rows, length, length)}"
    require(right, "pointers", pointers, limit, "leave them out")


LIMITS = {
    "lam": (0.0, 1.0, "in [0, 1]", "choose λ between 0 (distributed) and 1 (localist)"),
    "tau": (MIN_TAU, MAX_TAU, f"from {MIN_TAU:g} to {MAX_TAU:g}", "τ = 1 is the usual temperature"),
}


def check_dial(name: str, value: Any, shapes: tuple[tuple[int, ...], ...]) -> Array:
    """λ (`lam`) or τ (`tau`) as an array of one of the shapes, float32 where it is known.

    Raises:
      ValueError: no number, another shape, or, where it is known, a value outside its limits or NaN.
    """
    least, most, limit, fix = LIMITS[name]
    array = number_array(name, value, "a number, or one per example", f"pass {name}=0.5, say")
    if array.shape not in shapes:
        each = f", or one per example, {shapes[1]}" if len(shapes) > 1 else ""
        raise ValueError(
            f"{name} has shape {array.shape}; it must be one number{each}. Fix: pass {name}=0.5, say"
        )
    if is_traced(array):
        return array
    with np.errstate(over="ignore"):  # ∞ is refused below
        array = np.asarray(array, np.float32)
    if not np.all((array >= np.float32(least)) & (array <= np.float32(most))):
        raise ValueError(f"{name} is {shown(value)}; it must be {limit}. Fix: {fix}.")
    return array
