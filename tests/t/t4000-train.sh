#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Mistakes in train entries: found by raywf check, each at its place, with what to do.
. "$abs_top_srcdir/tests/t/lib.sh"

# entry YAML: a recipe with one train entry, whose body is given as a flow map's inside.
entry()
{
    printf 'recipe: raywf/v1\ntrain:\n  t: {%s}\n' "$1" >e.yaml
}

data='dataset: {train: d.csv, val: v.csv}'
only='dataset: {train: d.csv}'
mlp="$data, model: {type: mlp, target: y}"
lm="$data, tokenizer: {type: bpe}, model: {type: transformer, family: gpt2, layers: 1, hidden_size: 8, heads: 2}"

# wrong BODY CODE MESSAGE [HINT]
wrong()
{
    entry "$1"
    run 3 raywf check e.yaml
    says "e.yaml:3:"
    says "[$2]"
    says "$3"
    [ $# -lt 4 ] || says "$4"
}

# What is right is said to be.
for good in "$mlp" "$lm" "$data, command: [./t]" "$only, run: ./t, workers: 4" \
    "$data, tokenizer: {path: t.json}, model: {type: transformer, preset: qwen3-0.6b}, sequence_length: 2048" \
    "$only, model: {type: transformer, from: m, adapter: {type: lora}}" \
    "$mlp, early_stopping: {metric: val_accuracy, mode: max}" \
    "$only, model: {type: mlp, target: [a, b], task: regression}, checkpoint: {metric: loss}"; do
    entry "$good"
    run 0 raywf check e.yaml
done

# One of model, command, run; keys and values that do not exist.
wrong "$data" E0108 "needs one of 'model', 'command' or 'run'"
wrong "$mlp, command: [x]" E0108 "has 'model' and 'command', which exclude each other"
wrong "$mlp, optimiser: {}" E0101 "unknown key 'optimiser'" "did you mean 'optimizer'"
wrong "$data, model: {type: mpl, target: y}" E0104 'mlp, transformer' "did you mean 'mlp'"
wrong "$data, model: {type: mlp, target: y, activation: rellu}" E0104 'relu' "did you mean 'relu'"
wrong "$mlp, optimizer: {type: adam}" E0104 'sgd, adamw, lion' "did you mean 'adamw'"
wrong "$data, tokenizer: {type: bpe}, model: {type: transformer, preset: gpt2-124}" E0104 'gpt2-124m' "did you mean 'gpt2-124m'"
wrong "$mlp, schedule: {type: cosin}" E0104 'cosine' "did you mean 'cosine'"
wrong "$mlp, precision: fp16" E0104 'fp32, bf16'
wrong "$mlp, global_batch_size: 0" E0105 'global_batch_size'
wrong "$mlp, optimizer: {betas: [0.9]}" E0109 'betas'
wrong "$mlp, optimizer: {betas: [0.9, 1.5]}" E0105 'betas'
wrong "$mlp, optimizer: {learning_rate: -1}" E0105 'learning_rate'
wrong "$mlp, schedule: {warmup: {steps: 1, fraction: 0.1}}" E0108 "has 'steps' and 'fraction'"
wrong "$mlp, max_length: {epochs: 1, steps: 5}" E0108 "has 'epochs' and 'steps'"
wrong "$mlp, max_length: 5" E0102 'max_length must be a map'
wrong "$mlp, early_stopping: {mode: maximum}" E0104 'min, max'
wrong "$mlp, heartbeat: 60" E0111 'heartbeat'
wrong "$data, tokenizer: {}, model: {type: transformer, preset: gpt2-124m}" E0108 "needs one of 'type' or 'path'"

# Keys that do not go together.
wrong "model: {type: mlp, target: y}" E0307 'needs a dataset' 'dataset: {train:'
wrong "$data, model: {type: mlp}" E0307 "lacks the key 'target'"
wrong "$data, model: {type: mlp, target: y, layers: 3}" E0307 'layers means nothing to an mlp' 'hidden: [64, 64]'
wrong "$data, model: {type: mlp, target: y, features: [a, y]}" E0307 "features has the target 'y'"
wrong "$data, model: {type: mlp, target: y, features: [a], categorical: [b]}" E0307 "categorical names 'b'"
wrong "$data, model: {type: mlp, target: [y, z]}" E0307 'one target' 'task: regression'
wrong "$data, model: {type: mlp, target: y, task: regression, class_weights: balanced}" E0307 'task: classification'
wrong "$mlp, sequence_length: 8" E0307 'sequence_length means nothing to an mlp'
wrong "$mlp, max_length: {tokens: 8}" E0307 'tokens means nothing to an mlp' 'epochs'
wrong "$data, tokenizer: {type: bpe}, model: {type: transformer, hidden: [3], preset: gpt2-124m}" E0307 'hidden means nothing'
wrong "$data, tokenizer: {type: bpe}, model: {type: transformer}" E0307 'one of preset, family and from'
wrong "$data, tokenizer: {type: bpe}, model: {type: transformer, preset: gpt2-124m, family: gpt2}" E0307 'both say what the model is'
wrong "$data, tokenizer: {type: bpe}, model: {type: transformer, preset: gpt2-124m, layers: 3}" E0307 'given by the preset'
wrong "$data, tokenizer: {type: bpe}, model: {type: transformer, family: gpt2, layers: 1, hidden_size: 10, heads: 3}" E0307 'do not divide hidden_size'
wrong "$data, tokenizer: {type: bpe}, model: {type: transformer, family: gpt2, layers: 1, hidden_size: 8}" E0307 "lacks the key 'heads'"
wrong "$data, tokenizer: {type: bpe}, model: {type: transformer, family: qwen3, layers: 1, hidden_size: 8, heads: 4, kv_heads: 3}" E0307 'kv_heads do not divide'
wrong "$data, tokenizer: {type: bpe}, model: {type: transformer, family: gpt2, layers: 1, hidden_size: 8, heads: 4, kv_heads: 2}" E0307 'not of gpt2' 'family: qwen3'
wrong "$data, model: {type: transformer, preset: gpt2-124m}" E0307 'there is no tokenizer' 'type: bpe'
wrong "$data, tokenizer: {path: t.json, vocab_size: 300}, model: {type: transformer, preset: gpt2-124m}" E0307 'vocab_size is that of the file'
wrong "$data, tokenizer: {type: bpe}, model: {type: transformer, preset: gpt2-124m, adapter: {type: lora}}" E0307 'no from'
wrong "$data, tokenizer: {type: bpe}, sequence_length: 2000, model: {type: transformer, preset: gpt2-124m}" E0307 'longer than the model'
wrong "$mlp, workers: 3" E0307 '3 workers do not divide the global batch of 64' 'global_batch_size: 63'
wrong "$mlp, global_batch_size: 64, micro_batch_size: 24, workers: 2" E0307 'micro batches of 24' 'global_batch_size: 48'
wrong "$mlp, schedule: {type: cosine, warmup: {steps: 50}}, max_length: {steps: 10}" E0307 'longer than the training'
wrong "$mlp, schedule: {final: 0.1}" E0307 'goes with a rate that falls' 'cosine'
wrong "$mlp, optimizer: {type: sgd, betas: [0.9, 0.9]}" E0307 'betas means nothing to sgd'
wrong "$mlp, optimizer: {type: adamw, momentum: 0.9}" E0307 'momentum means nothing to adamw'
wrong "$only, model: {type: mlp, target: y}, early_stopping: {}" E0307 'needs validation rows' 'dataset: {val'
wrong "$only, model: {type: mlp, target: y}, evaluate: {batches: 2}" E0307 'needs validation rows'
wrong "$only, model: {type: mlp, target: y}, checkpoint: {metric: val_loss}" E0307 'there are none'
wrong "$mlp, early_stopping: {metric: val_r2}" E0307 'no val_r2'
wrong "$lm, early_stopping: {metric: val_accuracy}" E0307 'no val_accuracy'
wrong "$mlp, checkpoint: {metric: val_loss, mode: max}" E0307 'smaller is the better'
wrong "$mlp, shard: full" E0307 'one worker' 'workers: 2'
wrong "$mlp, device: cpu, resources: {gpu: 1}" E0307 'asks for 1 GPU and would train on the CPU'
wrong "$mlp, device: cuda" E0307 'needs a GPU' 'resources: {gpu: 1}'
wrong "$mlp, resources: {gpu: 2}" E0307 'one GPU, not on 2' 'workers'
wrong "$mlp, workers: 2, resources: {gpu: 0.5}" E0307 'a whole GPU each'
wrong "$mlp, resources: {ranks: 2}" E0307 'ranks is said by workers'
wrong "$mlp, outputs: {m: m}" E0307 'outputs goes with command or run'
wrong "$data, run: x, optimizer: {}, outputs: {m: ../m}" E0304 'no path beneath'
wrong "$data, run: x, global_batch_size: 8" E0307 'global_batch_size is for built-in models'
wrong "$only, run: 'x \${dataset.val}'" E0202 "no 'val' in dataset"
wrong "$only, run: 'x \${dataset.trian}'" E0202 "did you mean 'train'"

# References are values by the time of the plan; what does not go together is told then.
printf 'recipe: raywf/v1\nparams: {n: 3}\ntrain:\n  t: {%s, workers: "${params.n}", resources: {cpu: 0.5}}\n' "$mlp" >e.yaml
printf 'y\n1\n' >d.csv
cp d.csv v.csv
run 0 raywf check e.yaml
run 3 raywf plan e.yaml
says 'e.yaml:4:'
says '3 workers do not divide the global batch of 64'
run 0 raywf plan e.yaml --param n=2
has 'for each of 2 ranks'
has 'global batch 64 = 2 workers x 32 x 1 accumulated'
run 5 raywf plan e.yaml --param n=64
says 'asks for 64 ranks, 1 node holds'
says 'lower train.t.workers'

# The plan derives what follows from the batch sizes, and counts parameters.
entry "$data, tokenizer: {path: t.json}, model: {type: transformer, preset: gpt2-124m}, workers: 2, micro_batch_size: 8, precision: bf16, shard: optimizer, resources: {cpu: 0.5}"
echo '{}' >t.json
run 0 raywf plan e.yaml
has 'global batch 64 = 2 workers x 8 x 4 accumulated'
has '124.4 M parameters'
entry "$data, tokenizer: {type: bpe, vocab_size: 300}, model: {type: transformer, preset: qwen3-32b}"
run 0 raywf plan e.yaml
has '31.2 B parameters'

# What the key is made of: how it is trained is no part of it, what is trained is.
entry "$mlp"
run 0 raywf plan e.yaml -o p1.json
key() { sed -n 's/.*"key":"\([0-9a-f]*\)".*/\1/p' "$1" | head -n 1; }
for how in train.t.workers=2 train.t.micro_batch_size=32 train.t.heartbeat=5s train.t.resources.cpu=2 \
    train.t.seed=1 train.t.schedule.type=constant train.t.retry=3; do
    run 0 raywf plan e.yaml -o p2.json --set "$how"
    ok "$how is no part of the key" test "$(key p1.json)" = "$(key p2.json)"
done
for what in train.t.seed=2 train.t.global_batch_size=32 train.t.optimizer.type=sgd \
    train.t.model.hidden=[8] train.t.precision=bf16; do
    run 0 raywf plan e.yaml -o p2.json --set "$what"
    ok "$what is part of the key" test "$(key p1.json)" != "$(key p2.json)"
done
printf '2\n' >>v.csv
run 0 raywf plan e.yaml -o p2.json
ok 'the content of the dataset is part of the key' test "$(key p1.json)" != "$(key p2.json)"

run 0 raywf explain 'train.*.optimizer.type'
has adamw
run 0 raywf explain E0307
finish
