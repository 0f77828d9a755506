"""Files from strangers, 20 of each kind, made from good ones: each is read or refused, nothing in it is run,
nothing is written beside it, and memory and time stay small.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.answering.cache import Disk, KeysValues
from aila_jax.checkpoint import find_checkpoint, verify_run
from aila_jax.config import DataConfig
from aila_jax.config.options import SweepOptions
from aila_jax.data.cache import load_or_build
from aila_jax.data.dataset import load_dataset
from aila_jax.inference.chat import rendered
from aila_jax.partition.classes.class_file import read_class_file
from aila_jax.reporting import read_sweep
from benchmarks.turns import fresh_peak, memory
from experiments.faults import fuzz
from tests.pretrained.gguf_test import write as write_gguf
from tests.support.tiny import Trained

ROOT = Path(__file__).parents[1]
FILES = Path(__file__).parent / "pretrained" / "files" / "llama"
OFTEN = 20
SECONDS, MIB = 60, 400
TOUCH = "touch pwned"
PAYLOADS = (
    f"__import__('os').system('{TOUCH}')", f"!!python/object/apply:os.system ['{TOUCH}']", f"$({TOUCH})", f"`{TOUCH}`",
    "{{ cycler.__init__.__globals__.os.system('" + TOUCH + "') }}", "<script>alert(1)</script>", "../../../../pwned", "/etc/passwd",
    "\x00", "%s%n", "a" * 100_000, "\ud800", "(?=a)*(a+)+$",
)  # fmt: skip
NUMBERS = ("-1", "0", "1e999", "NaN", "99999999999999999999", "1.5", "true", "null", "[]", "{}", '"x"')


def damaged(content: bytes, draw: random.Random) -> bytes:
    """A file that somebody made from a good one."""
    kind = draw.choice(
        (
            "flip",
            "cut",
            "insert",
            "twice",
            "number",
            "number",
            "text",
            "text",
            "nested",
            "long",
            "empty",
            "zeros",
        )
    )
    at = draw.randrange(len(content) + 1)
    if kind == "flip":
        changed = bytearray(content)
        for _ in range(draw.randint(1, 30)):
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        return bytes(changed)
    if kind == "cut":
        return content[:at]
    if kind == "insert":
        return content[:at] + draw.randbytes(draw.randint(1, 200)) + content[at:]
    if kind == "twice":
        return content + content
    if kind in ("number", "text"):
        return _with_token(content, draw, numbers=kind == "number")
    if kind == "nested":
        return content[:at] + b"[" * 50_000 + content[at:]
    if kind == "long":
        return content[:at] + content[at : at + 50] * 5_000 + content[at:]
    return b"" if kind == "empty" else bytes(len(content))


def _with_token(content: bytes, draw: random.Random, numbers: bool) -> bytes:
    """Another number, or another text, in place of one that is there."""
    import re

    there = list(re.finditer(rb"-?\d+(\.\d+)?" if numbers else rb'"[^"\\]{1,60}"', content))
    if not there:
        return content + draw.choice(PAYLOADS).encode("utf-8", "surrogatepass")
    found = draw.choice(there)
    new = draw.choice(NUMBERS) if numbers else json.dumps(draw.choice(PAYLOADS))
    return content[: found.start()] + new.encode() + content[found.end() :]


Made = tuple[Path, Callable[[], Any]]  # the file that is damaged, and what opens it


@pytest.fixture(scope="module")
def swept(trained: Trained, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("swept")
    options = SweepOptions(lams=(0.0,), taus=(1.0,), max_batches=1)
    runs.sweep(trained.run.workdir, options, folder, quiet=True)
    return folder


@pytest.fixture
def make(trained: Trained, swept: Path, tmp_path: Path) -> Callable[[str], Made]:
    """Makes a good file of a kind in a folder of its own."""

    def run(name: str) -> Made:
        copied = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
        step = copied / "checkpoints" / "24"
        files = sorted((step / "params").rglob("*"), key=lambda path: path.is_file() * path.stat().st_size)
        path = {
            "record": step / "record" / "metadata",
            "manifest": step / "manifest.json",
            "arrays": files[-1],
        }[name]
        return path, partial(open_run, copied)

    def folder(name: str) -> Made:
        copied = Path(shutil.copytree(FILES, tmp_path / "model"))
        return copied / name, partial(aila.from_pretrained, copied)

    def text(name: str, content: str, data: dict[str, Any]) -> Made:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        config = DataConfig(files=(str(path),), cache_dir=str(tmp_path / "cache"), **data)
        return path, partial(load_dataset, config, trained.model.tokenizer)

    def sweep() -> Made:
        shutil.copytree(swept, tmp_path / "swept")
        return tmp_path / "swept" / "sweep.json", partial(page_of, tmp_path / "swept")

    def kept() -> Made:
        disk, values = Disk(tmp_path / "passages", 2**24), np.ones((2, 1, 3, 4), np.float32)
        disk.put("ab", KeysValues(values, values))
        return disk.path("ab"), partial(disk.get, "ab", values.shape, "float32")

    def cached() -> Made:
        made = {"tokens": np.arange(50)}
        load_or_build(tmp_path / "arrays", "key", lambda: made)
        return tmp_path / "arrays" / "key.npz", partial(
            load_or_build, tmp_path / "arrays", "key", lambda: made
        )

    def gguf() -> Made:
        path = write_gguf(tmp_path / "model.gguf", "mistral")
        return path, partial(aila.from_pretrained, path)

    def template() -> Made:
        path = tmp_path / "template.jinja"
        path.write_text(
            "{% for one in messages %}{{ '<|' + one['role'] + '|>' }}{{ one['content'] }}{% endfor %}"
        )
        said = {"messages": [{"role": "user", "content": "hello"}], "add_generation_prompt": True}
        return path, lambda: rendered(path.read_text(encoding="utf-8", errors="replace"), said)

    def classes() -> Made:
        path = tmp_path / "classes.txt"
        path.write_text("the\tarticle\ncat\tnoun\n.\tmark\n")
        return path, partial(read_class_file, path, trained.model.tokenizer)

    asked = {"question": "who saw", "passages": ["the cat", "a dog"], "answer": "the cat", "rationale": [0]}
    word = "\t".join(("1", "the", "the", "DET", "_", "_", "2", "det", "_", "_"))
    other = "\t".join(("2", "cat", "cat", "NOUN", "_", "_", "0", "root", "_", "_"))
    kinds: dict[str, Callable[[], Made]] = {
        **{name: partial(run, name) for name in ("record", "manifest", "arrays")},
        "safetensors": partial(folder, "model.safetensors"),
        "model's config": partial(folder, "config.json"),
        "tokenizer": partial(folder, "tokenizer.json"),
        "gguf": gguf,
        "chat template": template,
        "text": partial(
            text, "a.txt", "".join(f"the cat saw dog {n} .\n\n" for n in range(200)), {"corpus": "text"}
        ),
        "json lines": partial(
            text,
            "a.jsonl",
            "".join(f'{{"text": "the cat saw dog {n} ."}}\n' for n in range(200)),
            {"corpus": "text"},
        ),
        "questions": partial(
            text,
            "q.jsonl",
            "".join(f"{json.dumps({**asked, 'question': f'who saw {n}'})}\n" for n in range(60)),
            {"corpus": "question_files"},
        ),
        "conllu": partial(
            text,
            "a.conllu",
            "".join(f"{word}\n{other.replace('cat', f'cat{n}')}\n\n" for n in range(100)),
            {"corpus": "conllu"},
        ),
        "class file": classes,
        "sweep": sweep,
        "passage cache": kept,
        "token cache": cached,
    }
    return lambda kind: kinds[kind]()


def open_run(run: Path) -> None:
    """All that reads a checkpoint."""
    verify_run(run)
    model = aila.load(run)
    find_checkpoint(run, fallback=True)
    assert np.isfinite(model.params["embedding"]).all()


def page_of(folder: Path) -> None:
    """The page of a sweep, on which no text is a tag."""
    read_sweep(folder)
    page = aila.report(folder, folder / "report.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch) -> Path:
    """Where the process is; nothing may be written there."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def cases() -> Iterator[Any]:
    kinds = (
        "record", "manifest", "arrays", "safetensors", "model's config", "tokenizer", "gguf", "chat template", "text",
        "json lines", "questions", "conllu", "class file", "sweep", "passage cache", "token cache",
    )  # fmt: skip
    for kind in kinds:
        for number in range(OFTEN):
            marks = [] if number < 2 else [pytest.mark.medium] if number < 6 else [pytest.mark.slow]
            yield pytest.param(kind, number, marks=marks)


