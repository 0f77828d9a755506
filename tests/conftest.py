"""One strict environment for all tests, set before anything imports JAX."""

import atexit
import gc
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from jaxtyping import config as jaxtyping_config
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from tests.support.tiny import Trained

ROOT = Path(__file__).resolve().parents[1]


def _asks_for_gpu(arguments: list[str]) -> bool:
    """Whether pytest's own arguments hold `-m gpu` (or `-m=gpu`, `-m "gpu and …"`), and not `not gpu`."""
    chosen = [after for flag, after in zip(arguments, [*arguments[1:], ""], strict=True) if flag == "-m"]
    chosen += [
        argument.removeprefix("-m").removeprefix("=")
        for argument in arguments
        if argument.startswith("-m") and argument != "-m"
    ]
    return any("gpu" in expression and "not gpu" not in expression for expression in chosen)


if not _asks_for_gpu(sys.argv):
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("MPLBACKEND", "agg")

# Most of the default tests' time is compilation. So the compiler optimises little there, and the processes of
# one run, those that tests start among them, share what they compile. The longer tests run as users do.
SHARED_CACHE = "AILA_TESTS_COMPILED"  # the folder, for the processes that this one starts
if "-m" not in sys.argv and SHARED_CACHE not in os.environ:
    quick = "--xla_backend_optimization_level=0"
    if metadata.version("jaxlib").startswith(
        "0.10."
    ):  # later ones end the process at a flag that they have not
        quick += " --xla_cpu_use_fusion_emitters=false"
    os.environ.setdefault("XLA_FLAGS", quick)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        os.environ[SHARED_CACHE] = tempfile.mkdtemp(prefix="aila_tests_compiled_")
        atexit.register(shutil.rmtree, os.environ[SHARED_CACHE], ignore_errors=True)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ[SHARED_CACHE]
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
        # With a limit JAX locks the folder: without one, a process may read what another has half written.
        os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**32)


def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means here: a worker a core, at most 4; none for an accelerator, whose memory one
    process of JAX takes whole.
    """
    if _asks_for_gpu(sys.argv):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, cores)


def _modules_with_shapes() -> list[str]:
    """The modules of aila_jax that state array shapes; the hook would slow the others down for nothing."""
    files = sorted((ROOT / "aila_jax").rglob("*.py"))
    return [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in files
        if "jaxtyping" in file.read_text(encoding="utf-8")
    ]


# Shapes in the signatures of aila_jax are checked at every call that a test makes. The hook finds its checker
# by a name without dots, because pytest's importlib mode may replace the module `tests` while it runs.
sys.modules["shape_checker"] = importlib.import_module("tests.support.shapes")
install_import_hook(_modules_with_shapes(), "shape_checker.check")

hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session", autouse=True)
def no_temporary_files_are_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever makes temporary files makes them in a folder that goes away: TensorFlow Datasets leaves one
    for every builder.
    """
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield
    shutil.rmtree(folder)


MAPS = Path("/proc/self/maps")
MOST_MAPS = 25_000  # each compiled program takes some; Linux gives a process 65,530, and then it crashes


@pytest.fixture(scope="module", autouse=True)
def programs_do_not_pile_up() -> Iterator[None]:
    """Forgets what was compiled before a process runs out of memory maps."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax = importlib.import_module("jax")
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> "Trained":
    """One finished tiny run, shared by all tests."""
    from tests.support.tiny import train_tiny

    return train_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """Turns the shape checks off, for a test of a function's own refusal of a wrong shape."""
    before = jaxtyping_config.jaxtyping_disable
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def wikitext2() -> Path:
    """The folder with wiki.{train,valid,test}.tokens that the environment variable WIKITEXT2 names; else a
    stated skip.
    """
    folder = os.environ.get("WIKITEXT2", "")
    if not folder:
        pytest.skip("WIKITEXT2 is not set: it names a folder with wiki.{train,valid,test}.tokens")
    missing = [
        name
        for name in ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens")
        if not (Path(folder) / name).is_file()
    ]
    if missing:
        pytest.fail(
            f"WIKITEXT2 is {folder!r}, but {', '.join(missing)} is not in it; correct it, or unset it to skip"
        )
    return Path(folder)


@pytest.fixture(scope="session")
def run_in_subprocess_with_devices() -> Callable[..., str]:
    """`run(n, code)`: runs Python code in a process of its own with n simulated CPU devices and returns what
    it prints.

    The tests themselves see one device, because the number cannot change once JAX is imported.
    """

    def run(devices: int, code: str, timeout: float = 600.0) -> str:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}".strip()
        environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-W", "error::DeprecationWarning:aila_jax", "-c", textwrap.dedent(code)],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
