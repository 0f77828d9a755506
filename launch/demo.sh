#!/bin/sh
# The demo: sh launch/demo.sh
# Makes .venv, trains a tiny model on this Python's own documentation, dials it, and writes runs/demo/report.html.
# Arguments go to `aila demo`: sh launch/demo.sh --workdir=runs/demo2
set -eu
cd "$(dirname "$0")/.."
. launch/venv.sh
say "aila demo --workdir=runs/demo $*"
exec "$VENV_PYTHON" -m aila_jax.cli.main demo --workdir=runs/demo "$@"
