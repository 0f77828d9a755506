"""WikiText-2 in 4,096 BPE tokens, a width of 128, in windows of 40 tokens, shifted in the second layer: at
λ = 1 nothing outside has any weight.

Command: python -m launch.train --config=launch/configs/certified.py --data_dir=$WIKITEXT2
  --workdir=runs/certified
Cost: 2.6 times that of launch/configs/small.py (docs/results/dial_speed): a step reads every sequence at two
  λ.
Expected result: see docs/results/frontier, the dial.
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.as_measured(presets.certified())
