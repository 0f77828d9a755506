"""WikiText-2 in 4,096 BPE tokens, a width of 128.

Command: python -m launch.train --config=launch/configs/small.py --data_dir=$WIKITEXT2 --workdir=runs/small
  Cost: 1,200 steps of 4,096 tokens; 5 to 18 minutes on one CPU core, as busy as the machine was. Expected
  result: perplexity per token 53.8 (λ = 0.4) to 57.9 (λ = 0) on validation, see docs/results/first_dial.
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.as_measured(presets.small())
