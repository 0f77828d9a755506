"""The values of names, to be looked up: what a model on generated questions starts from.

Command: python -m launch.train --config=launch/configs/recalls.py --start=runs/repeats --workdir=runs/recalls
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.recalls()
