#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A second run of 1,000 unchanged steps: tests/bench/rerun.sh
. "$(dirname "$0")/lib.sh"

recipe_of 1000 >thousand.yaml
echo "first run of 1,000 steps: $(ms "$RAYWF" run thousand.yaml) ms"
echo "second run: $(repeat 7 "$RAYWF" run thousand.yaml) ms (bar: 100)"
if grep -q '"step.started"' .raywf/runs/last/events.ndjson; then
    echo "something was executed" >&2
    exit 1
fi
