"""What compiled programs hold: every array of every one that is lowered, loops and branches among them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

SHAPE = re.compile(r"tensor<((?:\d+x)+)[a-z]")


@contextmanager
def lowered_into(folder: Path) -> Iterator[None]:
    """Every program that is lowered meanwhile is written into the folder."""
    jax.config.update("jax_dump_ir_to", str(folder))
    try:
        yield
    finally:
        jax.config.update("jax_dump_ir_to", "")


def squares(folder: Path, length: int) -> list[str]:
    """The shapes of arrays with two axes of at least `length`, or with one of its square, with the program
    that holds them.
    """
    found = []
    for path in sorted(folder.glob("*.mlir")):
        shapes = {tuple(map(int, one.split("x")[:-1])) for one in SHAPE.findall(path.read_text())}
        wide = (shape for shape in shapes if sum(axis >= length for axis in shape) > 1)
        flat = (shape for shape in shapes if any(axis >= length**2 for axis in shape))
        found += [f"{path.stem}: {shape}" for shape in sorted({*wide, *flat})]
    return found
