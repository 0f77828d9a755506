"""Signals to the command line: one line and a documented code, whenever they come. Each is sent by the
process to itself, at a moment that is the same in every run.
"""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CODES = {signal.SIGINT: (130, "aila: interrupted\n")}
CODES |= {
    number: (128 + number, f"aila: ended by {number.name}\n") for number in (signal.SIGTERM, signal.SIGHUP)
}


def ran(program: str, *arguments: str, wrapper: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """`python -m aila_jax.cli.main ARGUMENTS`, after `program`."""
    program = (
        "import os, runpy, signal, sys\n"
        + textwrap.dedent(program)
        + f"\nsys.argv = ['aila', *{list(arguments)}]\n"
        + "runpy.run_module('aila_jax.cli.main', run_name='__main__', alter_sys=True)"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*wrapper, sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


ON_IMPORT = """
    class Sender:
        def find_spec(self, name, path=None, target=None):
            if name == {module!r}:
                os.kill(os.getpid(), {signum})
    sys.meta_path.insert(0, Sender())
"""


@pytest.mark.parametrize("module", ["absl", "aila_jax.presets", "numpy._core", "jax", "jaxlib._jax"])
def test_an_interrupt_while_importing_is_one_line(module, tmp_path):
    (tmp_path / "checkpoints" / "8" / "record").mkdir(parents=True)
    done = ran(ON_IMPORT.format(module=module, signum=2), "evaluate", f"--checkpoint={tmp_path}")
    assert (done.returncode, done.stderr) == CODES[signal.SIGINT]


@pytest.mark.parametrize("signum", CODES)
def test_each_signal_has_a_line_and_a_code(signum, tmp_path):
    # What started the tests may have told them to ignore SIGHUP, as nohup does, and a child inherits it.
    heeded = f"signal.signal({int(signum)}, signal.SIG_DFL)\n" + textwrap.dedent(ON_IMPORT)
    done = ran(heeded.format(module="absl", signum=int(signum)), "evaluate", f"--checkpoint={tmp_path}")
    assert (done.returncode, done.stderr) == CODES[signum]


def test_a_hangup_that_is_ignored_stays_ignored():
    program = "signal.signal(signal.SIGHUP, signal.SIG_IGN)" + textwrap.dedent(
        ON_IMPORT.format(module="absl", signum=int(signal.SIGHUP))
    )
    done = ran(program, "--version")
    assert (done.returncode, done.stderr) == (0, "")


# A command that does what the test says in place of its work.
IN_WORK = """
    import contextlib
    from aila_jax.cli import main
    def work(*_):
        {work}
    main._dispatch = work
    def run_module(*_, **__):
        main.entry([])
    runpy.run_module = run_module
    def kill(signum=2):
        os.kill(os.getpid(), signum)
"""


@pytest.mark.parametrize(
    "work",
    [
        "kill()",
        # What an interrupted library makes of it.
        "\n        try: kill()\n        except BaseException: raise RuntimeError('internal error')",
        # A second signal while the first is being answered.
        "\n        try: kill()\n        finally: kill(15)",
        # The first is swallowed, as in a destructor.
        "\n        with contextlib.suppress(BaseException): kill()\n        kill()",
        # Below a library that an exception must not pass through.
        "exec(compile('kill()', 'jax', 'exec'), {'__name__': 'jax._src.compiler', 'kill': kill})",
    ],
)
def test_a_command_that_is_interrupted_is_one_line(work):
    done = ran(IN_WORK.format(work=work))
    assert (done.returncode, done.stderr) == CODES[signal.SIGINT]


@pytest.mark.parametrize(
    "late", ["import atexit; atexit.register(kill)", "import threading; threading._register_atexit(kill)"]
)
def test_a_signal_after_the_end_changes_nothing(late):
    done = ran(IN_WORK.format(work=f"{late}; print('done', flush=True); return 0"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize(
    ("redirection", "code"), [(">/dev/full", 1), ("2>/dev/full", 2), (">&-", 2), ("2>&-", 2), (">&- 2>&-", 2)]
)
def test_streams_that_are_full_or_closed_are_no_traceback(redirection, code):
    arguments = "--help" if code == 1 else "evaluate"
    command = f"{sys.executable} -m aila_jax.cli.main {arguments} {redirection}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, shell=True, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr + done.stdout
