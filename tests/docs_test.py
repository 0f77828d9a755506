"""The README's limits, links that lead somewhere, and pages that say what the files say."""

import re
import shlex
from dataclasses import fields
from functools import cache
from pathlib import Path

import nbformat
import pytest

from aila_jax.cli.main import find_command, parse, read_call
from aila_jax.config.options import LocaliseOptions
from aila_jax.presets import PRESETS
from benchmarks import goals
from experiments.one_checkpoint import curves, report

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = sorted([
    *ROOT.glob("*.md"),
    *(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
])  # fmt: skip
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?: {4})?((?:aila|python -m launch) [a-z].*)$", re.MULTILINE)


@cache
def prose(path: Path) -> str:
    """A page without its fenced code."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """The names of a page's headings, as they are linked to."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert len(text.split()) <= 1200


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    lost = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.is_file() or (heading and heading not in anchors(target)):
            lost.append(link)
    assert not lost


def commands(text: str) -> list[list[str]]:
    """The arguments of every command line of `aila` in a page's examples."""
    joined = re.sub(r"\\\n\s*", "", text)
    split = (shlex.split(line, comments=True) for line in COMMAND.findall(joined) if "…" not in line)
    return [words[1:] if words[0] == "aila" else words[3:] for words in split]


def test_every_command_of_the_pages_is_understood() -> None:
    """A model to start from is not there to be read; a preset stands for it, without the options that would
    make a configuration of it.
    """
    made = {f"--{one.name}" for one in fields(LocaliseOptions)} - {"--start"}
    found = [(page, words) for page in PAGES for words in commands(page.read_text(encoding="utf-8"))]
    assert len(found) > 80
    for page, (name, *arguments) in found:
        left = [one for one in arguments if name != "localise" or one.split("=")[0] not in made]
        given = [re.sub("^--start=.*", "--config=small", argument) for argument in left]
        try:
            command = find_command("train" if given != left else name)
            if any(argument.startswith("--") for argument in given):
                read_call(command, parse(command, given))
        except Exception as error:  # whatever a reader would be told
            pytest.fail(f"{page.relative_to(ROOT)}: aila {shlex.join([name, *arguments])}\n{error}")


def test_the_readmes_table_is_that_of_the_result_files() -> None:
    """Perplexity and block mass of the one checkpoint, beside models read at the λ that they were trained
    at.
    """
    found = curves.read_results(ROOT / "docs" / "results" / "one_checkpoint")
    perplexity, mass, guaranteed = (
        {
            cells[0]: cells[2:]
            for line in report.transfer_table(found, "18M", title, empty=False).splitlines()
            if line.startswith("| ") and (cells := line.strip("| ").split(" | "))
        }
        for title in ("Perplexity per token", "Block mass", report.GUARANTEED)
    )
    own = [perplexity[f"trained at λ = {lam:g}"][place] for place, lam in enumerate(curves.LAMS)]
    rows = {
        "perplexity: trained at λ = 0 alone": perplexity["trained at λ = 0"],
        "perplexity: trained at the λ of the column": own,
        "perplexity: **one checkpoint**": perplexity["one checkpoint"],
        "its attention inside the block, measured": mass["one checkpoint"],
        "its attention inside the block, guaranteed": guaranteed["one checkpoint"],
    }
    text = README.read_text(encoding="utf-8")
    assert "\n".join(f"| {label} | {' | '.join(cells)} |" for label, cells in rows.items()) in text


def test_the_goals_of_speed_are_what_the_result_files_say() -> None:
    """`python -m benchmarks.goals` makes the table."""
    assert goals.table(ROOT / "docs" / "results") in (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["01_quickstart", "02_dial", "03_passages"])
def test_the_rendered_notebooks_have_the_cells_of_the_notebooks(name: str) -> None:
    """`python docs/render_notebooks.py` makes them again."""
    shown, source = (
        nbformat.read(folder / f"{name}.ipynb", as_version=4).cells
        for folder in (ROOT / "docs" / "notebooks", ROOT / "notebooks")
    )
    assert [(cell.cell_type, cell.source) for cell in shown] == [
        (cell.cell_type, cell.source) for cell in source
    ]
    outputs = [output for cell in shown for output in cell.get("outputs", [])]
    assert outputs and all(output.output_type != "error" for output in outputs)
    assert str(ROOT) not in str(shown)


def test_every_public_name_is_in_the_reference() -> None:
    import aila_jax as aila

    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\.\. auto(?:function|class|module):: (?:aila_jax\.)?(\w+)", text, re.MULTILINE))
    assert set(aila.__all__) <= named
    assert text.count("```{doctest}") >= 5


def test_the_api_page_lists_the_presets():
    listed = re.findall(
        r"automodule:: aila_jax\.presets\n\s+:members: (.*)", (ROOT / "docs" / "api.md").read_text()
    )
    assert [line.split(", ") for line in listed] == [list(PRESETS)]
