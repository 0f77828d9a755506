"""Sphinx settings: sh launch/docs.sh builds the pages, without a network."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

project = "aila_jax"
author = "The aila_jax developers"
copyright = "The aila_jax developers"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.doctest"]

html_theme = "furo"
html_title = "aila_jax"
html_copy_source = False
html_show_sphinx = False
smartquotes = False  # `--flag` in running text keeps its hyphens

exclude_patterns = ["_build"]
# Not on these pages: other modules' classes in annotations, and the first words of a `Returns:`.
nitpick_ignore_regex = [("py:class", r"pathlib\..*|aila_jax\..*|G|Everything")]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
# The notebooks here hold their outputs; a build runs nothing (docs/contributing.md says how they are made).
nb_execution_mode = "off"
nb_merge_streams = True

default_role = "code"  # docstrings quote names in single backticks
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Source", "notes_style"), ("Command", "notes_style")]

doctest_test_doctest_blocks = ""  # examples are `doctest` directives; docstrings have none


def title_of_table(app, docname: str, source: list[str]) -> None:
    """The committed tables, docs/results/**/table.md, are pages too; those without a title get one."""
    if docname.endswith("/table") and not source[0].startswith("# "):
        folder = docname.removeprefix("results/").removesuffix("/table")
        source[0] = f"# Table: {folder}\n\n{source[0]}"


def setup(app) -> None:
    app.connect("source-read", title_of_table)
