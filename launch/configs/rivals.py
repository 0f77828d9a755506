"""Questions over passages that state the same of others, or something else of the same: the fifth exercise.

Command: python -m launch.train --config=launch/configs/rivals.py --start=runs/sharper_keys
  --workdir=runs/rivals
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.rivals()