# Where one array of several is refused, those that are still being read find the loop of their reader closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("kind", "number"), list(cases()))
def test_a_strangers_file_is_only_data(make, elsewhere, tmp_path, monkeypatch, kind, number):
    path, opened = make(kind)
    opened()  # as it is
    path.write_bytes(damaged(path.read_bytes(), random.Random(f"{kind} {number}")))
    before = {file for file in tmp_path.rglob("*") if path.parent not in file.parents}
    ran: list[str] = []
    if kind != "chat template":  # whose process is the only one
        monkeypatch.setattr("subprocess.Popen", lambda *args, **kwargs: ran.append(str(args)))
    monkeypatch.setattr(os, "system", ran.append)
    said = ""
    before_bytes = fresh_peak()  # tracemalloc crashes where a library's thread makes objects while it stops
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"not done within {SECONDS} s"))
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a cache that is damaged gives one
            opened()
    except ValueError as error:
        said = str(error)
    finally:
        signal.alarm(0)
        peak_bytes = memory("VmHWM")
    if before_bytes is not None and peak_bytes is not None:
        assert peak_bytes - before_bytes < MIB * 2**20
    assert len(said) < 3000
    assert ran == []
    assert list(elsewhere.iterdir()) == []
    after = {file for file in tmp_path.rglob("*") if path.parent not in file.parents}
    assert {file for file in after - before if "cache" not in file.parts} == set()
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("atheris") is None, reason="Atheris is missing: pip install -e '.[fuzz]', CPython 3.11"
)
@pytest.mark.parametrize("kind", fuzz.NAMES)
def test_a_parser_reads_or_refuses_what_a_fuzzer_makes(make, trained, kind):
    own = {"settings": "config.json", "log": "metrics.jsonl"}
    good = trained.run.workdir / own[kind] if kind in own else make(kind)[0]
    command = [sys.executable, "-m", "experiments.faults.fuzz", kind, str(good), "--runs=10000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert "Done 10000 runs" in done.stderr
