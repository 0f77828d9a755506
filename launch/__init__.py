"""Commands of a checkout: `python -m launch COMMAND …`.

Every command once had a module here, and so had every experiment. `python -m launch.certify …` and the like
still run what they ran: no file stands behind such a name, so `Forwarder` finds it, and its module says what
the command is now, and runs that.
"""

import importlib.abc
import importlib.machinery
import runpy
import sys
from collections.abc import Sequence
from types import ModuleType

from aila_jax.cli.huge_pages import restart_in_huge_pages

COMMANDS = (
    *("anchors", "attention", "blocks", "certify", "diagnose", "evaluate", "generate", "influence"),
    *("recruit", "report"),
)
EXPERIMENTS = ("ablations", "first_dial", "leak", "one_checkpoint", "threshold")


class Forwarder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds `launch.NAME` where NAME was a module of this folder."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        if package != __name__ or name not in (*COMMANDS, *EXPERIMENTS):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=__file__)

    def get_source(self, fullname: str) -> str:
        name = fullname.rpartition(".")[2]
        return f"if __name__ == '__main__':\n    import launch\n    launch.forward({name!r})\n"


def forward(name: str) -> None:
    """Runs what `python -m launch.NAME` ran, with the arguments of this process."""
    restart_in_huge_pages()  # as the command would, which would then say the line below twice
    # With a run of one's own, the launcher of the experiment was the command.
    of_run = any(argument.lstrip("-").partition("=")[0] == "checkpoint" for argument in sys.argv[1:])
    command = name in COMMANDS or (name == "threshold" and of_run)
    new = f"launch {name}" if command else f"experiments.{name}"
    print(f"python -m launch.{name} is now python -m {new}", file=sys.stderr)
    if command:
        sys.argv[1:1] = [name]
    runpy.run_module(new.split()[0], run_name="__main__", alter_sys=True)


sys.meta_path.append(Forwarder())
