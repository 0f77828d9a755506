"""The values of names and small words again, at a higher rate: the fourth exercise.

Command: python -m launch.train --config=launch/configs/sharper_keys.py --start=runs/keys
  --workdir=runs/sharper_keys
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.sharper_keys()
