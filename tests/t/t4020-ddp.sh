#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Several workers: the same losses as one, on any number; a worker that dies costs little.
. "$abs_top_srcdir/tests/t/lib.sh"
. "$abs_top_srcdir/tests/t/train.sh"
if ! command -v mpirun >/dev/null; then
    skip 'workers' 'there is no mpirun'
    finish
fi

cat >r.yaml <<'Y'
recipe: raywf/v1
name: ddp
params: {workers: 1, shard: none, epochs: 10, micro: 8}
datasets:
  iris: {read: {path: iris.csv}, split: {train: 0.8, test: 0.2, seed: 7}}
train:
  c:
    dataset: {train: "${datasets.iris.outputs.train}", val: "${datasets.iris.outputs.test}"}
    model: {type: mlp, target: species, hidden: [32, 32]}
    optimizer: {learning_rate: 0.01}
    gradient_clipping: 1.0
    global_batch_size: 32
    micro_batch_size: "${params.micro}"
    max_length: {epochs: "${params.epochs}"}
    checkpoint: {every: {steps: 20}}
    evaluate: {every: {steps: 20}}
    workers: "${params.workers}"
    shard: "${params.shard}"
    resources: {cpu: 0.25}
    retry: {max: 2, on: [signal], backoff: 0s}
    heartbeat: 30s
Y
for how in "1 none" "2 none" "4 none" "2 optimizer" "2 full"; do
    workers=${how% *} shard=${how#* }
    run 0 raywf run r.yaml --no-cache --param workers="$workers" --param shard="$shard"
    losses "$(output train.c metrics)" >"losses.$workers.$shard"
    ok "$workers workers, shard: $shard: the losses of one" near "losses.$workers.$shard" losses.1.none 1e-5
done
run 0 raywf logs last train.c
has '2 workers on the CPU'
has '2 workers x 8 rows x 2 accumulated'
has '[0] loss'
run 0 raywf run r.yaml --param workers=2
says 'train.c  cached'

# One of two is killed: the other ends, the gang starts again and goes on.
long='--param epochs=500 --set train.c.model.hidden=[384,384] --set train.c.checkpoint.every.steps=100'
run 0 raywf run r.yaml --no-cache --param workers=2 $long
losses "$(output train.c metrics)" >whole
raywf run r.yaml --no-cache --param workers=2 $long >/dev/null 2>.err &
head=$!
until_ok has_checkpoint
kill -9 "$(rank_pid 1)"
wait $head
ok 'it succeeds all the same' test $? -eq 0
err=$(cat .err) command='raywf run, rank 1 killed'
says 'rank 1 of 2 was killed by signal 9 (SIGKILL); attempt 2'
losses "$(output train.c metrics)" >resumed
ok 'one was killed: the same losses' near resumed whole 1e-5
ok 'nothing is left' until_ok no_ranks

# Without a retry it fails, and says who and how; then on another number of workers.
raywf run r.yaml --no-cache --param workers=2 --param epochs=20000 --set train.c.retry=0 >/dev/null 2>.err &
head=$!
until_ok has_checkpoint
kill -ABRT "$(rank_pid 0)"
wait $head
ok 'without a retry it fails' test $? -eq 1
err=$(cat .err)
says 'train.c: rank 0 of 2 was killed by signal 6 (SIGABRT)'
ok 'nothing is left' until_ok no_ranks

# More than fits is refused when planning.
run 5 raywf run r.yaml --no-cache --param workers=8 --set train.c.resources.memory=100TiB
run 5 raywf plan r.yaml --param workers=16 --param micro=2 --set train.c.resources.cpu=64
run 7 env PATH="$tmp/.bin" "$RAYWF" run r.yaml --no-cache --param workers=2
says 'apt-get install openmpi-bin'
finish
