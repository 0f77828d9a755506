#!/bin/bash
# The same command on every machine of a Cloud TPU pod, which tells each its place:
#
#     bash launch/cluster/tpu_pod.sh NAME ZONE --config=base --workdir=/mnt/runs/base
#
# Before: the checkout with its .venv (and pip install 'jax[tpu]') in ~/aila of every machine, and --workdir on a
# file system that all of them see. The same command goes on with a run.
set -euo pipefail
if [ "$#" -lt 3 ]; then
    echo "usage: bash $0 NAME ZONE --config=… --workdir=…" >&2
    exit 2
fi
name=$1 zone=$2
shift 2
# Quoted, since a second shell reads it there.
printf -v flags ' %q' "$@"
exec gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
    --command="cd ~/aila && . .venv/bin/activate && aila train$flags"
