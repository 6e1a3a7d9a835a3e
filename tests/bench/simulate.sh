#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The scheduler alone: 1,000,000 tasks with mixed needs on 10,000 nodes in simulated time, by
# the code that schedules the steps of a run (each task is two decisions: prepare and start).
# Real time, and the processor time that it took, which others on the machine disturb less:
# tests/bench/simulate.sh [ROUNDS]
. "$(dirname "$0")/lib.sh"

value() { sed -n 's/.*"'"$1"'":\([0-9.e+-]*\).*/\1/p' <out; }

for what in wall cpu p50 p99; do : >$what; done
TIMEFORMAT='%R %U %S'
for ((i = 0; i < ${1:-3}; i++)); do
    { time "$RAYWF" simulate --tasks 1000000 --nodes 10000 --format json >out; } 2>time
    read -r wall user system <time
    echo "$wall" >>wall
    awk -v a="$user" -v b="$system" 'BEGIN { print a + b }' >>cpu
    value placement_p50_us >>p50
    value placement_p99_us >>p99
    grep -q '"succeeded":1000000' out || { echo "not all tasks ended well" >&2; exit 1; }
done
echo "1,000,000 tasks on 10,000 nodes: median $(median <wall) s (bar: 10), processor time $(median <cpu) s"
echo "one placement there: median $(median <p50) us (bar: 20), 99 % $(median <p99) us"
for tasks in 10000 100000 1000000; do
    "$RAYWF" simulate --tasks $tasks --nodes 100 --format json >out
    echo "$tasks tasks on 100 nodes: $(value per_second) decisions per second"
done
