"""Generated questions over passages, read together and isolated from one checkpoint.

Command: python -m launch.train --config=launch/configs/questions.py --workdir=runs/questions Then
  `python -m experiments.questions` asks held-out questions (docs/howto/questions.md).
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.questions()
