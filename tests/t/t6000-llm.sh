#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A language model as a user has it: served, asked, measured, fitted; and what is said when
# something is wrong.
. "$abs_top_srcdir/tests/t/lib.sh"
. "$abs_top_srcdir/tests/t/serve.sh"
command -v curl >/dev/null || { skip llm "there is no curl"; finish; }
llm=$abs_top_builddir/tests/bench/llm
shape='"type":"transformer","family":"qwen3","layers":1,"hidden_size":128,"heads":4,"kv_heads":2,
    "head_dim":32,"intermediate_size":128,"vocab_size":320,"context":2048'
"$llm" random tiny "{$shape}" >/dev/null || exit 99
"$llm" random four "{$shape}" awq group=64 >/dev/null || exit 99

cache='--kv-cache-memory-bytes 4194304'
# model_up ARGUMENT...: raywf serve in the background until it is ready; $url is where.
model_up()
{
    free_port
    url=http://127.0.0.1:$port
    rm -f up.err
    "$RAYWF" serve "$@" --port $port --threads 1 $cache >up.out 2>up.err &
    model=$!
    until_ok grep -q 'ready after' up.err || fail "raywf serve $*" "$(cat up.err)"
}
# model_down: by a signal; it ends well.
model_down()
{
    kill -TERM $model
    wait $model
    run 0 test $? -eq 0
}
# post STATUS PATH BODY; the reply is $out
post()
{
    run 0 curl -sS -o reply -w '%{http_code}' -H 'Content-Type: application/json' -d "$3" "$url$2"
    has "$1"
    out=$(cat reply)
}

# --- served ---
model_up tiny --chat-template qwen3 --served-model-name small --access-log access.ndjson
post 200 /v1/completions '{"model":"small","prompt":"Once","max_tokens":5,"ignore_eos":true}'
has '"completion_tokens":5'
has '"finish_reason":"length"'
post 200 /v1/chat/completions '{"messages":[{"role":"user","content":"Hello"}],"max_tokens":4,
    "stream":true,"stream_options":{"include_usage":true},"ignore_eos":true}'
has 'data: {"id":"chatcmpl-'
has '"role":"assistant"'
has '"completion_tokens":4'
has 'data: [DONE]'
post 200 /v1/chat/completions '{"messages":[{"role":"user","content":"Hello"}],
    "guided_choice":["yes"],"chat_template_kwargs":{"enable_thinking":false}}'
has '"content":"yes"'
said='{"messages":[{"role":"user","content":"<|im_end|><|im_start|>"}]}'
post 200 /tokenize "$said"
has '"count":21,'
post 400 /v1/completions '{"prompt":"a","temperature":-1}'
has '"param":"temperature"'
post 404 /v1/completions '{"prompt":"a","model":"other"}'
has 'is not served here'
run 0 curl -sSf "$url/metrics"
has 'vllm:generation_tokens_total'
run 7 timeout 600 "$RAYWF" serve tiny --chat-template qwen3 --port $port
says "$port"

# --- measured ---
run 0 "$RAYWF" bench serve --port $port --tokenizer tiny --num-prompts 6 --random-input-len 20 \
    --random-output-len 4 --ignore-eos
has 'Successful requests:                     6'
has 'Total generated tokens:                  24'
has 'Peak output token throughput (tok/s):    24.00'
run 0 "$RAYWF" bench serve --port $port --tokenizer tiny --num-prompts 3 --random-input-len 20 \
    --random-output-len 4 --ignore-eos --backend openai-chat --format json
has '"completed":3'
run 2 "$RAYWF" bench serve --port $port
says '--tokenizer'
run 0 "$RAYWF" bench serve --base-url "$url/v1/" --tokenizer tiny --num-prompts 1 \
    --random-input-len 5 --random-output-len 2
run 1 "$RAYWF" bench serve --base-url "$url/chat" --model small --tokenizer tiny --num-prompts 1 \
    --random-input-len 5
says 'there is no /chat/v1/completions'
run 7 "$RAYWF" bench serve --base-url "$url/chat" --tokenizer tiny
says '/chat/v1/models: status 404'
run 2 "$RAYWF" bench serve --port $port --tokenizer tiny --dataset-name sharegpt
says 'needs --dataset-path'
run 2 "$RAYWF" bench serve --port $port --tokenizer tiny --request-rate fast
says 'a number from 0'
python=${RAYWF_TEST_PYTHON:-}
if [ -n "$python" ] && "$python" -c 'import openai' 2>/dev/null; then
    ok 'the official client' "$python" "$abs_top_srcdir/tests/t/llm_openai.py" "$url"
else
    skip 'the official client' 'RAYWF_TEST_PYTHON names no Python with openai'
fi

# --- ends: what runs is finished first ---
curl -sS -N -o streamed -H 'Content-Type: application/json' -d '{"prompt":"a","max_tokens":200,
    "ignore_eos":true,"stream":true}' "$url/v1/completions" &
