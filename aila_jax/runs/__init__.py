"""The composition root: training, evaluation, sweep, report and demo as readable lists of stages.

A name is loaded on first use: who trains does not wait for SciPy, who scores not for Matplotlib.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aila_jax.checkpoint import SaveError
    from aila_jax.reporting.answer_files import describe_answer
    from aila_jax.reporting.population_files import describe_population
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
    from aila_jax.runs._population import population, train_population
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

_HOME = {
    "NonFiniteError": "aila_jax.training.loop",
    "OpenedRun": "aila_jax.runs.opened",
    "Run": "aila_jax.runs._train",
    "SaveError": "aila_jax.checkpoint",
    "anchors": "aila_jax.runs._anchors",
    "answer": "aila_jax.runs._answer",
    "attention": "aila_jax.runs._attention",
    "blocks": "aila_jax.runs._blocks",
    "certify": "aila_jax.runs._certify",
    "check_writable": "aila_jax.runs.workdir",
    "continuation_lines": "aila_jax.runs._generate",
    "dataset_of": "aila_jax.runs.opened",
    "demo": "aila_jax.runs._demo",
    "describe_answer": "aila_jax.reporting.answer_files",
    "describe_diagnosis": "aila_jax.runs._diagnose",
    "describe_influence": "aila_jax.runs._influence",
    "describe_population": "aila_jax.reporting.population_files",
    "describe_scores": "aila_jax.runs._score",
    "describe_sweep": "aila_jax.runs._sweep",
    "describe_tokens": "aila_jax.runs._generate",
    "diagnose": "aila_jax.runs._diagnose",
    "draw_figures": "aila_jax.runs._attention",
    "eval_record": "aila_jax.runs.setup",
    "evaluate": "aila_jax.runs._sweep",
    "evaluate_cell": "aila_jax.runs._sweep",
    "evaluated_lams": "aila_jax.runs.setup",
    "export": "aila_jax.runs._export",
    "flow": "aila_jax.runs._flow",
    "generate": "aila_jax.runs._generate",
    "influence": "aila_jax.runs._influence",
    "initial_state": "aila_jax.runs.setup",
    "localise": "aila_jax.runs._localise",
    "localised_config": "aila_jax.runs._localise",
    "locality_draws": "aila_jax.runs.setup",
    "open_run": "aila_jax.runs.opened",
    "open_source": "aila_jax.runs.opened",
    "population": "aila_jax.runs._population",
    "recruit": "aila_jax.runs._recruit",
    "recruit_classes": "aila_jax.runs._recruit",
    "report": "aila_jax.runs._report",
    "run_directory": "aila_jax.runs.workdir",
    "run_meta": "aila_jax.runs.workdir",
    "score": "aila_jax.runs._score",
    "start_config": "aila_jax.runs._start",
    "step_draws": "aila_jax.runs.setup",
    "stream": "aila_jax.runs._generate",
    "sweep": "aila_jax.runs._sweep",
    "threshold": "aila_jax.runs._threshold",
    "train": "aila_jax.runs._train",
    "train_population": "aila_jax.runs._population",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_HOME[name]), name)
    return found


def __dir__() -> list[str]:
    return [*__all__]
