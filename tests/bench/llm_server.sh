#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# llm_server.sh [STREAMS]: what the server adds to the model, with a model so small that little
# else is left: time to the first token beyond the prefill, and the processor time of the thread
# that does HTTP, text and events, with STREAMS (1000) at once. Needs tests/bench/llm.
. "$(dirname "$0")/lib.sh"
streams=${1:-1000}
llm=${LLM:-$(dirname "$RAYWF")/tests/bench/llm}
ulimit -n "$(ulimit -Hn)"

# Words are most of its vocabulary, so that nearly every token is text, and an event.
"$llm" random tiny '{"type":"transformer","family":"qwen3","layers":1,"hidden_size":64,"heads":2,
    "kv_heads":1,"head_dim":32,"intermediate_size":64,"vocab_size":4000,"context":2048}' >/dev/null

port=$((20000 + $$ % 15000))
"$RAYWF" serve tiny --port $port --threads 1 --chat-template plain --max-num-seqs "$streams" \
    --max-num-batched-tokens 4096 --kv-cache-memory-bytes 1073741824 2>serve.err &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$dir"' EXIT
until grep -q 'ready after' serve.err; do kill -0 $server; sleep 0.05; done

bench()
{
    "$RAYWF" bench serve --port $port --tokenizer tiny --ignore-eos --format json "$@" >bench.json
}
# A number of bench.json: member NAME, then KEY behind it.
figure() { tr ',{' '\n\n' <bench.json | sed -n "/\"$1\"/,\$p" | sed -n "s/.*\"$2\":\([0-9.e+-]*\).*/\1/p" | head -n 1; }
# Sum and count of a histogram of /metrics.
metric() { curl -sS "http://127.0.0.1:$port/metrics" | sed -n "s/^vllm:$1{.*} //p"; }
# Processor time of the loop's thread, and of the whole process, in ticks.
ticks() { awk '{ print $14 + $15 }' "/proc/$server/task/$server/stat"; }
all_ticks() { awk '{ print $14 + $15 }' "/proc/$server/stat"; }

bench --num-prompts 20 --max-concurrency 1 --random-input-len 64 --random-output-len 2 # warm
for length in 16 512 1500; do
    sum=$(metric request_prefill_time_seconds_sum) count=$(metric request_prefill_time_seconds_count)
    bench --num-prompts 100 --max-concurrency 1 --random-input-len $length --random-output-len 2 \
        --seed $length
    awk -v t="$(figure ttft mean_ms)" -v m="$(figure ttft median_ms)" -v a="$sum" -v b="$count" \
        -v c="$(metric request_prefill_time_seconds_sum)" \
        -v d="$(metric request_prefill_time_seconds_count)" -v n=$length 'BEGIN {
        p = (c - a) / (d - b) * 1000
        printf "prompts of %d tokens: first token after mean %.3f ms (median %.3f), prefill %.3f ms: overhead %.3f ms (bar 2)\n",
            n, t, m, p, t - p }'
done

before=$(ticks) all=$(all_ticks)
bench --num-prompts "$streams" --random-input-len 16 --random-output-len 200
after=$(ticks) all_after=$(all_ticks)
awk -v a="$before" -v b="$after" -v c="$all" -v d="$all_after" -v hz="$(getconf CLK_TCK)" \
    -v s="$(figure duration duration)" -v n="$(figure total_output_tokens total_output_tokens)" \
    -v k="$streams" 'BEGIN {
    loop = (b - a) / hz
    printf "%d streams of 200 tokens: %.1f s, %.0f tokens/s; loop %.2f s of processor time (%.1f us a token), all of the server %.2f s\n",
        k, s, n / s, loop, loop / n * 1e6, (d - c) / hz
    printf "at 20 tokens/s each, %d streams cost the loop %.2f of a core (bar 1)\n", k, loop / n * k * 20 }'

awk 'BEGIN { for (i = 0; i < 20000; i++) printf "word%d and the like, ", i % 977 }' >text
printf '{"prompt":"%s"}' "$(cat text)" >tokenize.json
for _ in 1 2 3 4 5; do
    curl -sS -o /dev/null -w '%{time_total}\n' -H 'Content-Type: application/json' -H 'Expect:' \
        -d @tokenize.json "http://127.0.0.1:$port/tokenize"
done | median | awk -v n="$(stat -c %s text)" '{
    printf "/tokenize of %d bytes (bytes are tokens here): %.1f ms\n", n, $1 * 1000 }'
