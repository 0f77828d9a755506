"""Python's own documentation, a width of 96: the model of the demo.

Command: python -m launch.train --config=launch/configs/tiny.py --workdir=runs/tiny
Cost: not measured yet.
Expected result: not measured yet.
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.tiny()
