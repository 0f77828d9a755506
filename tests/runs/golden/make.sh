#!/bin/sh
# How the run in this folder was made, by the last version before checkpoints of format 2: sh make.sh, in this folder.
# It is kept as it was written. Tests load, resume, sweep and report it; never make it again with a newer version.
set -eu
aila=${AILA:-aila}
$aila train --config=tiny --workdir=run \
    --config.data.corpus=text --config.data.files=train.txt --config.data.valid_files=valid.txt --config.data.test_files=test.txt \
    --config.data.vocab_size=300 --config.data.cache_dir=cache \
    --config.partition.kind=induced_classes --config.partition.classes=6 \
    --config.anchors.estimator=attention --config.anchors.k=2 \
    --config.penalty.solver=subgradient --config.penalty.eta=1e-3 --config.penalty.weights=anchors \
    --config.model.length=16 --config.model.d_model=16 --config.model.n_heads=2 --config.model.d_ff=32 \
    --config.model.dropout=0.1 \
    --config.train.steps=24 --config.train.batch_size=8 --config.train.warmup_steps=4 --config.train.log_every=5 \
    --config.train.eval_every=12 --config.train.checkpoint_every=12 --config.train.eval_batches=2 --config.train.loss_chunk=0 \
    --config.sweep.lams='(0,0.5,1)' --config.sweep.taus='(1.0,)' --config.sweep.batch_size=8
$aila sweep --checkpoint=run
rm -rf cache run/.lock
