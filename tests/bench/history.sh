#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What 100,000 finished steps in the history cost: tests/bench/history.sh
. "$(dirname "$0")/lib.sh"

cat >small.yaml <<'END'
recipe: raywf/v1
name: small
tasks:
  t: {argv: ["true"], matrix: {i: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}, cache: false}
END
recipe_of 200 >cached.yaml
cat >history.yaml <<END
recipe: raywf/v1
name: history
tasks:
  t:
    argv: ["true"]
    matrix: {i: [$(seq -s, 400)], j: [$(seq -s, 250)]}
END

figures()
{
    "$RAYWF" run cached.yaml >/dev/null 2>&1
    echo "run-10-steps $(repeat 9 "$RAYWF" run small.yaml)"
    echo "second-run-of-200 $(repeat 9 "$RAYWF" run cached.yaml)"
    echo "plan-of-200 $(repeat 9 "$RAYWF" plan cached.yaml)"
    echo "status $(repeat 9 "$RAYWF" status last)"
    echo "ps $(repeat 9 "$RAYWF" ps)"
}

figures >before
echo "100,000 steps: $(ms "$RAYWF" run history.yaml) ms"
figures >after
paste -d' ' before after | awk '{
    printf "%s: %.1f ms before, %.1f ms after: %+.0f %% (bar: +10 %%)\n", $1, $2, $4, ($4 / $2 - 1) * 100 }'
