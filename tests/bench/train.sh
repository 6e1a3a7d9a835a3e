#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Training on the CPU: an MLP 784-128-10 in fp32 on 60,000 rows, AdamW, data read and shuffled
# as in any training.
#
#   train.sh [PYTHON]    PYTHON: one that has PyTorch, measured in the same run
#
# Batch 64 with one thread computing, while that of the batches has another core (bars: 60 % of
# the core's FMA peak of the same run, twice PyTorch); batch 256 on one rank and on two, each
# with all its threads on a core of its own (bar: 1.8 times).
#
# On a machine that others use: PAUSE=1 chrt -f 1 train.sh. The pause before each training keeps
# the kernel from throttling such processes, which takes 5 % of each second.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
python=${1:-}
rank=$(dirname "$RAYWF")/raywf-rank
tool=$(dirname "$RAYWF")/tests/bench/train
[ -x "$tool" ] || make -C "$(dirname "$RAYWF")" -s tests/bench/train
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
times=${TIMES:-5}
flops=$((4 * 784 * 128 + 6 * 128 * 10)) # of a row, forward and backward; none for the input

"$tool" data "$dir"

# rate NAME BATCH STEPS COMMAND...: samples per second of one training.
rate()
{
    local name=$1
    rm -rf "$dir/$name"
    "$tool" job "$dir" "$name" "$2" "$3"
    sleep "${PAUSE:-0}"
    "${@:4}" "$rank" train "$dir/$name/job.json" >/dev/null 2>"$dir/stderr" || {
        tail -n 5 "$dir/stderr" >&2
        exit 1
    }
    sed -n '$s/.*"samples_per_second":\([0-9.]*\).*/\1/p' "$dir/$name/work/metrics.jsonl"
}
times() { local i; for ((i = 0; i < times; i++)); do "$@"; done | median; }
say() { awk "BEGIN { printf \"$1\\n\", $2 }"; }
two() { mpirun -n 2 --bind-to core "$@"; }

peak=$(taskset -c 0 "$tool" peak)
one=$(times rate b64 64 8000)
say "batch 64, one core: median %.0f samples/s, %.1f GFLOP/s" "$one, $one * $flops / 1e9"
[ "$peak" = 0 ] ||
    say "  of the core's FMA peak, %.1f GFLOP/s: %.0f %% (bar 60 %%)" "$peak, $one * $flops / 1e7 / $peak"
if [ -n "$python" ]; then
    torch=$(times taskset -c 0 "$python" "$top/tests/bench/train_torch.py" "$dir/data" 64 4000)
    say "  PyTorch: median %.0f samples/s; raywf is %.2f times as fast (bar 2)" "$torch, $one / $torch"
fi
alone=$(times rate b256 256 2000 taskset -c 0)
both=$(times rate r256 256 2000 two)
say "batch 256, one rank: median %.0f samples/s" "$alone"
say "batch 256, two ranks: median %.0f samples/s, %.2f times one (bar 1.8)" "$both, $both / $alone"
