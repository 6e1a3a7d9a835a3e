#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A built-in model from a table to a checkpoint: what it gives, what is repeated and what is not.
. "$abs_top_srcdir/tests/t/lib.sh"
. "$abs_top_srcdir/tests/t/train.sh"

cat >r.yaml <<'Y'
recipe: raywf/v1
name: mlp
params: {epochs: 8}
datasets:
  iris: {read: {path: iris.csv}, split: {train: 0.8, test: 0.2, seed: 7}}
train:
  c:
    dataset: {train: "${datasets.iris.outputs.train}", val: "${datasets.iris.outputs.test}"}
    model: {type: mlp, target: species, hidden: [16], dropout: 0.1}
    optimizer: {learning_rate: 0.02}
    global_batch_size: 32
    max_length: {epochs: "${params.epochs}"}
    tensorboard: true
    checkpoint: {every: {steps: 40}}
    evaluate: {every: {steps: 16}}
tasks:
  use: {run: "cat ${train.c}/config.json ${train.c.outputs.metrics}"}
checks:
  good: {value: "${train.c.metrics.val_accuracy}", than: 0.8}
Y
run 0 raywf run r.yaml
says 'mlp succeeded'
says 'train.c.metrics.val_accuracy ='
says 'curves'
run 0 raywf logs last train.c
has '1 worker on the CPU, fp32: 32 steps, 4 in an epoch; global batch 32 = 1 worker x 32 rows x 1 accumulated'
run 0 raywf logs last tasks.use
has '"model_type"'
has '"step":32,'
c=$(output train.c checkpoint)
for file in model.safetensors config.json preprocess.json; do
    ok "the checkpoint has $file" test -s "$c/$file"
done
ok 'TensorBoard has its file' ls "$(output train.c tensorboard)"/events.out.tfevents.*
ok 'what attempts share is gone' test -z "$(ls -A .raywf/runs/last/train)"
run 0 raywf status
has 'val_loss'
run 0 raywf report -o report.html
ok 'the report has the curves' grep -q 'val_loss' report.html
losses "$(output train.c metrics)" >first

# The same again: nothing. Another length: only what depends on it. And why.
run 0 raywf run r.yaml
says 'train.c  cached'
run 0 raywf why train.c
run 0 raywf run r.yaml --param epochs=9
says 'datasets.iris  cached'
run 0 raywf why train.c
has 'max_length.epochs'
# The same result, trained anew.
run 0 raywf run r.yaml --no-cache
losses "$(output train.c metrics)" >again
ok 'the same seed gives the same losses' cmp first again

# The run is killed, and goes on from the newest checkpoint: the same losses as undisturbed.
long='--param epochs=600 --set train.c.model.hidden=[256,256]'
run 0 raywf run r.yaml --no-cache $long
losses "$(output train.c metrics)" >whole
raywf run r.yaml --no-cache $long >/dev/null 2>&1 &
head=$!
ok 'a checkpoint is there' until_ok has_checkpoint
kill -9 $head
wait $head 2>/dev/null
ok 'nothing outlives it' until_ok no_ranks
run 0 raywf resume
says 'mlp succeeded'
losses "$(output train.c metrics)" >resumed
ok 'resumed: the same losses' cmp whole resumed

# A regression, a linear model, and a program that stops: TERM is a checkpoint, too.
sed 's/target: species, hidden: \[16\], dropout: 0.1/target: [sepal_width], task: regression, hidden: []/; /checks/,$d' \
    r.yaml >reg.yaml
run 0 raywf run reg.yaml
says 'val_r2='
raywf run r.yaml --no-cache --param epochs=100000 >/dev/null 2>.err &
head=$!
until_ok has_checkpoint
kill -TERM $head
wait $head
ok 'stopped by request' test $? -eq 9
run 0 raywf logs last train.c
has 'with a checkpoint'
finish
