"""Questions over passages about one person, told apart by what they state: the sixth exercise.

Command: python -m launch.train --config=launch/configs/attributes.py --start=runs/rivals
  --workdir=runs/attributes
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.attributes()
