"""The values of names, a small word between them at most: the third exercise.

Command: python -m launch.train --config=launch/configs/gaps.py --start=runs/pairs --workdir=runs/gaps
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.gaps()
