"""How a process finds its place: by options, by the cluster, and what is refused."""

import pytest

from aila_jax.cli.commands import COMMANDS
from aila_jax.cli.main import main
from aila_jax.config.options import ProcessOptions
from aila_jax.processes import here
from aila_jax.processes.join import cluster, find
from aila_jax.processes.meet import Place

SLURM = {
    "SLURM_JOB_ID": "4097",
    "SLURM_STEP_NODELIST": "node[007-009],other",
    "SLURM_STEP_NUM_NODES": "3",
    "SLURM_NTASKS": "3",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
}
WHOLE = {"coordinator": "host:1234", "processes": 2, "process": 1}


@pytest.fixture
def on_slurm(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    return dict(SLURM)


def test_without_options_and_cluster_it_is_alone():
    assert find(ProcessOptions(), {}) is None
    assert (here.count(), here.index(), here.first()) == (1, 0, True)
    here.agree("anything")


def test_options_say_the_whole_place():
    assert find(ProcessOptions(**WHOLE), {}) == Place("host:1234", 2, 1)
    assert Place("host:1234", 2, 1).address == ("host", 1234)
    assert Place("[::1]:80", 2, 1).address == ("::1", 80)


def test_slurm_says_it(on_slurm):
    # 4097 mod 4096 above the first of 4096 ports, as jax._src.clusters says: the first node of the list.
    port = 4097 % 4096 + 65535 - 4096 + 1
    assert find(ProcessOptions(), on_slurm) == Place(f"node007:{port}", 3, 2, (0,))


def test_an_option_goes_before_what_slurm_says(on_slurm):
    found = find(ProcessOptions(coordinator="host:1234"), on_slurm)
    assert found is not None and (found.coordinator, found.processes, found.process) == ("host:1234", 3, 2)
    assert find(ProcessOptions(processes=1), on_slurm) is None


def test_one_task_of_slurm_is_alone():
    assert find(ProcessOptions(), {**SLURM, "SLURM_NTASKS": "1"}) is None


@pytest.mark.parametrize(("environment", "name"), [
    ({}, ""), (SLURM, "Slurm"), ({**SLURM, "SLURM_NTASKS": "1"}, ""),
    ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, ""),  # sbatch itself, without srun
    ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, ""),  # a pod of its own
    ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"}, "Kubernetes"),
    ({"TPU_WORKER_HOSTNAMES": "localhost"}, ""), ({"TPU_WORKER_HOSTNAMES": "a,b"}, "Cloud TPU"),
])  # fmt: skip
def test_the_cluster_is_known_by_what_it_says_to_its_processes(environment, name):
    assert cluster(environment) == name


def test_kubernetes_without_its_package_is_refused(monkeypatch):
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.warns(UserWarning, match="kubernetes"),
        pytest.raises(ValueError, match="Fix: pip install kubernetes"),
    ):
        find(ProcessOptions(), environment)


@pytest.mark.parametrize(("options", "words"), [
    ({"coordinator": "host"}, "coordinator is 'host'; it must be HOST:PORT, .* Fix: --coordinator=HOST:12345"),
    ({"coordinator": ":80"}, "coordinator is ':80'; it must be HOST:PORT"),
    ({"coordinator": "host:70000"}, "with a port from 1 to 65535"),
    ({"processes": 0}, "processes is 0; it must be at least 1"),
    ({"process": -1}, "process is -1; it must be at least 0"),
    ({**WHOLE, "process": 2}, "process is 2; it must be from 0 to 1: processes is 2. Fix: count them from 0"),
    ({"patience": 0.1}, "patience is 0.1; it must be .*at least 1"),
])  # fmt: skip
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        ProcessOptions(**options)


@pytest.mark.parametrize("missing", ["coordinator", "processes", "process"])
def test_a_part_of_the_place_is_refused(missing):
    given = {name: value for name, value in WHOLE.items() if name != missing}
    with pytest.raises(
        ValueError, match=rf"--{missing} is .*; it must be given with the other two, .* Fix: --coord"
    ):
        find(ProcessOptions(**given), {})


SEVERAL = {"train", "localise", "evaluate", "sweep"}


def test_these_commands_work_in_several_processes():
    assert {command.name for command in COMMANDS if command.several} == SEVERAL


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.name not in SEVERAL])
def test_any_other_command_says_that_it_works_in_one(command, capsys, on_slurm):
    config = ["--config=tiny"] if command.needs_config else []
    assert main([command.name, *config, "--processes=2"]) == 2
    said = capsys.readouterr().err
    assert (
        f"aila {command.name} works in one. Fix: leave it out" in said and "train" in said and "sweep" in said
    )


def test_slurm_that_starts_such_a_command_several_times_is_refused(capsys, tmp_path, trained, on_slurm):
    assert main(["certify", f"--checkpoint={trained.run.workdir}"]) == 2
    said = capsys.readouterr().err
    assert (
        "SLURM_NTASKS is '3'; it must be 1 with aila certify; train, evaluate, sweep, localise work" in said
    )
