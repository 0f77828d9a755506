"""The values of names, right after them: the second exercise.

Command: python -m launch.train --config=launch/configs/pairs.py --start=runs/repeats --workdir=runs/pairs
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.pairs()
