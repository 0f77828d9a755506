"""Python's own documentation, a width of 96: the model of the demo.

Command: python -m launch.train --config=launch/configs/tiny.py --workdir=runs/tiny Cost: 900 steps of 3,072
  tokens; the whole demo, installation, sweep and report included, took 3 minutes of processor time, 2 minutes
  on two idle cores. Expected result: perplexity per token 45 (λ = 0) to 66 (λ = 1) on the documentation of
  Python 3.11 (smoothed bigram: 71.5), see docs/results/demo.
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.as_measured(presets.tiny())
