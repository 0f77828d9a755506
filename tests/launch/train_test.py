"""`aila train`: presets, files, overrides, and how mistakes are refused."""

import dataclasses
from pathlib import Path

import pytest

from aila_jax import presets
from aila_jax.cli.main import main
from aila_jax.config import Config

ROOT = Path(__file__).resolve().parents[2]


def trained(runs) -> tuple[Config, str]:
    """Configuration and workdir of the one call of runs.train."""
    [(name, args, kwargs)] = runs.calls
    assert name == "train"
    assert kwargs.keys() == {"start", "preset"} and kwargs["start"] is None
    return args


@pytest.mark.parametrize("name", sorted(presets.PRESETS))
def test_a_preset_is_passed_on_as_it_is(runs, name):
    assert main(["train", f"--config={name}", "--workdir=w"]) == 0
    assert trained(runs) == (presets.preset(name), "w")


@pytest.mark.parametrize(
    ("arguments", "preset"),
    [
        (["--config=tiny"], presets.FromPreset("tiny")),
        (["--config", "tiny", "--config.seed=3"], presets.FromPreset("tiny", ("seed",))),
        (
            ["--config.model.d_model", "64", "--noconfig.model.film", "--config=small"],
            presets.FromPreset("small", ("model.d_model", "model.film")),
        ),
        (["--config=tiny", "--config.locality.teach=0"], presets.FromPreset("tiny", ("locality.distill",))),
        ([f"--config={ROOT}/launch/configs/tiny.py"], None),
    ],
)
def test_the_presets_name_is_passed_on_with_what_is_asked_for_beside_it(runs, arguments, preset):
    """By the names that settings have today; a file has no name that a newer version knows."""
    assert main(["train", *arguments, "--workdir=w"]) == 0
    assert runs.calls[0][2]["preset"] == preset


@pytest.mark.parametrize("name", sorted(presets.PRESETS))
def test_the_file_of_a_preset_is_the_preset(runs, name):
    """By the rules that its results were measured by, where the file names some."""
    assert main(["train", f"--config={ROOT}/launch/configs/{name}.py", "--workdir=w"]) == 0
    measured = name in ("small", "certified", "certified_windows5")
    preset = presets.preset(name)
    assert trained(runs)[0] == (presets.as_measured(preset) if measured else preset)
    assert (trained(runs)[0].train.schedule == "offset") == measured


def test_the_papers_size_has_a_file_with_the_certified_dial(runs):
    assert main(["train", f"--config={ROOT}/launch/configs/certified_paper.py", "--workdir=w"]) == 0
    assert trained(runs)[0] == presets.certified_dial(presets.paper())


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        (["--config.model.d_model=256"], {"model": {"d_model": 256}}),
        (["--config.model.d_model", "256"], {"model": {"d_model": 256}}),
        (["--config.seed=3"], {"seed": 3}),
        (["--config.model.margin.form=self_scaling"], {"model": {"margin": {"form": "self_scaling"}}}),
        (["--config.train.learning_rate=1e-4"], {"train": {"learning_rate": 1e-4}}),
        (["--config.locality.lam=1"], {"locality": {"lam": 1.0}}),
        (["--noconfig.model.film"], {"model": {"film": False}}),
        (["--config.model.film=false"], {"model": {"film": False}}),
        (["--config.model.qk_norm"], {"model": {"qk_norm": True}}),
        (["--config.sweep.lams=(0,0.5,1)"], {"sweep": {"lams": (0.0, 0.5, 1.0)}}),
        (["--config.sweep.lams=0.5"], {"sweep": {"lams": (0.5,)}}),
        (
            ["--config.data.corpus=text", "--config.data.files=my/*.txt"],
            {"data": {"corpus": "text", "files": ("my/*.txt",)}},
        ),
        (
            ["--config.data.corpus=text", "--config.data.files=('a','b')"],
            {"data": {"corpus": "text", "files": ("a", "b")}},
        ),
        (["--config.seed=1", "--config.seed=2"], {"seed": 2}),
    ],
)
def test_an_override_changes_its_own_setting_and_no_other(runs, override, changed):
    assert main(["train", "--config=tiny", "--workdir=w", *override]) == 0
    assert trained(runs)[0] == replaced(presets.tiny(), changed)
    assert isinstance(trained(runs)[0].locality.lam, float)


