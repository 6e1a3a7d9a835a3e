#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every recipe of recipes/ runs as it is, from a copy, and a second run executes nothing.
. "${srcdir:-.}/tests/t/lib.sh"

cp -R "$abs_top_srcdir/recipes" . && chmod -R u+w recipes
export RAYWF_DIR=$tmp/state

# recipe NAME [ARGUMENT...]: runs it, twice; the second time only what costs nothing is done.
recipe()
{
    name=$1
    shift
    run 0 "$RAYWF" check "recipes/$name.yaml"
    run 0 "$RAYWF" run "recipes/$name.yaml" "$@"
    says "$name succeeded"
    run 0 "$RAYWF" run "recipes/$name.yaml" "$@"
    run 0 "$RAYWF" events last --type step.started
    if grep -v '"step":"checks\.' .out | grep -q step.started; then
        fail "$name again" "$(grep -v '"step":"checks\.' .out | head -n 3)"
    else
        pass
    fi
}

if "$RAYWF" doctor --format json | grep -q '"name":"duckdb","level":"ok"'; then
    recipe quickstart
    run 0 "$RAYWF" run recipes/quickstart.yaml --param neighbours=1
    run 0 "$RAYWF" events last --type step.started
    has tasks.classify
    hasnt datasets.iris
    run 11 "$RAYWF" run recipes/quickstart.yaml --set checks.accurate.than=1.1
    recipe datasets
    recipe native
else
    skip quickstart "DuckDB is not here"
    skip datasets "DuckDB is not here"
    skip native "DuckDB is not here"
fi
recipe cache-resume --param pause=0
recipe matrix-ci
recipe matrix-ci --profile ci
for file in recipes/*.yaml; do
    name=${file#recipes/}
    name=${name%.yaml}
    ok "$name has a test here" grep -q "^ *recipe $name" "$abs_top_srcdir/tests/t/t1900-recipes.sh"
    ok "$name says what it shows" grep -q "^# Shows" "$file"
    ok "$name says what it needs" grep -q "^# Needs" "$file"
    ok "$name says how long it takes" grep -q "^# Takes" "$file"
done
finish
