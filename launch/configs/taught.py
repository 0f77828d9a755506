"""`certified` with two λ a sequence in each step, of which the first teaches the second.

Command: python -m launch.one_checkpoint --config=launch/configs/taught.py --data_dir=$WIKITEXT2 --out=docs/results/taught
Cost: a step of the one checkpoint twice that of launch/configs/certified.py; of models trained at one λ the same.
"""

from dataclasses import replace

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    base = presets.certified()
    # The first view of a sequence is nearly always at λ = 0, so the second may have the whole dial from the beginning.
    draws = replace(
        base.locality, views=2, teach=0.5, power=2.5, at_zero=0.5, at_one=0.02, end_power=1.0, end_at_zero=0.45, end_at_one=0.08
    )
    return replace(base, locality=draws)
