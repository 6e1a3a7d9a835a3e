#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What 100,000 finished steps in the history cost: two folders, one with them and one
# without, and each command in turns in both: tests/bench/history.sh [ROUNDS]
. "$(dirname "$0")/lib.sh"

mkdir with without
cat >with/small.yaml <<'END'
recipe: raywf/v1
name: small
tasks:
  t: {argv: ["true"], matrix: {i: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}, cache: false}
END
recipe_of 200 >with/cached.yaml
cp with/*.yaml without
# Each step is like no other, so that all of them run.
cat >with/history.yaml <<END
recipe: raywf/v1
name: history
tasks:
  t:
    argv: ["true", "\${matrix.i}-\${matrix.j}"]
    matrix: {i: [$(seq -s, 400)], j: [$(seq -s, 250)]}
END

echo "100,000 steps: $(ms "$RAYWF" run with/history.yaml) ms"
for folder in with without; do
    ms "$RAYWF" run $folder/cached.yaml >/dev/null
done

# compare NAME ARGUMENT...: raywf -C FOLDER ARGUMENT... in both, in turns.
compare()
{
    local name=$1 round
    shift
    : >with.ms
    : >without.ms
    for ((round = 0; round < rounds; round++)); do
        ms "$RAYWF" -C without "$@" >>without.ms
        ms "$RAYWF" -C with "$@" >>with.ms
    done
    echo "$name $(median <without.ms) $(median <with.ms)" | awk '{
        printf "%s: %.1f ms without, %.1f ms with: %+.0f %% (bar: +10 %%)\n", $1, $2, $3, ($3 / $2 - 1) * 100 }'
}

rounds=${1:-21}
compare run-10-steps run small.yaml
compare second-run-of-200 run cached.yaml
compare plan-of-200 plan cached.yaml
compare status status last
compare ps ps
