"""`aila plan`: what a training run will take."""

from absl import flags

from aila_jax.cli.command import Call, Command, PathFlag
from aila_jax.cli.paths import is_workdir
from aila_jax.config import Config, saved_config, user_path
from aila_jax.config.options import PlanOptions
from aila_jax.json_files import json_object, read_json


def _is_workdir(flag: str, value: str) -> None:
    """A run directory, or none."""
    if value:
        is_workdir(flag, value)


def _base(arguments: list[str]) -> Config | None:
    """The configuration of the run that is in the directory; None without one."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", "", "", flag_values=values)
    values.set_gnu_getopt(True)
    values(["aila", *arguments], known_only=True)
    file = user_path(values.workdir) / "config.json" if values.workdir else None
    if file is None or not file.is_file():
        return None
    return saved_config(json_object(read_json(file), "the configuration"))


def _run(call: Call[PlanOptions]) -> None:
    from aila_jax.planning.described import describe
    from aila_jax.planning.fitting import check_fits
    from aila_jax.planning.plan import planned

    assert call.config is not None, "it is needed"
    found = planned(call.config, call.options)
    print(describe(found))
    check_fits(call.config, found.vocabulary, found.mesh, found.device)


COMMAND = Command(
    name="plan",
    summary="what training will take: parameters, FLOPs, memory, time",
    about=(
        "Says by formula, before anything is made, how many parameters a model has, what a token costs, what a"
        " device holds at the moment that needs most, and how long a budget of tokens takes at a stated share of"
        " the device's peak speed. Nothing is compiled or allocated. Where a step does not fit into the device's"
        " memory the exit code is 2, and the last line says what would fit."
    ),
    examples=(
        "plan --config=base --device=h100",
        "plan --config=xl --mesh=8,4,1 --device=tpu-v5p --tokens=26000000000 --utilisation=0.5",
        "plan --config=small --config.model.d_model=512 --memory_gb=8 --tflops=10",
    ),
    run=_run,
    options=PlanOptions,
    path=PathFlag(
        "workdir",
        "A run directory, as in aila train: what is there gives the settings where no --config does. Or none.",
        "",
        _is_workdir,
    ),
    takes_config=True,
    needs_config=True,
    base=_base,
)
