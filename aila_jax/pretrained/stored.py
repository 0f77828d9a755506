"""Tensors of a pretrained model's files, and the parameters that each of them holds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Shaped


@dataclass(frozen=True)
class Stored:
    """One tensor of a file. Cut into `split` and with its axes put in the order `axes`, it is its parameters:
    one, or several along the first axis.

    Attributes:
      name: in the file.
      shape: there; where `rows` is set, the first rows of it that are read.
      targets: names of the parameters, as layer_0/attention/query/kernel.
      target: shape of each of them.
      split: axes that the file's are cut into.
      axes: the order of those in the parameters.
      rows: the file may have more rows than these: types that the tokenizer has not, later positions.
    """

    name: str
    shape: tuple[int, ...]
    targets: tuple[str, ...]
    target: tuple[int, ...]
    split: tuple[int, ...]
    axes: tuple[int, ...]
    rows: bool = False

    def read(self, array: Float[np.ndarray, "..."]) -> tuple[Float[np.ndarray, "..."], ...]:
        """The parameters, from the tensor as it is in the file."""
        moved = array.reshape(self.split).transpose(self.axes)
        parts = [moved] if len(self.targets) == 1 else list(moved)
        return tuple(np.ascontiguousarray(part).reshape(self.target) for part in parts)

    def write(self, parts: Sequence[Shaped[np.ndarray, "..."]]) -> Shaped[np.ndarray, "..."]:
        """The tensor as the file has it, from its parameters: the inverse of `read`."""
        whole = parts[0] if len(parts) == 1 else np.stack(list(parts))
        moved = whole.reshape([self.split[axis] for axis in self.axes])
        return np.ascontiguousarray(moved.transpose(np.argsort(self.axes))).reshape(self.shape)

    def resized(self, side: str, size: int) -> "Stored":
        """The same matrix with another number of inputs or outputs: how a low-rank factor lies there.

        Args:
          side: `inputs` (of one of several matrices: the axis after that of their number) or `outputs`, the
            last axis of the parameters.
          size: how many.
        """
        at = self.axes[-1] if side == "outputs" else self.axes[len(self.targets) > 1]
        split = tuple(size if axis == at else old for axis, old in enumerate(self.split))
        first = at == 0 and self.shape[0] == self.split[0]
        shape = (size, self.shape[1]) if first else (self.shape[0], size)
        target = (*self.target[:-1], size) if side == "outputs" else (size, *self.target[1:])
        return replace(self, shape=shape, split=split, target=target)


def same(name: str, target: str, shape: tuple[int, ...], rows: bool = False) -> Stored:
    """A tensor that is its parameter."""
    return Stored(name, shape, (target,), shape, shape, tuple(range(len(shape))), rows)
