"""The paper's size with the dial of `certified`, which guarantees at λ = 1: for an accelerator.

Command: python -m launch.train --config=launch/configs/certified_paper.py --data_dir=$WIKITEXT2
  --workdir=runs/certified_paper Cost: not measured yet. Expected result: not measured yet; the guarantee, .9
  of attention wherever a block has a second key, holds at any size.
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.certified_dial(presets.paper())