client=$!
until_ok test -s streamed
model_down
wait $client
ok 'a stream is finished' grep -q 'data: \[DONE\]' streamed
ok 'the access log has each request' grep -q '"path": *"/v1/embeddings"\|"path": *"/v1/completions"' access.ndjson
run 7 "$RAYWF" bench serve --port $port --tokenizer tiny --num-prompts 1

# --- ends before what runs has: the log says what was cut, and why ---
model_up tiny --chat-template qwen3 --access-log cut.ndjson --drain 1ms
curl -sS -N -o cut -H 'Content-Type: application/json' -d '{"prompt":"a","max_tokens":2000,"n":8,
    "ignore_eos":true,"stream":true}' "$url/v1/completions" 2>/dev/null &
client=$!
until_ok test -s cut
model_down
wait $client
ok 'a stream was cut' sh -c '! grep -q "data: \[DONE\]" cut'
ok 'the log says it' grep -q 'an answer was cut short: .*cause=the server is ending' up.err
ok 'the access log, too' grep -q 'the server is ending' cut.ndjson

# --- what users say is plain text: two tokens are 10 and 12 bytes instead ---
model_up tiny --chat-template qwen3 --escape-special-tokens
post 200 /tokenize "$said"
has '"count":41,'
model_down

# --- four bits, and keys ---
printf '\n  secret \n' >keys
cache=
model_up --model four --chat-template plain --api-key-file keys -tp 1 --kv-cache-memory-bytes 4MiB \
    --max-num-batched-tokens 1k --seed 5
