#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Gangs over nodes that do not see each other's files, nor those of the run: in a mount
# namespace of their own, where the run's folder is empty.
. "$abs_top_srcdir/tests/t/lib.sh"
if ! command -v mpirun >/dev/null; then
    skip 'gangs' 'there is no mpirun'
    finish
fi
if ! unshare -m true 2>/dev/null; then
    skip 'nodes with files of their own' 'no mount namespace can be made here'
    finish
fi
unset RAYWF_CLUSTER
trap 'for d in a b; do raywf shutdown -q --dir "$tmp/$d" --timeout 20s; done; rm -rf "$tmp"' EXIT
mkdir work
export tmp
# shellcheck disable=SC2016
unshare -m sh -c '
    mount -t tmpfs none "$tmp/work" &&
    raywf start --head --port 0 --dir "$tmp/a" --name a --cpu 1 >"$tmp/.a" &&
    raywf start --address "$(sed -n "s/^head *//p" "$tmp/.a")" --key "$tmp/a/head/key" \
        --dir "$tmp/b" --name b --cpu 1 >"$tmp/.b"'
RAYWF_CLUSTER_ADDRESS=$(sed -n 's/^head *//p' .a)
export RAYWF_CLUSTER_ADDRESS RAYWF_CLUSTER_KEY=$tmp/a/head/key
cd work || exit 99

# What comes before a gang, and what lies beside the recipe, is on both nodes; what rank 0
# writes comes back, and what each rank prints.
mkdir sub
echo 'beside the recipe' >sub/near.txt
cat >tell.sh <<'S'
#!/bin/sh
echo "$RANK on $RAYWF_NODE: $(cat "$1") $(cat "$2") $(basename "$(pwd)")"
[ "$RANK" != 0 ] || echo "from $RAYWF_NODE" >o
S
chmod +x tell.sh
cat >r.yaml <<'Y'
recipe: raywf/v1
name: apart
tasks:
  first: {run: 'echo "made before" >f', outputs: {f: f}, resources: {cpu: 0.5}}
  g:
    gang: {ranks: 2, command: [./tell.sh, "${tasks.first.outputs.f}", "${inputs.near}"]}
    inputs: {near: sub/near.txt}
    outputs: {o: o}
    resources: {cpu: 1}
  after: {run: 'cat ${tasks.g.outputs.o} >o', outputs: {o: o}, resources: {cpu: 0.5}}
Y
run 0 raywf run r.yaml
run 0 raywf logs last tasks.g
for rank in 0 1; do
    ok "rank $rank finds its files" grep -q "^\[$rank\] $rank on [ab]: made before beside the recipe tasks.g" .out
done
ok 'on both nodes' test "$(grep -o 'on [ab]:' .out | sort -u | wc -l)" -eq 2
ok 'a log of each rank' grep -q '^1 on' .raywf/runs/last/steps/tasks.g/rank.1.log
run 0 raywf run r.yaml
says 'tasks.g  cached'

# A model is trained on both: the losses of one worker, and it goes on after a rank was killed.
. "$abs_top_srcdir/tests/t/train.sh"
cat >t.yaml <<'Y'
recipe: raywf/v1
name: ddp
params: {workers: 1, shard: none, epochs: 10}
datasets:
  iris: {read: {path: iris.csv}, split: {train: 0.8, test: 0.2, seed: 7}}
train:
  c:
    dataset: {train: "${datasets.iris.outputs.train}", val: "${datasets.iris.outputs.test}"}
    model: {type: mlp, target: species, hidden: [32, 32]}
    optimizer: {learning_rate: 0.01}
    global_batch_size: 32
    micro_batch_size: 8
    max_length: {epochs: "${params.epochs}"}
    checkpoint: {every: {steps: 20}}
    evaluate: {every: {steps: 20}}
    workers: "${params.workers}"
    shard: "${params.shard}"
    resources: {cpu: 1}
    retry: {max: 2, on: [signal], backoff: 0s}
Y
run 0 raywf run t.yaml --no-cache
losses "$(output train.c metrics)" >one
for shard in none full; do
    run 0 raywf run t.yaml --no-cache --param workers=2 --param shard="$shard"
    ok 'its workers are on both nodes' test "$(grep -o '"node": "[ab]"' .raywf/runs/last/steps/train.c/step.json | sort -u | wc -l)" -eq 2
    losses "$(output train.c metrics)" >two
    ok "shard: $shard: the losses of one worker" near two one 1e-5
done
has_step() { ls "$tmp"/[ab]/nodes/*/runs/*/root/runs/*/train/*/checkpoints/step-*/state.json >/dev/null 2>&1; }
raywf run t.yaml --no-cache --param workers=2 --param epochs=600 \
    --set 'train.c.model.hidden=[256,256]' --set train.c.checkpoint.every.steps=50 >/dev/null 2>../.e &
head=$!
until_ok has_step
kill -9 "$(rank_pid 1)"
wait $head
ok 'it succeeds all the same' test $? -eq 0
err=$(cat ../.e) command='raywf run, rank 1 killed'
says 'rank 1 of 2 on node'
says 'was killed by signal 9 (SIGKILL)'
run 0 raywf logs last train.c
has 'goes on after step'
finish
