#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Searches over a built-in model: stopped, held, cloned, killed, resumed.
. "$abs_top_srcdir/tests/t/lib.sh"
. "$abs_top_srcdir/tests/t/train.sh"

cat >r.yaml <<'Y'
recipe: raywf/v1
name: search
params: {trials: {type: int, default: 6}}
datasets:
  iris: {read: {path: iris.csv}, split: {train: 0.8, test: 0.2, seed: 7}}
train:
  c:
    dataset: {train: "${datasets.iris.outputs.train}", val: "${datasets.iris.outputs.test}"}
    model: {type: mlp, target: species, hidden: [16]}
    global_batch_size: 16
    max_length: {epochs: 9}
tune:
  s:
    target: train.c
    metric: val_loss
    mode: min
    space:
      train.c.optimizer.learning_rate: {type: loguniform, min: 1e-4, max: 0.3}
      train.c.model.hidden: {type: choice, values: [[8], [32, 32]]}
    algorithm: {type: random, seed: 1}
    scheduler: {type: asha, grace_period: 1, reduction_factor: 3}
    num_samples: ${params.trials}
tasks:
  use: {run: "ls ${tune.s}"}
  best: {run: "cat ${tune.s.outputs.best}"}
Y
bad()
{
    sed "$1" r.yaml >bad.yaml
    run 3 raywf check bad.yaml
    says "$2"
}
bad 's/train.c.optimizer.learning_rate/train.c.optimizer.lerning_rate/' "did you mean 'learning_rate'"
bad 's/train.c.optimizer/train.d.optimizer/' 'is no part of the target train.c'
bad 's/min: 1e-4, max: 0.3/min: 0, max: 0.3/' 'the logarithm'
bad 's/loguniform, min: 1e-4/uniform, min: -1/' 'must be above 0'
bad 's/\[32, 32\]/[wide]/' 'must be a whole number'
bad 's/metric: val_loss/metric: val_los/' "did you mean 'val_loss'"
bad 's/metric: val_loss/metric: perplexity/' 'never reports'
bad 's/asha, grace/asha, max_t: 27, grace/' 'the target ends after 9'

run 0 raywf run r.yaml
says 'search succeeded'
run 0 raywf logs last tasks.use
has 'model.safetensors'
run 0 raywf logs last tasks.best
has '"train.c.optimizer.learning_rate"'
run 0 raywf tune show
has 'tune.s  the lowest val_loss of 6 trials'
ok 'a stopped trial leaves its checkpoint' grep -q '"stopped":true' "$log"
ok 'and its metrics' grep -q '"type":"step.succeeded","step":"tune.s.*"checkpoint":.*"metrics":{"path".*"stopped":true' "$log"
ok 'the folders of trials are gone' test ! -e .raywf/runs/last/trials
run 0 raywf run r.yaml
ok 'the second run starts nothing' test -z "$(grep '"type":"step.started"' "$log" | grep -v tasks)"
run 0 raywf tune show last --best
grep -v 'outputs.best' .out >best.yaml
sed -i '/^  best:$/d' best.yaml
run 0 raywf run best.yaml
says '3 cached'

for scheduler in 'type: hyperband, reduction_factor: 3' \
    'type: asha, variant: promote, grace_period: 1, reduction_factor: 3' \
    'type: pbt, perturbation_interval: 2' 'type: median, grace_period: 3'; do
    sed "s/type: asha.*}/$scheduler}/" r.yaml >other.yaml
    case $scheduler in
    *pbt*) sed -i '/model.hidden/d' other.yaml ;;
    esac
    rm -rf .raywf
    run 0 raywf run other.yaml
    run 0 raywf tune show
    hasnt 'failed'
    # again, with kills
    ok "$scheduler comes to its end after kills" killed_often other.yaml
    ok 'every trial ended once' test "$(grep -c '"type":"step.\(succeeded\|cached\)","step":"tune.s\[' "$log")" -eq 6
    ok 'every trial began once' test "$(grep -c '"type":"trial.suggested"' "$log")" -eq 6
done
finish
