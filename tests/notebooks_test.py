"""The notebooks: well formed, without stored results, installable from nothing, and true from top to
bottom.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STEPS = 12


def code_cells(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["01_quickstart", "02_dial", "03_passages"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_valid_holds_no_results_and_compiles(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            compile(cell.source, f"{path.name}, {cell.id}", "exec")
        assert not re.search(r"^(from|import) (experiments|launch|tests)", cell.source, re.MULTILINE)
    assert "Attention is not influence" in notebook.cells[-1].source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("place", "absent", "source", "ends"),
    [
        ("checkout", (), "", "aila_jax from CHECKOUT"),
        ("checkout", ("flax",), "", "installing CHECKOUT …|aila_jax from CHECKOUT"),
        ("elsewhere", (), "", "aila_jax from the installed package"),
        ("elsewhere", ("aila_jax",), "a.whl", "installing a.whl …|aila_jax from a.whl"),
        ("elsewhere", ("aila_jax",), "", RuntimeError),
    ],
)
def test_the_first_cell_installs_what_is_missing(
    path, place, absent, source, ends, tmp_path, monkeypatch, capsys
) -> None:
    checkout, elsewhere = tmp_path / "checkout", tmp_path / "elsewhere"
    (checkout / "aila_jax").mkdir(parents=True)
    (checkout / "aila_jax" / "__init__.py").touch()
    for folder in (checkout / "notebooks", elsewhere):
        folder.mkdir()
    monkeypatch.chdir(checkout / "notebooks" if place == "checkout" else elsewhere)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in absent else "found")
    ran = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: ran.append(command))
    cell = code_cells(path)[0].replace('SOURCE = ""', f"SOURCE = {source!r}")
    if ends is RuntimeError:
        with pytest.raises(RuntimeError, match="Set SOURCE above to a repository address or a wheel"):
            exec(cell, {})
        assert ran == []
        return
    exec(cell, {})
    said = capsys.readouterr().out.replace(str(checkout), "CHECKOUT").strip().split("\n")
    assert said == ends.split("|")
    installs = [
        line.removeprefix("installing ").removesuffix(" …").replace("CHECKOUT", str(checkout))
        for line in said[:-1]
    ]
    assert [command[1:4] + command[-1:] for command in ran] == [
        ["-m", "pip", "install", what] for what in installs
    ]
    assert (sys.path[0] == str(checkout)) == (place == "checkout")


def longer_model(folder: Path) -> Path:
    """A tiny pretrained model that reads a few thousand tokens."""
    shutil.copytree(ROOT / "tests" / "pretrained" / "files" / "qwen2", folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": 2048}))
    return folder


@pytest.mark.medium  # trains one model, and four; asks a tiny one
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbclient

    for name, value in {
        "AILA_NOTEBOOK_STEPS": STEPS,
        "AILA_NOTEBOOK_WORKDIR": tmp_path,
        "AILA_NOTEBOOK_MODEL": longer_model(tmp_path / "model"),
        "IPYTHONDIR": tmp_path / "ipython",
    }.items():
        monkeypatch.setenv(name, str(value))
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [kind for output in outputs for kind in output.get("data", {})]
    text = "".join(output.get("text", "") for output in outputs)
    tables = "".join(
        output.data["text/markdown"] for output in outputs if "text/markdown" in output.get("data", {})
    )
    assert f"aila_jax from {ROOT}" in text
    if path.stem == "01_quickstart":
        assert shown.count("image/png") == 1
        assert (
            len(
                re.findall(
                    r"^λ = (?:0.0|0.5|1.0): attention entropy \d\.\d\d bits, block mass \d+%",
                    text,
                    re.MULTILINE,
                )
            )
            == 3
        )
        assert len(re.findall(r"^\| *[01][.0-9]* \|", tables, re.MULTILINE)) == 6
        assert (tmp_path / f"quickstart-{STEPS}" / "checkpoints").is_dir()
    elif path.stem == "03_passages":
        assert shown.count("text/html") == 1
        assert text.count("attribution (nats)") == 3 and text.count("certified: unchanged") == 1
        for mode in ("together", "isolated"):
            assert re.search(
                rf"^{mode}: .* changes in \d of 5 attacks; nothing certified$", text, re.MULTILINE
            )
        assert re.search(
            r"^branches: .* changes in \d of 5 attacks; certified against \d$", text, re.MULTILINE
        )
    else:
        assert shown.count("image/png") == 2
        assert shown.count("text/html") == 2
        assert len(re.findall(rf": {STEPS} steps$", text, re.MULTILINE)) == 4
        assert len(re.findall(r"at λ = [0-9.]+: [0-9.]+ against [0-9.]+, regret [+-][0-9.]+%", text)) == 3
        assert tables.count("\n| ") == 5