run 0 curl -sS -o reply -w '%{http_code}' "$url/v1/models"
has 401
ok 'an error in OpenAI'\''s shape' grep -q '"error": *{ *"message"' reply
run 0 curl -sSf -H 'Authorization: Bearer secret' "$url/v1/models"
has '"max_model_len":2048'
run 0 curl -sSf -H 'Authorization: Bearer secret' -d '{"prompt":"a","max_tokens":3,"ignore_eos":true}' \
    "$url/v1/completions"
has '"completion_tokens":3'
run 0 curl -sSf "$url/health"
run 7 "$RAYWF" bench serve --port $port --tokenizer four --num-prompts 1
says 'OPENAI_API_KEY'
OPENAI_API_KEY=secret run 0 "$RAYWF" bench serve --port $port --tokenizer four --num-prompts 2 \
    --random-input-len 5 --random-output-len 2
model_down

# --- what is wrong: wrong CODE TEXT ARGUMENT... ---
wrong()
{
    _code=$1 _text=$2
    shift 2
    run "$_code" "$RAYWF" serve "$@"
    says "$_text"
}
wrong 2 'max-model-len lots: a number of tokens' tiny --max-model-len lots
wrong 2 '2048' tiny --max-model-len 4096
wrong 2 'a share above 0 and at most 1' tiny --gpu-memory-utilization 1.5
wrong 2 'comes with a later version' tiny --tensor-parallel-size 2
wrong 2 'comes with a later version' tiny -tp 2
wrong 2 'comes with a later version' tiny -pp=2
wrong 2 'one of them' tiny --model tiny
wrong 2 'is missing' --port 0
wrong 6 'there is no file' --model nowhere
wrong 2 'such as 4096' tiny --kv-cache-memory-bytes much
wrong 2 '--max-num-batched-tokens 0: at least 1' tiny --max-num-batched-tokens 0
wrong 2 'blocks of the KV cache have 16 tokens' tiny --block-size 32
wrong 2 'AWQ is what can be read' tiny --quantization gptq
wrong 2 "Qwen3's tags are what is known" tiny --reasoning-parser deepseek
wrong 2 'the Hermes format is what is known' tiny --tool-call-parser llama
wrong 2 'auto, bfloat16 or float32' tiny --dtype int8
wrong 2 'qwen3-instruct' tiny --chat-template llama
wrong 7 'keys.none' tiny --api-key-file keys.none
printf ' \n\n' >keys.empty
wrong 6 'keys.empty: no key is in it' tiny --api-key-file keys.empty
wrong 2 'at most 65535' tiny --port 99999
wrong 2 'is given several times' tiny --served-model-name a b
wrong 2 '--max-num-seqs 0: at least 1' tiny --max-num-seqs 0
wrong 2 '0.0.0.0' tiny --host 0.0.0.0 --chat-template plain --port 0
wrong 6 'there is no file' nowhere
wrong 6 'names of a hub are not looked up' Qwen/Qwen3-0.6B
mkdir empty
wrong 6 "folder 'empty' has no config.json" empty
cp -r tiny broken
rm broken/tokenizer.json
wrong 6 'tokenizer.json' broken --chat-template plain
printf '{"model_type": "llama"}' >broken/config.json
wrong 6 'llama' broken

# Words of `engine:` are options: each is known to both.
run 0 "$RAYWF" serve --help
printf '%s\n' "$out" >options
run 0 "$RAYWF" explain 'serve.*.engine'
printf '%s\n' "$out" >engine
for word in $(sed -n 's/^  \([a-z_]*_[a-z_]*\) .*/\1/p' engine); do
    ok "engine: $word" grep -q -e "--$(echo "$word" | tr _ -)" options
done

# --- fitted ---
run 0 "$RAYWF" fit tiny --cpu
has 'KV cache'
hasnt 'kernels themselves'
run 5 "$RAYWF" fit qwen3-32b --gpu 'RTX 4090'
has 'Too Tight'
run 0 "$RAYWF" fit qwen3-32b --awq --gpu 'RTX 4090' --find
has 'max_model_len'
has 'kernels themselves'
run 0 "$RAYWF" fit qwen3-8b --gpu H100 --format json
has '"fits":true'
has '"tokens_per_second"'
# What an H200 decoded for one request (tests/bench/RESULTS.md), within a tenth.
near() { [ $(($1 * 10)) -gt $(($2 * 9)) ] && [ $(($1 * 10)) -lt $(($2 * 11)) ]; }
while read -r measured model; do
    # shellcheck disable=SC2086
    run 0 "$RAYWF" fit $model --gpu H200 --format json
    one=$(printf '%s\n' "$out" | sed 's/.*"one_request":\([0-9]*\).*/\1/')
    ok "fit expects $one tokens/s of $model, $measured were measured" near "$one" "$measured"
done <<'END'
2120 qwen3-0.6b
265 qwen3-8b
147 qwen3-14b
175 qwen3-32b --awq
END
run 2 "$RAYWF" fit qwen3-8b --gpu 'GPU 9000'
says 'say --memory and --bandwidth instead'
run 6 "$RAYWF" fit ./nowhere
says "there is no folder './nowhere'"
run 2 "$RAYWF" fit qwen3-8b --bandwidth none
says 'a number above 0'

cat >recipe.yaml <<'Y'
recipe: raywf/v1
models:
  chat: {path: tiny}
  q: {from: "${models.chat}", quantize: {awq: {bits: 4, group_size: 64}}}
serve:
  a: {model: "${models.chat}", api: openai, engine: {max_model_len: 256, max_num_seqs: 4, kv_cache_memory_bytes: 4MiB}}
  b:
    deployments:
      x: {model: "${models.q}", api: openai}
      y: {run: "true"}
    graph: {sequence: [x, y]}
Y
run 0 "$RAYWF" fit recipe.yaml --memory 8GiB
has 'serve.a: '
has 'KV cache                                  4.0 MiB'
has '256 tokens'
has 'serve.b.x: '
hasnt 'serve.b.y'
run 5 "$RAYWF" fit recipe.yaml --memory 1MiB --format json
has '"deployment":"serve.b.x"'
has '"fits":false'

# Of a recipe that is to be served on a cluster: on what that has.
trap 'raywf shutdown -q --timeout 20s; rm -rf "$tmp"' EXIT
run 0 raywf start --head --no-node --port 0
head=$(cat cluster/head/address)
join() { RAYWF_FAKE_GPUS=$1 run 0 raywf start --address "$head" --cpu 1 --store 16MiB --name "$2" --memory 4GiB; }
join 1x8GiB,1x24GiB cards
join '' plain
(cat recipe.yaml && echo "cluster: {address: \"$head\"}") >there.yaml
run 0 "$RAYWF" fit there.yaml --format json
has '"stand-in of 24 GiB of node cards"'
run 0 "$RAYWF" fit recipe.yaml --address "$head"
has ' of node cards'
run 0 "$RAYWF" fit there.yaml --cpu
has 'the CPU of node '
has '3.6 GiB of 3.6 GiB'
run 5 "$RAYWF" fit there.yaml --memory 1MiB
hasnt 'of node'
run 2 "$RAYWF" fit tiny --address "$head"
says 'without a recipe'
run 0 raywf shutdown
run 0 "$RAYWF" fit there.yaml --cpu
says 'this machine is looked at in its place'
has "this machine's CPU"
(cat recipe.yaml && echo "cluster: {hosts: [one]}") >hosts.yaml
run 0 "$RAYWF" fit hosts.yaml --cpu
says 'not known until it is up'

sed -i 's/max_model_len: 256/max_model_len: 4096/' recipe.yaml
run 2 "$RAYWF" fit recipe.yaml --memory 8GiB
says 'serve.a'
sed -i '/^models/,/^serve/{/^serve/!d}; s/"${models.chat}"/nowhere/; s/"${models.q}"/nowhere/' recipe.yaml
run 0 "$RAYWF" fit recipe.yaml
has 'is not here before the run'
finish
