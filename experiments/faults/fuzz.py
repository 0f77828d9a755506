"""Parsers under a fuzzer that seeks new branches (Atheris, extra `fuzz`): each file is read, or refused.

    python -m experiments.faults.fuzz conllu good.conllu --runs=20000

changes a good file again and again, so that new branches of the parser are reached, and ends with a traceback
and exit code 77 at the first error of another type, a hang of 20 s or 2 GiB of memory.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SECONDS, MIB, LONGEST = 20, 2048, 4096
PACKAGES = ("aila_jax.data", "aila_jax.partition", "aila_jax.checkpoint", "aila_jax.reporting",
            "aila_jax.pretrained", "aila_jax.config", "aila_jax.json_files", "gguf")  # fmt: skip


def _parsers() -> dict[str, tuple[str, Callable[[Path], Any]]]:
    """What is parsed: the name that a file has, and what reads it."""
    from aila_jax.checkpoint.manifest import read_manifest
    from aila_jax.checkpoint.record import read_record
    from aila_jax.config import DataConfig, saved_config
    from aila_jax.data.conllu import parse_conllu
    from aila_jax.data.documents import Document
    from aila_jax.data.questions.json_lines import read_question_file
    from aila_jax.data.text_files import read_file
    from aila_jax.data.tokenizer import train_tokenizer
    from aila_jax.data.tokenizer_file import check_tokenizer, read_tokenizer_file
    from aila_jax.json_files import json_object, read_json
    from aila_jax.partition.classes.class_file import read_class_file
    from aila_jax.pretrained.folder import Folder
    from aila_jax.pretrained.gguf_file import GgufFile
    from aila_jax.reporting.records import read_sweep
    from aila_jax.reporting.training_log import read_training_log

    data = DataConfig(corpus="text", files=("never read",), tokenizer="word", vocab_size=20)
    tokenizer = train_tokenizer(data, [Document("words", ("the cat saw a dog .",))])
    return {
        "text": ("a.txt", read_file),
        "json lines": ("a.jsonl", read_file),
        "questions": ("q.jsonl", read_question_file),
        "conllu": (
            "a.conllu",
            lambda path: parse_conllu(path.read_text(encoding="utf-8", errors="replace"), path.name),
        ),
        "class file": ("classes.txt", lambda path: read_class_file(path, tokenizer)),
        "tokenizer": ("tokenizer.json", lambda path: check_tokenizer(read_tokenizer_file(path))),
        "model's config": ("config.json", lambda path: Folder(path.parent).settings),
        "safetensors": ("model.safetensors", lambda path: Folder(path.parent).shapes),
        "gguf": (
            "model.gguf",
            lambda path: [(one.settings, one.shapes, one.tokenizer()) for one in [GgufFile(path)]],
        ),
        "settings": ("config.json", lambda path: saved_config(json_object(read_json(path), path.name))),
        "record": ("record/metadata", lambda path: read_record(path.parents[1])),
        "manifest": ("manifest.json", lambda path: read_manifest(path.parent)),
        "sweep": ("sweep.json", lambda path: read_sweep(path.parent)),
        "log": ("metrics.jsonl", lambda path: read_training_log(path.parent)),
    }


NAMES = (
    "text", "json lines", "questions", "conllu", "class file", "tokenizer", "model's config", "safetensors", "gguf", "settings",
    "record", "manifest", "sweep", "log",
)  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Does not return: Atheris ends the process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=NAMES)
    parser.add_argument("good", type=Path, help="a file that is read as it is")
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    if find_spec("atheris") is None:
        parser.error("Atheris is not installed. Fix: pip install 'aila_jax[fuzz]', with CPython 3.11")
    import atheris

    with atheris.instrument_imports(include=list(PACKAGES)):
        name, read = _parsers()[asked.what]
    folder = Path(tempfile.mkdtemp(prefix="aila-fuzz-"))
    path, seeds = folder / "here" / name, folder / "seeds"
    for each in (path.parent, seeds):
        each.mkdir(parents=True)
    (seeds / "good").write_bytes(asked.good.read_bytes())

    def one(content: bytes) -> None:
        path.write_bytes(content)
        with contextlib.suppress(ValueError):
            read(path)

    longest = max(LONGEST, 2 * asked.good.stat().st_size)
    limits = (
        f"-runs={asked.runs}",
        f"-seed={asked.seed}",
        f"-timeout={SECONDS}",
        f"-rss_limit_mb={MIB}",
        f"-max_len={longest}",
    )
    os.chdir(folder)  # where it leaves what broke something
    atheris.Setup(["fuzz", *limits, str(seeds)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
