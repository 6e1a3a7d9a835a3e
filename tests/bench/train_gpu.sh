#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Training GPT-2 124M on GPUs, whole: bf16, sequences of 1024, 64 of them on each GPU in one
# micro batch, AdamW, clipping, a checkpoint on the way.
#
#   train_gpu.sh [GPUS]     GPUS: "1" (the default) or "1 2"
#
# RANK and TOOL name raywf-rank and the tool of train.c where they are not in build/. Bars on
# one H200: 536,000 tokens/s (PyTorch compiled); two GPUs 1.95 times one; data_wait below 0.01;
# the step with the checkpoint at most twice as long as the others.
set -eu
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
rank=${RANK:-$top/build/raywf-rank}
tool=${TOOL:-$top/build/tests/bench/train}
dir=$(mktemp -d "${TMPDIR:-/tmp}/raywf-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
"$tool" tokens "$dir"

# run NAME GPUS STEPS SHARD SAVE_EVERY: its lines of metrics.
run()
{
    "$tool" gpt2 "$dir" "$1" $((64 * $2)) "$3" 64 "$4" "$5"
    if [ "$2" = 1 ]; then
        "$rank" train "$dir/$1/job.json" >"$dir/$1.out" 2>"$dir/$1.err" || tail "$dir/$1.err"
    else
        mpirun -n "$2" --oversubscribe --bind-to none "$rank" train "$dir/$1/job.json" \
            >"$dir/$1.out" 2>"$dir/$1.err" || tail "$dir/$1.err"
    fi
    cat "$dir/$1.out"
    grep -v '^  ' "$dir/$1.err" || true
    [ "$5" = 0 ] && tail -n 1 "$dir/$1/work/metrics.jsonl" || cat "$dir/$1/work/metrics.jsonl"
    rm -rf "${dir:?}/$1/checkpoints"
}

for gpus in ${1:-1}; do
    echo "--- $gpus GPU"
    run "steady$gpus" "$gpus" 60 none 0
    echo "--- $gpus GPU, a checkpoint every 20 steps"
    run "saved$gpus" "$gpus" 60 none 20
    [ "$gpus" = 1 ] && continue
    for shard in optimizer full; do
        echo "--- $gpus GPUs, shard: $shard"
        run "$shard$gpus" "$gpus" 40 "$shard" 0
    done
done
