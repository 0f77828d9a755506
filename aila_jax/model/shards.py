"""How arrays lie on a mesh of devices: one table of names, for parameters, optimizer state and activations.

The batch is cut over `data` and `fsdp`, which the program maps over: inside it each device has its own rows,
and its own part of what is cut over `fsdp`, which `gathered` makes whole where it is used. What is cut
over `tensor` is left to the compiler, which `placed` tells where. Without such a mesh both leave arrays as
they are.

Source: fully sharded data parallelism, as ZeRO (Rajbhandari et al. 2020); tensor parallelism, as Megatron
(Shoeybi et al. 2019).
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
from jax.sharding import AxisType, PartitionSpec

from aila_jax.types import Array

DATA, FSDP, TENSOR = "data", "fsdp", "tensor"
BATCH = (DATA, FSDP)

# Which axis of the mesh cuts which axis of arrays. The sizes of the first three must be divisible, and a
# configuration whose sizes are not is refused; what the last two name stays whole where it is not divisible.
CUTS: dict[str, str | tuple[str, ...]] = {
    "batch": BATCH,
    "width": FSDP,
    "heads": TENSOR,
    "inner": TENSOR,
    "key heads": TENSOR,
    "vocabulary": TENSOR,
}
MAY_STAY_WHOLE = ("key heads", "vocabulary")

# The axes of an array, by how its path ends; None is never cut. First parameters, whose rows the optimizer's
# state falls under too, since its paths end in theirs; then activations. What is in no row is whole: counts,
# keys, switches. What has no width is whole over `fsdp`: some biases and adapters, a small part of any model.
RULES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"embedding|output", ("vocabulary", "width")),
    (r"position", (None, "width")),
    (r"attention/query(_dial)?/kernel", ("width", "heads", None)),
    (r"attention/(key|value)(_dial)?/kernel", ("width", "key heads", None)),
    (r"attention/query/bias", ("heads", None)),
    (r"attention/(key|value)/bias", ("key heads", None)),
    (r"attention/qk_scale", ("heads",)),
    (r"attention/out/kernel", ("heads", None, "width")),
    (r"mlp_(in|gate)/kernel", ("width", "inner")),
    (r"mlp_(in|gate)/bias", ("inner",)),
    (r"mlp_out/kernel", ("inner", "width")),
    (r"(attention/out|mlp_out)/bias", ("width",)),
    (r"(LayerNorm_0|RMSNorm_0)/(scale|bias)|film_(scale|shift)", ("width",)),
    # adapters: x A, then B
    (r"attention/(query|key|value)_down/kernel", ("width", None)),
    (r"attention/query_up/kernel", (None, "heads", None)),
    (r"attention/(key|value)_up/kernel", (None, "key heads", None)),
    (r"attention/out_down/kernel", ("heads", None, None)),
    (r"attention/out_up/kernel", (None, "width")),
    # activations
    (r"residual", ("batch", None, None)),
    (r"attention\.(queries|heads)", ("batch", None, "heads", None)),
    (r"attention\.(keys|values)", ("batch", None, "key heads", None)),
    (r"feed_forward\.inner", ("batch", "inner")),
    (r"logits", ("batch", None, "vocabulary")),
)
_PATTERNS = tuple((re.compile(rf"(^|/)({pattern})$"), axes) for pattern, axes in RULES)


def axes_of(path: str) -> tuple[str | None, ...]:
    """The names of an array's axes; none for one that is whole."""
    return next((axes for pattern, axes in _PATTERNS if pattern.search(path)), ())


def spec_of(path: str, shape: tuple[int, ...], sizes: Mapping[str, int]) -> PartitionSpec:
    """Which axes of the mesh cut each axis of an array.

    Args:
      path: its name, or how that ends.
      shape: of the whole array.
      sizes: of the mesh's axes.

    Raises:
      ValueError: a size that must be divisible is not.
    """
    cuts: list[Any] = []
    for name, size in zip(axes_of(path), shape, strict=False):
        cut: Any = None if name is None else CUTS[name]
        parts = sizes.get(cut, 1)
        if size % parts:
            if name not in MAY_STAY_WHOLE:
                raise ValueError(
                    f"the {name} of {path} is {size}; it must be divisible by mesh.{cut} ({parts})."
                    f" Fix: set --config.mesh.{cut}=1"
                )
            cut = None
        cuts.append(cut)
    while cuts and cuts[-1] is None:
        cuts.pop()
    return PartitionSpec(*cuts)


