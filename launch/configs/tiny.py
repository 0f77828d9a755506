"""Python's own documentation in clauses, a width of 96: the model of the demo.

Command: python -m launch.train --config=launch/configs/tiny.py --workdir=runs/tiny
Cost: 900 steps of 3,072 tokens, 2 minutes on two idle cores; the whole demo, sweep and page included, 3.
Expected result: perplexity per token 46.5 (λ = 0) to 55.9 (λ = 1) on the documentation of Python 3.11
  (smoothed bigram: 72.6), see docs/results/demo.
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.tiny()
