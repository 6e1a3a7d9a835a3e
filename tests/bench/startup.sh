#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Start-up, check and plan: tests/bench/startup.sh
. "$(dirname "$0")/lib.sh"

echo "true: $(repeat 50 /bin/true) ms (what starting any process costs here)"
echo "raywf --help: $(repeat 50 "$RAYWF" --help) ms (bar: 5)"
echo "raywf version: $(repeat 50 "$RAYWF" version) ms (bar: 5)"

recipe_of 1000 >thousand.yaml
echo "check of 1,000 steps: $(repeat 11 "$RAYWF" check thousand.yaml) ms (bar: 50)"

cat >matrix.yaml <<END
recipe: raywf/v1
name: matrix
tasks:
  cell:
    run: "echo \${matrix.i} \${matrix.j}"
    matrix:
      i: [$(seq -s, 400)]
      j: [$(seq -s, 250)]
END
echo "plan of 100,000 steps: $(repeat 5 "$RAYWF" plan matrix.yaml) ms (bar: 3000)"
echo "plan of 100,000 steps: $(rss_mb "$RAYWF" plan matrix.yaml) MB (bar: 500)"
