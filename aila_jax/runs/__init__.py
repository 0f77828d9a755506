"""The composition root: training, evaluation, sweep, report and demo as readable lists of stages."""

from aila_jax.checkpoint import SaveError
from aila_jax.reporting.answer_files import describe_answer
from aila_jax.runs._anchors import anchors
from aila_jax.runs._answer import answer
from aila_jax.runs._attention import attention, draw_figures
from aila_jax.runs._blocks import blocks
from aila_jax.runs._certify import certify
from aila_jax.runs._demo import demo
from aila_jax.runs._diagnose import describe_diagnosis, diagnose
from aila_jax.runs._export import export
from aila_jax.runs._flow import flow
from aila_jax.runs._generate import continuation_lines, describe_tokens, generate, stream
from aila_jax.runs._influence import describe_influence, influence
from aila_jax.runs._localise import localise, localised_config
from aila_jax.runs._recruit import recruit, recruit_classes
from aila_jax.runs._report import report
from aila_jax.runs._score import describe_scores, score
from aila_jax.runs._start import start_config
from aila_jax.runs._sweep import describe_sweep, evaluate, evaluate_cell, sweep
from aila_jax.runs._threshold import threshold
from aila_jax.runs._train import Run, train
from aila_jax.runs.opened import OpenedRun, dataset_of, open_run, open_source
from aila_jax.runs.setup import eval_record, evaluated_lams, initial_state, locality_draws, step_draws
from aila_jax.runs.workdir import check_writable, run_directory, run_meta
from aila_jax.training.loop import NonFiniteError

__all__ = [
    "NonFiniteError",
    "OpenedRun",
    "Run",
    "SaveError",
    "anchors",
    "answer",
    "attention",
    "blocks",
    "certify",
    "check_writable",
    "continuation_lines",
    "dataset_of",
    "demo",
    "describe_answer",
    "describe_diagnosis",
    "describe_influence",
    "describe_scores",
    "describe_sweep",
    "describe_tokens",
    "diagnose",
    "draw_figures",
    "eval_record",
    "evaluate",
    "evaluate_cell",
    "evaluated_lams",
    "export",
    "flow",
    "generate",
    "influence",
    "initial_state",
    "localise",
    "localised_config",
    "locality_draws",
    "open_run",
    "open_source",
    "recruit",
    "recruit_classes",
    "report",
    "run_directory",
    "run_meta",
    "score",
    "start_config",
    "step_draws",
    "stream",
    "sweep",
    "threshold",
    "train",
]
