"""Generated questions over passages, read together and isolated from one checkpoint.

Command: python -m launch.train --config=launch/configs/questions.py --start=runs/recalls
  --workdir=runs/questions
It starts from the run of recalls.py, and that from the run of repeats.py; `python -m experiments.questions`
trains all three and asks held-out questions (docs/howto/questions.md).
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.questions()
