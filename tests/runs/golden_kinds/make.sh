#!/bin/sh
# How the runs in this folder were made, by the first version with checkpoints of format 2: sh make.sh, in this folder.
# It is kept as it was written. Tests load, resume and sweep them; never make them again with a newer version.
set -eu
aila=${AILA:-aila}
cp -r ../../pretrained/files/neox base
set -- --config.data.corpus=text --config.data.files=../golden/train.txt --config.data.valid_files=../golden/valid.txt \
    --config.data.test_files=../golden/test.txt --config.data.cache_dir=cache
$aila localise --start=base --workdir=adapters --length=32 --rank=2 --tokens=2048 "$@" \
    --config.train.batch_size=4 --config.train.warmup_steps=1 --config.train.log_every=2 --config.train.eval_every=8 \
    --config.train.checkpoint_every=4 --config.sweep.lams='(0,0.5,1)' --config.sweep.batch_size=4
$aila sweep --checkpoint=adapters
XLA_FLAGS=--xla_force_host_platform_device_count=8 $aila train --config=tiny --workdir=sharded "$@" \
    --config.data.vocab_size=300 --config.data.tokenizer=bpe --config.data.begin= \
    --config.mesh.data=2 --config.mesh.fsdp=2 --config.mesh.tensor=2 \
    --config.model.length=16 --config.model.d_model=16 --config.model.n_heads=2 --config.model.d_ff=32 \
    --config.train.steps=8 --config.train.batch_size=8 --config.train.warmup_steps=2 --config.train.log_every=2 \
    --config.train.eval_every=8 --config.train.checkpoint_every=4 --config.train.eval_batches=2 \
    --config.sweep.lams='(0,0.5,1)' --config.sweep.taus='(1.0,)' --config.sweep.batch_size=8
$aila sweep --checkpoint=sharded
rm -rf base cache adapters/.lock sharded/.lock adapters/.lease sharded/.lease