def replaced(config, changes):
    """The config dataclass with (nested) changes."""
    inner = {
        name: replaced(getattr(config, name), value) if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return dataclasses.replace(config, **inner)


def test_overrides_may_stand_before_the_config(runs):
    assert main(["train", "--config.model.d_model", "64", "--config", "tiny", "--workdir", "w"]) == 0
    assert trained(runs)[0].model.d_model == 64


@pytest.mark.parametrize(
    "body",
    [
        "from aila_jax.config import Config\ndef get_config():\n    return Config(seed=5)",
        "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({'seed': 5})",
        "def get_config():\n    return {'seed': 5, 'model': {'margin': {'nats': 8}}}",
    ],
)
def test_a_config_file_may_return_a_part_and_any_key_can_be_overridden(runs, tmp_path, body):
    file = tmp_path / "mine.py"
    file.write_text(body)
    assert main(["train", f"--config={file}", "--config.model.margin.nats=2.5", "--workdir=w"]) == 0
    assert trained(runs)[0] == replaced(Config(), {"seed": 5, "model": {"margin": {"nats": 2.5}}})


def test_data_dir_is_a_shortcut(runs):
    assert main(["train", "--config=small", "--data_dir=d", "--workdir=w"]) == 0
    assert trained(runs)[0] == replaced(presets.small(), {"data": {"data_dir": "d"}})


def refused(capsys, arguments: list[str]) -> str:
    """The one line on stderr of a call that is refused with exit code 2."""
    assert main(["train", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("aila: error: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.model.d_modell=3"], "unknown config key 'model.d_modell'; did you mean 'model.d_model'?"),
        (["--config.d_model=3"], "unknown config key 'd_model'; did you mean 'model.d_model'?"),
        (["--config.model=3"], "config key 'model' is a group of settings (length, d_model, "),
        (["--config.model.margin=3"], "set one of them: --config.model.margin.form=VALUE"),
        (["--noconfig.model.fil"], "did you mean 'model.film'?"),
        (["--config.model.d_model=3"], "model.d_model is 3; it must be divisible by model.n_heads (4)"),
        (["--config.model.d_model=wide"], "--config.model.d_model is 'wide'; it must be a whole"),
        (["--config.sweep.lams=(0,2)"], "sweep.lams is 2.0; it must be a number in [0, 1]"),
        (["--config.data.corpus=wikitext"], "did you mean 'wikitext2'?"),
        (["--workdirr=x"], "'--workdirr'; did you mean '--workdir'?"),
        (["--data_dir=d"], "leave --data_dir out, or add --config.data.corpus=wikitext2"),
        (["extra"], "unexpected argument 'extra'"),
    ],
)
def test_mistakes_are_refused_before_anything_runs(runs, capsys, arguments, message):
    assert message in refused(capsys, ["--config=tiny", "--workdir=w", *arguments])
    assert runs.calls == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--config=tiny"],
            "--workdir is missing. Fix: for example, aila train --config=tiny --workdir=runs/tiny",
        ),
        (["--workdir=w"], "--config is missing"),
        (["--workdir=w", "--config=smal"], "did you mean 'small'?"),
        (
            ["--workdir=w", "--config=no/such.py"],
            (
                "'no/such.py'; it must be tiny, small, certified, certified_windows5, paper, base, large, xl, recall, brackets,"
                " repeats, pairs, keys, sharper_keys, rivals, questions or an existing .py file"
            ),
        ),
    ],
)
def test_what_is_missing_is_named(runs, capsys, arguments, message):
    assert message in refused(capsys, arguments)
    assert runs.calls == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def get_config(:", "line 1"),
        ("x = 1", "has no get_config()"),
        ("def get_config():\n    return 3", "returns a int"),
        ("def get_config():\n    return {'model': {'d_modell': 3}}", "did you mean 'model.d_model'?"),
    ],
)
def test_a_bad_config_file_is_refused_with_its_reason(runs, capsys, tmp_path, body, message):
    file = tmp_path / "mine.py"
    file.write_text(body)
    assert message in refused(capsys, [f"--config={file}", "--workdir=w"])
    assert runs.calls == []
