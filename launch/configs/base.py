"""The Llama form, 125M parameters, 512 tokens, in windows of 40 tokens, shifted in every second
layer: at λ = 1 nothing outside has any weight. For an accelerator and a text of your own.

Command: python -m launch.train --config=launch/configs/base.py --config.data.corpus=text
  --config.data.files='my/*.txt' --workdir=runs/base
Cost: aila plan --config=base says what it takes on which device (docs/howto/plan.md).
Expected result: not measured.
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.base()