def specs_of(tree: Any, sizes: Mapping[str, int]) -> Any:
    """`spec_of` every array of a tree."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: spec_of(_name(path), tuple(leaf.shape), sizes), tree
    )


def mapped_part(spec: PartitionSpec) -> PartitionSpec:
    """What of it the program maps over: `tensor` is the compiler's."""
    return PartitionSpec(*(None if cut == TENSOR else cut for cut in spec))


def placed(name: str, array: Array) -> Array:
    """An activation, where the table says that it lies."""
    if jax.sharding.get_abstract_mesh().shape.get(TENSOR, 1) == 1:
        return array
    return jax.lax.with_sharding_constraint(array, PartitionSpec(*_tensor_cuts(name, array.shape)))


def _tensor_cuts(name: str, shape: tuple[int, ...]) -> list[str | None]:
    """Which axes of an array are cut over `tensor`, where the mesh that this is traced on has it."""
    parts = jax.sharding.get_abstract_mesh().shape.get(TENSOR, 1)
    axes = zip(axes_of(name), shape, strict=True)
    return [
        TENSOR if parts > 1 and axis and CUTS[axis] == TENSOR and size % parts == 0 else None
        for axis, size in axes
    ]


def in_parts() -> bool:
    """Whether this is traced where each device has its own part of the parameters."""
    mesh = jax.sharding.get_abstract_mesh()
    types = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    return types.get(FSDP) == AxisType.Manual and mesh.shape[FSDP] > 1


def gathered(tree: Any, path: str = "") -> Any:
    """Parameters, whole, of a device's own part; the gradient of that is the device's own part of their sum.

    Args:
      tree: the parts.
      path: where it stands among the parameters, as far as the table asks.
    """
    if not in_parts():
        return tree

    def whole(keys: tuple[Any, ...], part: Array) -> Array:
        name = _name(keys, path)
        axis = _cut_axis(name)
        if axis is None:
            return part
        gather = partial(jax.lax.all_gather, axis_name=FSDP, axis=axis, tiled=True)
        cuts = _tensor_cuts(name, part.shape)
        if any(cuts):  # else the compiler would gather over `tensor` too
            spec = PartitionSpec(*cuts)
            gather = jax.shard_map(
                gather, in_specs=spec, out_specs=spec, axis_names={TENSOR}, check_vma=False
            )
        return gather(part)

    return jax.tree_util.tree_map_with_path(whole, tree)


def summed_gradients(gradients: Any, axes: str | tuple[str, ...] | None) -> Any:
    """Gradients summed over the devices of the mapped axes. Over `fsdp` `gathered` has summed those of what
    it made whole.
    """
    if axes is None:
        return gradients

    def over(keys: tuple[Any, ...], one: Array) -> Array:
        cut = in_parts() and _cut_axis(_name(keys)) is not None
        return over_devices(one, DATA if cut else axes)

    return jax.tree_util.tree_map_with_path(over, gradients)


def over_devices(tree: Any, axes: str | tuple[str, ...] | None) -> Any:
    """Sums over the devices of the mapped axes, where there are some; a sum over one device would copy."""
    names = (axes,) if isinstance(axes, str) else axes or ()
    several = tuple(name for name in names if jax.lax.axis_size(name) > 1)
    return jax.lax.psum(tree, several) if several else tree


def _cut_axis(path: str) -> int | None:
    """Which axis of a parameter is cut over `fsdp`."""
    axes = axes_of(path)
    return axes.index("width") if "width" in axes else None


def _name(keys: tuple[Any, ...], path: str = "") -> str:
    inner = jax.tree_util.keystr(keys, simple=True, separator="/")
    return f"{path}/{inner}" if path and inner else path or inner
