"""Python's own documentation, a width of 96: the model of the demo.

Command: python -m launch.train --config=launch/configs/tiny.py --workdir=runs/tiny
Cost: 900 steps of 3,072 tokens; the whole demo, sweep and report included, took 2.5 minutes on two CPU cores.
Expected result: perplexity per token 52 to 60 over the dial on the documentation of Python 3.11 (smoothed bigram: 71.5), see docs/results/demo.
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.tiny()
