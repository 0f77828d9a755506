"""`certified_windows5` with heads that turn one after another, no distillation, and attention
outside the block that pays nothing.

Command: python -m experiments.one_checkpoint --config=launch/configs/staggered.py --data_dir=$WIKITEXT2
  --out=docs/results/staggered
Cost: less than launch/configs/certified_windows5.py, whose distillation and pressure it has not.
Expected result: see docs/results/staggered. Better than that by block mass, no better by influence
  on predictions.
"""

from dataclasses import replace

from aila_jax import presets
from aila_jax.config import Config


def get_config() -> Config:
    base = presets.as_measured(presets.certified_windows5())
    model = replace(base.model, margin=replace(base.model.margin, stagger=0.75))
    return replace(base, model=model, locality=replace(base.locality, distill=0.0, pressure=0.0))
