"""Associative recall, synthetic: what attention must read is known.

Command: python -m launch.train --config=launch/configs/recall.py --workdir=runs/recall Then
  `aila sweep --checkpoint=runs/recall` shows pointer fidelity and the accuracy on determined targets over the
  dial.
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.recall()
