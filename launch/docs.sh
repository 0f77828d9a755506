#!/bin/sh
# The documentation: sh launch/docs.sh
# Makes .venv, runs the examples of the pages, and builds docs/_build/html/index.html. Needs no network once .venv is there.
# Warnings are errors, broken links among pages and words that the glossary lacks too.
set -eu
cd "$(dirname "$0")/.."
. launch/venv.sh
for builder in doctest html; do
    say "sphinx -b $builder docs docs/_build/$builder"
    JAX_PLATFORMS=${JAX_PLATFORMS:-cpu} "$VENV_PYTHON" -m sphinx -b "$builder" -W --keep-going -n -q docs "docs/_build/$builder"
done
say "docs/_build/html/index.html"
