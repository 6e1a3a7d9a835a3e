#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A language model from text: tokenizer, packing, perplexity, samples, and an adapter on top.
. "$abs_top_srcdir/tests/t/lib.sh"
. "$abs_top_srcdir/tests/t/train.sh"
cp -R "$abs_top_srcdir/recipes" . && chmod -R u+w recipes
export RAYWF_DIR=$tmp/.raywf

small="--set train.lm.resources.cpu=1 --set train.lm.model.hidden_size=32 --set train.lm.global_batch_size=8 --set checks.learned.than=500"
run 0 raywf run recipes/lm-tiny.yaml --param steps=50 $small
says 'perplexity='
run 0 raywf logs last train.lm
has 'sample: The old'
has 'sample: One day'
c=$(output train.lm checkpoint)
for file in model.safetensors config.json tokenizer.json; do
    ok "the checkpoint has $file" test -s "$c/$file"
done
ok 'it is a GPT-2' grep -q '"model_type": *"gpt2"' "$c/config.json"
ok 'a text ends as the tokenizer ends it' grep -q '"eos_token_id": *[0-9]' "$c/config.json"
losses "$(output train.lm metrics)" >one
if command -v mpirun >/dev/null; then
    run 0 raywf run recipes/lm-tiny.yaml --no-cache --param steps=50 --set train.lm.workers=2 \
        --set train.lm.shard=full $small
    losses "$(output train.lm metrics)" >two
    ok 'two workers, all sharded: the losses of one' near two one 2e-3
else
    skip 'two workers' 'there is no mpirun'
fi

# It starts from the checkpoint of another entry, whose tokenizer it keeps.
cat >more.yaml <<Y
recipe: raywf/v1
train:
  more:
    dataset: {train: $tmp/text.jsonl}
    model: {type: transformer, from: $c}
    sequence_length: 16
    global_batch_size: 4
    max_length: {steps: 2}
Y
for i in $(seq 60); do echo '{"text": "The old fox was glad."}'; done >text.jsonl
run 0 raywf run more.yaml
ok 'the tokenizer is the same' cmp "$c/tokenizer.json" "$(output train.more checkpoint)/tokenizer.json"

# What is wrong with the data is said with its name.
run 6 raywf run more.yaml --set train.more.model.text=story
says 'story'
says 'text'
run 6 raywf run more.yaml --set train.more.global_batch_size=4000
says 'lower global_batch_size or sequence_length'
run 6 raywf run more.yaml --set train.more.model.from=nowhere
says 'nowhere'
finish
