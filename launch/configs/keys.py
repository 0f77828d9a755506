"""The values of names and small words, of which others share one or the other: the third exercise.

Command: python -m launch.train --config=launch/configs/keys.py --start=runs/pairs --workdir=runs/keys
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.keys()
