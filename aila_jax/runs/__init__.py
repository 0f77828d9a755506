"""The composition root: training, evaluation, sweep, report and demo as readable lists of stages."""

from aila_jax.runs.certifying import certify
from aila_jax.runs.corpus import dataset_of
from aila_jax.runs.demonstration import demo
from aila_jax.runs.diagnosing import describe_diagnosis, diagnose
from aila_jax.runs.influencing import describe_influence, influence
from aila_jax.runs.measuring import anchors, describe_sweep, evaluate, sweep
from aila_jax.runs.partitions import blocks
from aila_jax.runs.recruiting import recruit
from aila_jax.runs.showing import attention, dial_maps, draw_figures, generate, report
from aila_jax.runs.starting import initial_state, locality_draws, step_draws
from aila_jax.runs.thresholding import threshold
from aila_jax.runs.training_run import Run, train
from aila_jax.runs.watching import eval_record, evaluated_lams
from aila_jax.runs.workdir import check_writable, run_directory, run_meta
from aila_jax.training.loop import NonFiniteError

__all__ = [
    "NonFiniteError",
    "Run",
    "anchors",
    "attention",
    "blocks",
    "certify",
    "check_writable",
    "dataset_of",
    "demo",
    "describe_diagnosis",
    "describe_influence",
    "describe_sweep",
    "diagnose",
    "dial_maps",
    "draw_figures",
    "eval_record",
    "evaluate",
    "evaluated_lams",
    "generate",
    "influence",
    "initial_state",
    "locality_draws",
    "recruit",
    "report",
    "run_directory",
    "run_meta",
    "step_draws",
    "sweep",
    "threshold",
    "train",
]
