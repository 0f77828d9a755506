"""`aila population`: many trained models by one program."""

from aila_jax import presets
from aila_jax.cli.command import Call, Command, CommandError, PathFlag
from aila_jax.cli.paths import is_workdir
from aila_jax.config.options import PopulationOptions


def _run(call: Call[PopulationOptions]) -> None:
    assert call.config is not None, "it is needed"
    config = presets.with_data_dir(call.config, call.data_dir)
    from aila_jax import runs

    try:
        found = runs.train_population(config, call.path, call.options, preset=call.preset)
    except runs.SaveError as error:
        raise CommandError(f"{error}: {call.again}") from error
    print(runs.describe_population(found))
    if found.failed:
        names = ", ".join(dict.fromkeys(row.run for row in found.failed))
        raise CommandError(f"no loss of {names}; the table says why. All other members are finished")
    print(f"Turn the dial of a member: aila sweep --checkpoint={found.runs[0]}")


COMMAND = Command(
    name="population",
    summary="train a model for every λ, seed and learning rate, by one program",
    about=(
        "Every seed with every learning rate and every λ is a member, which aila train would make of the same"
        " settings. All share the corpus and one compiled step. Each has a run directory in --workdir, which"
        " other commands take like any run. The same command goes on with members that were stopped and"
        " leaves finished ones as they are. Writes population.csv and population.json beside them."
    ),
    examples=(
        (
            "population --config=tiny --config.locality.mode=fixed --seeds=0,1 --lams=0,0.5,1"
            " --workdir=runs/pop"
        ),
        "population --config=tiny --seeds=0,1,2 --learning_rates=1e-3,3e-3 --workdir=runs/rates --form=loop",
    ),
    run=_run,
    options=PopulationOptions,
    path=PathFlag(
        "workdir",
        "The folder of the members' run directories. Members that are there go on.",
        check=is_workdir,
    ),
    opening=("data_dir",),
    takes_config=True,
    needs_config=True,
)
