"""A name on the hub, with a module that stands for `huggingface_hub`: no hub is asked here."""

import sys
import types
from pathlib import Path

import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.checkpoint import Ancestor, Checkpoint, find_checkpoint
from aila_jax.cli.paths import is_model
from aila_jax.config.options import PromptOptions
from aila_jax.pretrained.places import is_hub_name
from aila_jax.runs._start import begin_from, check_same_start, start_config
from tests.support.checkpoints import GOLDEN

FILES = Path(__file__).parent / "files"
Asked = list[tuple[str, list[str]]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asked:
    """What is asked of the hub, which knows one model; called from an empty folder."""
    found: Asked = []

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        found.append((name, allow_patterns))
        if name != "someone/tiny":
            raise OSError("404")
        return str(FILES / "qwen2")

    fake = types.ModuleType("huggingface_hub")
    fake.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    monkeypatch.chdir(tmp_path)
    return found


def test_a_model_by_its_name(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    found = aila.from_pretrained("someone/tiny")
    assert found.meta["pretrained"]["model_type"] == "qwen2" and found.run == "tiny"
    assert found.meta["pretrained"]["hub_name"] == "someone/tiny"
    assert asked[0][0] == "someone/tiny" and {"*.safetensors", "chat_template.jinja"} <= set(asked[0][1])
    with pytest.raises(ValueError, match=r"path is 'someone/else'.*OSError: 404"):
        aila.from_pretrained("someone/else")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"pip install aila_jax\[hub\]"):
        aila.from_pretrained("someone/tiny")


def test_a_start_by_its_name(asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = start_config("someone/tiny", None)
    assert config.model == aila.from_pretrained(FILES / "qwen2").config.model
    start = begin_from("someone/tiny", config)
    assert start.lineage[0].path == "someone/tiny" and start.lineage[0].run == "tiny"
    with pytest.raises(ValueError, match=r"path is 'someone/else'.*OSError: 404"):
        begin_from("someone/else", config)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"pip install aila_jax\[hub\]"):
        begin_from("someone/tiny", config)


def test_a_run_that_goes_on_knows_its_start_by_the_name(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that began from a path that is gone, and is no name on the hub."""
    found = find_checkpoint(GOLDEN)
    for path, same, other in (
        ("someone/tiny", "someone/tiny", "someone/else"),
        (str(Path("gone/run").resolve()), "gone/run", "gone/another"),
    ):
        monkeypatch.setattr(Checkpoint, "lineage", (Ancestor("tiny", 0, "0" * 64, path),))
        check_same_start(same, found, GOLDEN)
        with pytest.raises(ValueError, match=f"start is '{other}'; it must be the one"):
            check_same_start(other, found, GOLDEN)
    assert asked == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("someone/tiny", True),
        ("HuggingFaceTB/SmolLM2-135M", True),
        ("runs/tiny", False),  # there is a folder runs
        ("./tiny", False),
        ("../tiny", False),
        ("/someone/tiny", False),
        ("~/tiny", False),
        ("tiny", False),
        ("a/b/c", False),
        ("models/tiny.gguf", False),
    ],
)
def test_what_is_a_name_rather_than_a_path(text: str, name: bool, asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert is_hub_name(text) == name
    if name:
        is_model("--start", text)
        (tmp_path / text).mkdir(parents=True)
        assert not is_hub_name(text)
    with pytest.raises(
        ValueError, match=r"--start is .*; it must be a run directory that holds a checkpoint"
    ):
        is_model("--start", text)
    assert asked == []


def test_without_the_library_a_name_is_refused_at_once(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"--start is 'someone/tiny'.*Fix: .*pip install aila_jax\[hub\]"):
        is_model("--start", "someone/tiny")


def test_commands_that_need_no_corpus_open_a_pretrained_model(asked: Asked, tmp_path: Path) -> None:
    run = runs.open_run("someone/tiny")
    assert run.model.run == "tiny" and run.folder("", "attention") == Path("runs/tiny/attention")
    [[made]] = runs.generate(run, PromptOptions(prompt="The cat", max_tokens=2))
    assert made.new_tokens == 2
    with pytest.raises(ValueError, match="dataset is None; it must be given for a pretrained model"):
        _ = run.corpus
    with pytest.raises(ValueError, match="step is '3'; it must be left out with a pretrained model"):
        runs.open_run("someone/tiny", step="3")
