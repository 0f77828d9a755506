#!/bin/sh
# The tests: sh launch/test.sh
# Makes .venv and runs the default tests. Arguments go to pytest: sh launch/test.sh -m medium, sh launch/test.sh tests/model.
# A process for each of up to 4 cores runs them (one in all with -m gpu); -n 0 runs them in one, a file at a time.
# WIKITEXT2 may name a folder with wiki.{train,valid,test}.tokens; by default it is a sibling folder, if that exists.
set -eu
cd "$(dirname "$0")/.."
. launch/venv.sh
sibling=../shared/data/wikitext-2
if [ -z "${WIKITEXT2:-}" ] && [ -f "$sibling/wiki.train.tokens" ]; then
    WIKITEXT2=$(cd "$sibling" && pwd)
    export WIKITEXT2
fi
say "pytest $* (WIKITEXT2=${WIKITEXT2:-not set: its tests are skipped})"
exec "$VENV_PYTHON" -m pytest -n auto --dist worksteal "$@"
