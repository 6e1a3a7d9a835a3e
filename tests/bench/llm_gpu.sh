#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Inference on one GPU, with made-up weights: tests/bench/llm_gpu.sh [step] [serve]. step: the model
# alone, one request and 32; serve: the whole server, nano-vllm's load (256 requests, lengths uniform
# from 100 to 1,024) on Qwen3-0.6B, and 1,000 requests of 1,000 and 200 tokens on Qwen3-14B.
. "$(dirname "$0")/lib.sh"

build=$(dirname "$RAYWF")
: "${RAYWF_CUDA:=$build/raywf-cuda.so}"
export RAYWF_CUDA
[ -e /dev/nvidiactl ] && [ -e "$RAYWF_CUDA" ] || {
    echo "SKIP: no NVIDIA GPU, or no $RAYWF_CUDA"
    exit 77
}
llm=$build/tests/bench/llm
[ -x "$llm" ] || make -s -C "$build" tests/bench/llm
dir=$(mktemp -d) port=$((20000 + $$ % 10000)) pid=
trap 'kill $pid 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
parts=${*:-step serve}

for size in 0.6b 8b 14b; do "$llm" random "$dir/$size" qwen3-$size empty; done >/dev/null
"$llm" random "$dir/32b-awq" qwen3-32b awq empty >/dev/null

step()
{
    echo "== $*"
    "$llm" step "$dir/$1" device=cuda dummy "${@:2}"
}
case $parts in *step*)
    step 0.6b prompt=16 batch=1 steps=100
    step 0.6b prompt=128 batch=1 steps=256
    step 0.6b prompt=128 batch=2 steps=128
    step 8b prompt=256 batch=1 steps=128
    step 14b prompt=2048 batch=1 steps=64
    step 14b prompt=512 batch=32 steps=64
    step 32b-awq prompt=256 batch=1 steps=64
    step 32b-awq prompt=2048 batch=2 steps=16
    ;;
esac

load()
{
    "$RAYWF" bench serve --port "$port" --tokenizer "$dir/$size" --ignore-eos "$@"
}
# serve SIZE LENGTH: until it is ready, and warm
serve()
{
    size=$1
    "$RAYWF" serve "$dir/$size" --load-format dummy --port "$port" --served-model-name m \
        --max-model-len "$2" 2>"$dir/log" &
    pid=$!
    until grep -q 'ready after' "$dir/log"; do
        kill -0 $pid || { cat "$dir/log"; exit 1; }
        sleep 0.1
    done
    grep 'ready after' "$dir/log"
    load --num-prompts 8 --random-input-len 128 --random-output-len 16 >/dev/null
}
unserve()
{
    kill $pid
    wait $pid
}
case $parts in *serve*)
    serve 0.6b 4096
    load --num-prompts 50 --random-input-len 128 --random-output-len 64 --max-concurrency 1
    load --num-prompts 256 --random-input-len 562 --random-output-len 562 \
        --random-range-ratio 0.82
    unserve
    serve 14b 2048
    load --num-prompts 1000 --random-input-len 1000 --random-output-len 200
    unserve
    ;;
esac
