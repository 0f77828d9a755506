"""Runs the notebooks and writes them, with their outputs, as pages of the documentation.

    python docs/render_notebooks.py                all, about fifteen minutes on two cores
    python docs/render_notebooks.py 03_passages    some

Those in notebooks/ stay without outputs; tests/docs_test.py compares the cells.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "notebooks"


def render(path: Path, workdir: str) -> nbformat.NotebookNode:
    """The notebook with its outputs: without progress, and without paths of this machine."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    nbclient.NotebookClient(notebook, timeout=3600, kernel_name="python3", resources=place).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of this run
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                if "text" in output:
                    output.text = output.text.replace(str(ROOT), "the checkout").replace(workdir, "runs")
    return notebook


def main(names: list[str]) -> None:
    chosen = sorted((ROOT / "notebooks").glob("*.ipynb"))
    unknown = set(names) - {path.stem for path in chosen}
    if unknown:
        sys.exit(
            f"no notebook {', '.join(sorted(unknown))}; there are {', '.join(path.stem for path in chosen)}"
        )
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AILA_NOTEBOOK_WORKDIR"] = folder
        for path in (one for one in chosen if one.stem in names or not names):
            nbformat.write(render(path, folder), PAGES / path.name)
            print(PAGES / path.name)


if __name__ == "__main__":
    main(sys.argv[1:])
