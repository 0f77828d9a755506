"""The values of names, right after them: the third exercise.

Command: python -m launch.train --config=launch/configs/gaps.py --start=runs/facts --workdir=runs/gaps
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.gaps()
