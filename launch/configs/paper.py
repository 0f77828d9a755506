"""The paper's size on WikiText-2, a width of 512: for an accelerator.

Command: python -m launch.train --config=launch/configs/paper.py --data_dir=$WIKITEXT2 --workdir=runs/paper
Cost: not measured yet.
Expected result: not measured yet.
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.paper()
