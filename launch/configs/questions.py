"""Generated questions over passages, read together and isolated from one checkpoint.

Command: python -m launch.train --config=launch/configs/questions.py --start=runs/rivals
  --workdir=runs/questions
Before it come five exercises, each of which starts from the one before: repeats.py, pairs.py, keys.py,
sharper_keys.py, rivals.py. `python -m experiments.questions` trains all and asks held-out questions
(docs/howto/questions.md).
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.questions()
