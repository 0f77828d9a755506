"""Words to be said again: the first exercise of a model on generated questions.

Command: python -m launch.train --config=launch/configs/repeats.py --workdir=runs/repeats
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.repeats()
