"""The version of the package: known with and without installation, and without waiting for JAX."""

import configparser
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import aila_jax as aila
from aila_jax import provenance

ROOT = Path(__file__).resolve().parents[1]


def stated() -> str:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    return settings["metadata"]["version"]


def test_the_version_is_that_of_setup_cfg():
    assert aila.__version__ == stated()
    assert "__version__" in dir(aila)


def test_a_checkout_that_is_not_installed_has_one(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert provenance.version.__wrapped__() == stated()


def test_it_is_there_without_jax():
    code = "import sys, aila_jax; print(aila_jax.__version__, 'jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [stated(), "False"]
