"""Tests of `aila verify` and of `--fallback`: what each finds, what it prints, and its exit code."""

import os
import shutil
from pathlib import Path

import pytest

from aila_jax import runs
from aila_jax.checkpoint import SaveError, find_checkpoint, verify_run, whole_steps
from aila_jax.checkpoint.manifest import NAME, read_manifest, write_manifest
from aila_jax.cli.main import main
from tests.support.checkpoints import GOLDEN, KEY, edit, reseal, step_folder
from tests.support.tiny import Trained

FILES = ["config.json", "metrics.jsonl", "run.json", "tensorboard"]


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> Path:
    return shutil.copytree(trained.run.workdir, tmp_path / "copy")


def sign(run: Path) -> None:
    """The checkpoints of a run as somebody with the key would have saved them."""
    for step in whole_steps(run / "checkpoints"):
        manifest = read_manifest(step_folder(run, step))
        assert manifest is not None
        write_manifest(manifest, step_folder(run, step), KEY)


def damage(run: Path, step: int = 24) -> None:
    edit(
        step_folder(run, step) / "record" / "metadata", lambda stored: stored["data"].update(fingerprint="x")
    )


def test_a_line_for_each_checkpoint_and_the_exit_code(copied, capsys):
    assert main(["verify", str(copied)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in said[:2]] == [str(step_folder(copied, step)) for step in (16, 24)]
    assert all(": verified (" in line and "files)" in line for line in said[:2])
    assert [Path(line.split(": ")[0]).relative_to(copied).parts[0] for line in said[2:]] == FILES
    assert all(line.endswith(": verified (as step 24 knows it)") for line in said[2:])
    damage(copied)
    assert main(["verify", f"--checkpoint={copied}"]) == 1
    out, err = capsys.readouterr()
    assert [": verified (" in line for line in out.splitlines()] == [True, False, True, True, True, True]
    assert ": damaged (" in out.splitlines()[1]
    assert err == (
        "aila: error: 1 of 6 checkpoints and files is damaged. Fix: restore a copy, or use a whole checkpoint\n"
    )
    assert main(["verify", str(step_folder(copied, 16))]) == 0


def test_format_1_is_not_verified_and_not_damaged(capsys):
    assert main(["verify", str(GOLDEN)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3
    assert all(": not verified (format 1" in line for line in said[:2])
    assert said[2].endswith("sweep.json: not verified (it has no checksums, as those of earlier versions)")


def test_a_sweep_of_the_run_is_looked_at(copied, capsys):
    runs.sweep(copied, quiet=True)
    assert main(["verify", str(copied)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("sweep.json: verified (with its CSV files)")
    (copied / "sweep.csv").write_text("λ\n")
    assert main(["verify", str(copied)]) == 1
    assert "sweep.csv does not match its checksum" in capsys.readouterr().out.splitlines()[-1]


def test_the_key_is_asked_for(copied, tmp_path, capsys):
    (tmp_path / "key").write_bytes(KEY)
    sign(copied)
    assert main(["verify", str(copied), f"--key_file={tmp_path / 'key'}"]) == 0
    assert capsys.readouterr().out.count("signed with the key") == 2
    (tmp_path / "key").write_bytes(KEY[::-1])
    assert main(["verify", str(copied), f"--key_file={tmp_path / 'key'}"]) == 1
    assert capsys.readouterr().out.count("its signature is not of this key") == 2
    assert main(["verify", str(copied)]) == 0
    assert capsys.readouterr().out.count("signed, and no key was given") == 2
    assert main(["verify", str(copied), "--key_file=none"]) == 2
    assert "it cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["verify"], ["verify", "nowhere"], ["verify", "a", "b"]])
def test_a_mistake_in_the_call_has_exit_code_2(arguments, capsys):
    assert main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_edit_with_a_new_manifest_is_damage_too(copied):
    """The mark in the arrays is of the record as it was; verifying must look at it as loading does."""
    damage(copied)
    reseal(step_folder(copied))
    assert [found.state for found in verify_run(copied)[:2]] == ["verified", "damaged"]
    assert "the mark in the arrays is not that of the manifest" in verify_run(copied)[1].detail


def test_arrays_of_other_shapes_than_the_record_says_are_damage(tmp_path):
    """Told from Orbax's own description, before an array of that shape is made."""
    old = shutil.copytree(GOLDEN, tmp_path / "old")
    edit(
        step_folder(old) / "record" / "metadata",
        lambda stored: stored["arrays"]["anchors/table"].update(shape=[3000]),
    )
    assert [found.state for found in verify_run(old)] == ["not verified", "damaged"]
    assert "anchors/table is ((300,), 'float32') in the arrays" in verify_run(old)[1].detail


@pytest.mark.parametrize(
    "entry",
    [None, 3, [], {"size": None, "sha256": "0"}, {"size": 1.5, "sha256": "0"}, {"size": 1}, {"sha256": "0"}],
)
def test_a_manifest_with_entries_that_are_none_is_damage(copied, entry):
    name = "record/metadata"
    edit(step_folder(copied) / NAME, lambda stored: stored["manifest"]["files"].update({name: entry}))
    with pytest.raises(ValueError, match=f"{NAME} cannot be read"):
        find_checkpoint(copied)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", [Path("record", "metadata"), Path("more")])
def test_a_pipe_in_a_checkpoint_is_refused_and_not_waited_for(copied, tmp_path, name):
    for run in (copied, shutil.copytree(GOLDEN, tmp_path / "old")):
        path = step_folder(run) / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        if run == copied or name.name == "metadata":
            with pytest.raises(ValueError, match="is no plain file"):
                find_checkpoint(run)


def test_folders_named_otherwise_than_they_are_saved_are_no_steps(copied):
    for name in ("024", "٣", "2a"):
        (copied / "checkpoints" / name).mkdir()
    assert whole_steps(copied / "checkpoints") == [16, 24]
    assert [one.folder.name for one in verify_run(copied)[:-4]] == ["16", "24"]


def test_a_damaged_checkpoint_is_refused_with_the_commands_that_help(copied, capsys):
    damage(copied)
    call = ["generate", f"--checkpoint={copied}", "--prompt=the cat", "--max_tokens=1"]
    assert main(call) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert f"--checkpoint={step_folder(copied, 16)}, or --fallback for the newest whole one" in said
    assert f"to train on from it, move {step_folder(copied)} away" in said
    assert main([*call, "--fallback"]) == 0
    out, err = capsys.readouterr()
    assert out
    assert err.splitlines()[-1] == "aila: step 16 is used instead: it is the newest whole checkpoint"
    damage(copied, 16)
    assert main([*call, "--fallback"]) == 2
    assert "is used instead" not in capsys.readouterr().err


def test_a_failed_save_ends_in_one_line_with_the_command(monkeypatch, capsys):
    def fail(*_, **__):
        raise SaveError(
            "the checkpoint of step 4 was not saved in a b: full; step 2 is intact there. Fix: do again"
        )

    monkeypatch.setattr(runs, "train", fail)
    assert main(["train", "--config=tiny", "--workdir=a b"]) == 1
    assert capsys.readouterr().err == (
        "aila: error: the checkpoint of step 4 was not saved in a b: full; step 2 is intact there. Fix: do again:"
        " aila train --config=tiny '--workdir=a b'\n"
    )
