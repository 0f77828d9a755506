#!/bin/sh
# Injects faults and says which promises of docs/reliability.md are kept: sh launch/faults.sh
# Kills, power cuts, damage, failed writes, strange inputs, a long run. Hours; results and table in runs/reliability.
# Fewer of each, in minutes: sh launch/faults.sh --scale=small --out=runs/few
# Each promise on a build with a protection taken out, where it must break: sh launch/faults.sh --without
set -eu
cd "$(dirname "$0")/.."
. launch/venv.sh
say "python -m experiments.faults --out=runs/reliability $*"
exec "$VENV_PYTHON" -m experiments.faults --out=runs/reliability "$@"
