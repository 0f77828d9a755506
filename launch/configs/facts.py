"""Questions over few passages, none of which states the same of others: the second exercise.

Command: python -m launch.train --config=launch/configs/facts.py --start=runs/repeats --workdir=runs/facts
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.facts()
