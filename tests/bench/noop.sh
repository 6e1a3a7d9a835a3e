#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# 2,000 commands that do nothing, against xargs with as many at once, alternating:
# tests/bench/noop.sh [ROUNDS]
. "$(dirname "$0")/lib.sh"

cat >noop.yaml <<END
recipe: raywf/v1
name: noop
tasks:
  t:
    argv: ["true"]
    matrix: {i: [$(seq -s, 2000)]}
    cache: false
END
xargs_once()
{
    seq 2000 | xargs -P2 -n1 true
}

: >raywf.ms
: >xargs.ms
for ((i = 0; i < ${1:-5}; i++)); do
    ms xargs_once >>xargs.ms
    # Not removed: ext4 looks twice at inode numbers freed within the last minutes, so that
    # making files right after removing many would be measured instead.
    [ ! -d .raywf ] || mv .raywf "old.$i"
    ms "$RAYWF" run noop.yaml >>raywf.ms
done
grep -c '"step.succeeded"' .raywf/runs/last/events.ndjson | grep -qx 2000 || {
    echo "not every step is in the log" >&2
    exit 1
}
a=$(median <xargs.ms) b=$(median <raywf.ms)
echo "2,000 no-ops: xargs -P2 $a ms, raywf $b ms, ratio $(awk -v a="$a" -v b="$b" 'BEGIN { printf "%.2f", a / b }') (bar: 0.80)"
