#!/bin/bash
# One process a GPU, on as many machines as Slurm gives:
#
#     sbatch launch/cluster/slurm.sh --config=base --workdir=runs/base
#
# from the checkout's folder, which all machines must see. Slurm tells each process its place. The same command
# goes on with a run.
#SBATCH --job-name=aila
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
# Of a machine, not of a task: JAX chooses the GPU with the task's number among all that are there.
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
# Two minutes before its time is over every process hears SIGTERM: the run is saved, and ends with 143.
#SBATCH --signal=TERM@120
#SBATCH --output=%x-%j.log

set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
# shellcheck source=/dev/null
. .venv/bin/activate
# A process that fails tells the others; this is for what even that cannot end.
srun --kill-on-bad-exit=1 aila train "$@"
