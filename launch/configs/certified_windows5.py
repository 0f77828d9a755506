"""WikiText-2 in 4,096 BPE tokens, a width of 128, with a guarantee at λ = 1, in windows of 5 tokens.

Command: python -m launch.train --config=launch/configs/certified_windows5.py --data_dir=$WIKITEXT2
  --workdir=runs/windows5
Cost: 2.6 times that of launch/configs/small.py (docs/results/dial_speed): a step reads every sequence at two
  λ.
Expected result: see docs/results/one_checkpoint.
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.as_measured(presets.certified_windows5())
