"""WikiText-2 in 4,096 BPE tokens, a width of 128.

Command: python -m launch.train --config=launch/configs/small.py --data_dir=$WIKITEXT2 --workdir=runs/small
Cost: not measured yet.
Expected result: not measured yet.
"""

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    return presets.small()
