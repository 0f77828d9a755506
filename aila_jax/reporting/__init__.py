"""Reporting: tidy records on disk, figures, terminal tables and the self-contained HTML report.

The names below are loaded on first use, so that reading records does not import matplotlib.
"""

import importlib
from typing import Any

_HOME = {
    "answer_html": "answer_page",
    "attention_figure": "plots_attention",
    "attention_html": "attention_slider",
    "attention_page": "attention_slider",
    "dial_figure": "plots",
    "dial_table": "table",
    "describe_answer": "answer_files",
    "heads_figure": "plots",
    "influence_figure": "plots_influence",
    "markdown_table": "table",
    "read_sweep": "records",
    "read_training_log": "training_log",
    "recruitment_figure": "plots_recruitment",
    "save_figure": "style",
    "tradeoff_figure": "plots",
    "training_figure": "plots_training",
    "write_sweep": "records",
}

__all__ = [
    "answer_html",
    "attention_figure",
    "attention_html",
    "attention_page",
    "dial_figure",
    "dial_table",
    "heads_figure",
    "influence_figure",
    "markdown_table",
    "read_sweep",
    "read_training_log",
    "recruitment_figure",
    "save_figure",
    "tradeoff_figure",
    "training_figure",
    "write_sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
