"""The values of names, with small words between: the fourth exercise.

Command: python -m launch.train --config=launch/configs/recalls.py --start=runs/gaps --workdir=runs/recalls
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.recalls()
