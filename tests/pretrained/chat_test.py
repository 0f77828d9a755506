"""The chat template that a model comes with: where it is found, and that runs begun from it keep it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.config import TrainConfig
from aila_jax.config.options import GenerateOptions
from aila_jax.runs._start import begin_from, start_config, what_is_before
from tests.pretrained.gguf_test import write
from tests.support.tiny import sentences

FILES = Path(__file__).parent / "files"
TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}\n{% endfor %}"
CHAT = [{"role": "user", "content": "the cat saw"}]
FOUND = {"template": TEMPLATE, "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}


def folder(tmp_path: Path, template: str = "", name: str = "mistral", **named: Any) -> Path:
    """A copy with a tokenizer_config.json, and a template of its own."""
    made = Path(shutil.copytree(FILES / name, tmp_path / "chatty"))
    (made / "tokenizer_config.json").write_text(json.dumps(named))
    if template:
        (made / "chat_template.jinja").write_text(template)
    return made


@pytest.mark.parametrize(
    ("template", "named"),
    [
        (TEMPLATE, {}),
        (TEMPLATE, {"chat_template": "another", "eos_token": {"content": "<|endoftext|>"}}),
        ("", {"chat_template": TEMPLATE, "bos_token": "<|endoftext|>", "eos_token": None}),
        (
            "",
            {
                "chat_template": [
                    {"name": "tool_use", "template": "x"},
                    {"name": "default", "template": TEMPLATE},
                ]
            },
        ),
    ],
)
def test_a_folder_s_template(tmp_path: Path, template: str, named: dict[str, Any]) -> None:
    model = aila.from_pretrained(folder(tmp_path, template, **named), length=48)
    assert model.meta["chat"] == FOUND
    [[made]] = model.continuations(None, GenerateOptions(max_tokens=2), chat=CHAT)
    assert made.prompt == "<|endoftext|>user: the cat saw<|endoftext|>\n"
    said = model.tokenizer.encode("user: the cat saw")
    assert list(made.ids[: made.prompt_tokens]) == [0, *said, 0, *model.tokenizer.encode("\n")]


def test_the_first_of_several_end_tokens(tmp_path: Path) -> None:
    made = folder(tmp_path, TEMPLATE)
    stored = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps({**stored, "eos_token_id": [259, 0]}))
    assert aila.from_pretrained(made, length=48).meta["chat"]["eos_token"] == "Ġthe"


@pytest.mark.parametrize("named", [{}, {"chat_template": [{"name": "tool_use", "template": "x"}]}])
def test_without_a_template_there_is_no_chat(tmp_path: Path, named: dict[str, Any]) -> None:
    model = aila.from_pretrained(folder(tmp_path, **named), length=48)
    assert "chat" not in model.meta
    with pytest.raises(ValueError, match="left out for a model that came without a chat template"):
        model.generate(chat=CHAT)


def test_a_template_that_is_no_text(tmp_path: Path) -> None:
    made = folder(tmp_path)
    (made / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"chat_template.jinja is 'not UTF-8'"):
        aila.from_pretrained(made, length=48)
    (made / "chat_template.jinja").write_bytes(b"x" * (10**6 + 1))
    with pytest.raises(
        ValueError, match=r"bytes of .*chat_template.jinja is 1000001; it must be at most 1,000,000"
    ):
        aila.from_pretrained(made, length=48)


def test_a_file_s_template(tmp_path: Path) -> None:
    model = aila.from_pretrained(write(tmp_path / "a.gguf", "mistral", chat=TEMPLATE), length=48)
    assert model.meta["chat"] == {**FOUND, "eos_token": "Ġthe"}
    assert "chat" not in aila.from_pretrained(write(tmp_path / "b.gguf", "mistral"), length=48).meta


@pytest.mark.medium
def test_checkpoints_keep_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(sentences(60, 0))
    source = folder(tmp_path, TEMPLATE, "qwen2")
    config = start_config(source, None)
    files, cache = (str(tmp_path / "a.txt"),), str(tmp_path / "cache")
    config = replace(
        config,
        model=replace(config.model, length=32),
        data=replace(config.data, corpus="text", files=files, cache_dir=cache),
        train=TrainConfig(steps=2, batch_size=2, eval_every=2, checkpoint_every=1, warmup_steps=0),
    )
    run = runs.train(config, tmp_path / "run", start=source, quiet=True)
    model = aila.load(run.workdir)
    assert model.meta["chat"] == FOUND
    assert isinstance(model.generate(chat=CHAT, max_tokens=2), str)
    assert begin_from(run.workdir, model.config).chat == FOUND  # and so does a run that begins with that one
    assert what_is_before(model.config, run.workdir, None).chat == FOUND  # and that one when it goes on
