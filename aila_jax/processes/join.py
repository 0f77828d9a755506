"""A command as one process of a job: found, joined before JAX starts, watched, and left together."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping

from aila_jax.config import require
from aila_jax.config.options import ProcessOptions
from aila_jax.processes.here import WAITS, Waiting, agree
from aila_jax.processes.meet import Place, meet
from aila_jax.processes.watch import Watch

SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID")  # what srun says to each of its tasks
KUBERNETES = ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX")  # an indexed job, alone or of a JobSet
TPU = ("TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES")  # where Kubernetes lent the machines
BACKSTOP = 3  # JAX's own watch ends a job that ours did not, this many times later


class Left:
    """What the end of this process must know.

    Attributes:
      failed: the job ends without the others; JAX would wait for them.
    """

    failed = False


def cluster(environment: Mapping[str, str]) -> str:
    """What started this process together with others: Slurm, Kubernetes or Cloud TPU; empty: nothing did."""
    if all(environment.get(name) for name in SLURM) and environment.get("SLURM_NTASKS", "1") != "1":
        return "Slurm"
    if all(environment.get(name) for name in KUBERNETES):
        return "Kubernetes"
    if any("," in environment.get(name, "") for name in TPU):
        return "Cloud TPU"
    return ""


def find(options: ProcessOptions, environment: Mapping[str, str]) -> Place | None:
    """This process's place in a job, by the options and, where these leave something open, by what JAX finds
    of the cluster; None where it is alone.

    Raises:
      ValueError: neither says all of it, or they say what cannot be.
    """
    if options.processes == 1:
        return None
    coordinator, processes, process = options.coordinator, options.processes, options.process
    given, devices = (bool(coordinator), processes is not None, process is not None), None
    found = "" if all(given) else cluster(environment) or ("Cloud TPU" if _on_tpu() else "")
    if found:
        coordinator, processes, process, devices = _detected(options, found)
        if processes == 1:
            return None
    if not (coordinator or processes or process is not None):
        return None
    for name, value in (("coordinator", coordinator), ("processes", processes), ("process", process)):
        limit = "given with the other two, where no Slurm, Kubernetes or Cloud TPU says it"
        fix = "--coordinator=HOST:PORT --processes=2 --process=0, and --process=1 in the other"
        require(value not in (None, ""), f"--{name}", value, limit, fix)
    assert coordinator and processes is not None and process is not None
    ProcessOptions(coordinator=coordinator, processes=processes, process=process)  # what a cluster says, too
    return Place(coordinator, processes, process, devices)


def _on_tpu() -> bool:
    """Whether JAX has found this to be a machine of Cloud TPU."""
    import jax  # looks for it, and starts no backend

    return bool(jax._src.cloud_tpu_init.running_in_cloud_tpu_vm)


def _detected(
    options: ProcessOptions, found: str
) -> tuple[str, int | None, int | None, tuple[int, ...] | None]:
    """What JAX's own detection says of what the options leave open."""
    from jax._src.clusters import ClusterEnv

    try:
        coordinator, processes, process, devices = ClusterEnv.auto_detect_unset_distributed_params(
            options.coordinator or None, options.processes, options.process, None, None, 60
        )
    except Exception as error:  # of the cluster's own interfaces
        raise ValueError(
            f"the cluster is {found}, but JAX cannot read this process's place in it ({error}). Fix: give"
            " --coordinator, --processes and --process, or --processes=1 to run alone"
        ) from error
    if found == "Kubernetes" and coordinator is None:
        raise ValueError(
            "the cluster is Kubernetes, whose interface is read by the package kubernetes, which is not"
            " installed. Fix: pip install kubernetes, or give --coordinator, --processes and --process"
        )
    return coordinator or "", processes, process, None if devices is None else tuple(devices)


def refuse_several(command: str, several: tuple[str, ...], environment: Mapping[str, str]) -> None:
    """ValueError where Slurm started a command in several processes that works in one."""
    if cluster(environment) != "Slurm":
        return
    tasks = environment.get("SLURM_NTASKS", "1")
    limit = f"1 with aila {command}; {', '.join(several)} work in several processes"
    require(False, "SLURM_NTASKS", tasks, limit, f"srun --ntasks=1 aila {command} …")


@contextlib.contextmanager
def joined(options: ProcessOptions, command: str) -> Iterator[None]:
    """Inside, this is one process of its job, where there is one. Only process 0 prints.

    Raises:
      ValueError: the options or the cluster say what cannot be, or the other processes something else.
      TimeoutError: others did not come, or went.
    """
    place = find(options, os.environ)
    if place is None:
        yield
        return
    Waiting.seconds = WAITS * options.patience
    lines, engine = meet(place, command, options.wait)
    watch = Watch(place.processes, lines, options.patience)
    watch.start()
    Left.failed = True
    try:
        _start(place, engine, options.patience)
        with _output(place.process == 0):
            yield
        _leave(watch)
    except BaseException as error:
        _told(watch, error, place)
        raise


@contextlib.contextmanager
def _output(shown: bool) -> Iterator[None]:
    """Inside, what Python prints goes to standard output, or nowhere. What Gloo prints there, in C++, goes to
    standard error.
    """
    sys.stdout.flush()
    before = os.dup(1)
    os.dup2(2, 1)
    try:
        with (
            open(
                before if shown else os.devnull, "w", encoding="utf-8", errors="replace", closefd=not shown
            ) as out,
            contextlib.redirect_stdout(out),
        ):
            yield
    finally:
        os.dup2(before, 1)
        os.close(before)


def _start(place: Place, engine: str, patience: float) -> None:
    """JAX's own engine; its backend may not have been started before."""
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # CPUs of several processes sum with it
    jax.distributed.initialize(
        engine,
        place.processes,
        place.process,
        local_device_ids=place.devices,
        cluster_detection_method="deactivate",
        heartbeat_timeout_seconds=int(BACKSTOP * patience) + 1,
        shutdown_timeout_seconds=int(patience) + 1,
    )


def _leave(watch: Watch) -> None:
    """Ends the job in peace, when all processes have come to its end."""
    import jax

    agree("the end of the command")
    watch.stop()
    jax.distributed.shutdown()
    Left.failed = False


def _told(watch: Watch, error: BaseException, place: Place) -> None:
    """Leaves after a failure: where another process is the reason, with its name; else the others hear of
    this one.
    """
    from aila_jax.training.stopping import TrainingStopped

    if isinstance(error, TrainingStopped):  # all have stopped after the same step
        _leave(watch)
        return
    if _may_be_of_another(error):
        watch.wait()
    said = " ".join(str(error).split()) or type(error).__name__
    code = 2 if isinstance(error, ValueError) else 1
    watch.tell(f"process {place.process} of {place.processes} failed: {said}", code)


def _may_be_of_another(error: BaseException) -> bool:
    """Whether it may have come of a process that is missing in a sum, which the watch knows in a while."""
    import jax

    return isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error)


def leave(code: int) -> None:
    """Ends the process at once where the job has failed: JAX would wait for the others."""
    if Left.failed:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
