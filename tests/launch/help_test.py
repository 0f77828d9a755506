"""The help text: complete, and there without waiting for JAX."""

import dataclasses
import inspect
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from aila_jax import presets, runs
from aila_jax.cli.commands import COMMANDS, localise, train
from aila_jax.cli.config_flag import leaf_keys
from aila_jax.cli.help import attribute_docs, config_entries, flag_entries, preset_entries
from aila_jax.cli.main import find_command, main, parse
from aila_jax.config import Config, TrainConfig, from_dict, to_dict

ROOT = Path(__file__).resolve().parents[2]


def printed(capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_the_overview_names_every_command(capsys, flag):
    text = printed(capsys, flag)
    for command in COMMANDS:
        assert f"  {command.name} " in text
        assert command.summary in text


def test_no_command_shows_the_overview_and_fails(capsys):
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_command_lists_its_examples_and_flags(capsys, command):
    text = printed(capsys, command.name, "--help")
    assert all(f"  aila {example}\n" in text for example in command.examples)
    for name in command.needed:
        assert f"--{name}=" in text
    assert text.index("flags:") < (text.index("configuration keys") if command.takes_config else len(text))


@pytest.mark.parametrize(
    ("command", "example"), [(command, example) for command in COMMANDS for example in command.examples]
)
def test_every_example_parses(monkeypatch, command, example):
    monkeypatch.chdir(ROOT)  # one example names a file of the checkout
    monkeypatch.setattr(runs, "start_config", lambda *_: presets.tiny())  # and others a run, or a model
    plain = replace(presets.tiny(), model=replace(presets.tiny().model, film=False))
    monkeypatch.setattr(runs, "localised_config", lambda *_: presets.localised(plain, length=96))
    for module in (train, localise):
        monkeypatch.setattr(module, "is_model", lambda *_: None)
    words = shlex.split(example)
    assert find_command(words[0]) is command
    values = parse(command, words[1:])
    if command.takes_config and values.config is not None:
        from_dict(Config, values.config.to_dict())


def test_train_lists_every_key_with_its_default(capsys):
    text = printed(capsys, "train", "--help")
    for key in leaf_keys(to_dict(Config())):
        assert f"--config.{key}=" in text
    assert "--config.model.d_model=128\n" in text
    assert "--config.sweep.lams='(0,0.2,0.4,0.6,0.8,1)'" in text
    assert "must be divisible by H" in text
    assert all(f"preset {name}" in text for name in presets.PRESETS)


def test_every_key_is_documented():
    undocumented = [key for _, entries in config_entries(Config()) for key, text in entries if len(text) < 8]
    assert undocumented == []


def test_listed_defaults_can_be_typed(runs):
    keys = [
        key for _, entries in config_entries(Config()) for group, _ in entries for key in group.split("  ")
    ]
    assert main(["train", "--config=tiny", "--workdir=w", *(key.replace("'", "") for key in keys)]) == 0
    assert runs.calls[0][1][0] == Config()


def test_docs_of_fields():
    docs = attribute_docs(TrainConfig)
    assert docs["steps"] == "optimizer steps."
    assert docs["batch_size"].startswith("sequences a step, over all devices. Where")
    assert docs["log_every"] == "steps between two records of training."
    assert docs["warmup_steps"] == docs["learning_rate"]  # mentioned there
    assert set(docs) == {field.name for field in dataclasses.fields(TrainConfig)}


def test_help_does_not_import_jax():
    code = (
        "import sys; from aila_jax.cli.main import main; main(['train', '--help']); print('jax' in"
        " sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "False False"


def test_help_and_errors_survive_a_terminal_without_greek():
    command = [sys.executable, "-X", "utf8=0", "-m", "aila_jax.cli.main", "evaluate", "--checkpoint=c"]
    environment = {"LC_ALL": "en_US.ISO-8859-1", "PYTHONIOENCODING": "ascii", "PATH": ""}
    shown = subprocess.run(
        [*command, "--help"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=False,
    )
    assert shown.returncode == 0
    assert "? in [0, 1]" in shown.stdout
    wrong = subprocess.run(
        [*command, "--lam=2"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=False,
    )
    assert wrong.returncode == 2
    assert "choose ? between 0" in wrong.stderr


@pytest.mark.parametrize(
    "command", [command for command in COMMANDS if command.takes_config], ids=lambda c: c.name
)
def test_that_a_config_file_is_run_is_said(capsys, command):
    text = " ".join(printed(capsys, command.name, "--help").split())
    assert "Such a file is a program and is run: read a stranger's first (docs/safety.md)." in text
    assert (ROOT / "docs" / "safety.md").is_file()


def test_the_version_is_shown(capsys):
    assert printed(capsys, "--version").startswith("aila_jax ")


def shown_texts():
    """Whatever `--help` explains: (where, the text) of commands, flags, presets, groups of keys, and keys."""
    for command in COMMANDS:
        yield command.name, command.about
        for title, text in flag_entries(command):
            yield f"{command.name} {title}", text
    for name, text in preset_entries():
        yield f"preset {name}", text
    for title, entries in config_entries(Config()):
        yield "group of keys", title
        yield from entries


def test_no_text_ends_in_mid_sentence():
    """Each is one or more whole sentences, and its marks come in pairs."""
    cut = [
        (where, text)
        for where, text in shown_texts()
        if text[-1:] not in set(".?!")
        or sum(map(text.count, "([")) != sum(map(text.count, ")]"))  # together: a range may be half-open
        or text.count("`") % 2
    ]
    assert cut == []


def test_a_text_of_several_lines_is_shown_whole(capsys):
    """`Config` and the preset `small` are explained in more than one line."""
    text = " ".join(printed(capsys, "train", "--help").split())
    for explained in (Config, presets.small):
        whole = " ".join((inspect.getdoc(explained) or "").split("\n\n")[0].split())
        assert whole in text


def test_every_text_is_on_the_page(capsys):
    pages = " ".join(" ".join(printed(capsys, command.name, "--help").split()) for command in COMMANDS)
    assert [text for _, text in shown_texts() if " ".join(text.split()) not in pages] == []
