#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What one step costs in parts (spawning and supervising, the cache), against xargs in the
# same run: tests/bench/proc_rate.sh BUILD_DIR [ROUNDS]. `make tests/bench/proc_rate` first.
# Folders are new each round and removed only at the end: see the head of proc_rate.c.
set -eu
rate=$1/tests/bench/proc_rate
[ -x "$rate" ] || { echo "no $rate: make tests/bench/proc_rate builds it" >&2; exit 1; }
dir=$(mktemp -d "${TMPDIR:-/tmp}/raywf-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
for ((i = 0; i < ${2:-3}; i++)); do
    from=$EPOCHREALTIME
    seq 2000 | xargs -P2 -n1 true
    to=$EPOCHREALTIME
    "$rate" "$dir/$i" 2000 >"$dir/out"
    cat "$dir/out"
    awk -v a="$from" -v b="$to" '$1 == "proc" { x = (b - a) * 1e6 / 2000
        printf "xargs    %8.1f us wall; proc runs at %.2f of its rate\n", x, x / $2 }' "$dir/out"
done
