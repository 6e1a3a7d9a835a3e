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

# recipe_serve NAME: the same for one that serves, at a port of its own; the second time only
# what serves is done again.
. "$abs_top_srcdir/tests/t/serve.sh"
recipe_serve()
{
    name=$1
    free_port
    shift
    set -- "$@" --param "port=$port"
    run 0 "$RAYWF" check "recipes/$name.yaml"
    run 0 "$RAYWF" run "recipes/$name.yaml" "$@"
    says "$name succeeded"
    run 0 "$RAYWF" run "recipes/$name.yaml" "$@"
    run 0 "$RAYWF" events last --type step.started
    if grep -v '"step": *"\(checks\|serve\)\.' .out | grep -q step.started; then
        fail "$name again" "$(grep -v '"step": *"\(checks\|serve\)\.' .out | head -n 3)"
    else
        pass
    fi
}

# recipe_gpu NAME: where there is no GPU, only what it would do is looked at.
recipe_gpu()
{
    if ! "$RAYWF" doctor --format json | grep -q '"name":"gpu","level":"ok","text":"0 '; then
        recipe "$1" --param tokens=2000000 --param micro=8
        return
    fi
    run 0 "$RAYWF" check "recipes/$1.yaml"
    run 0 env RAYWF_FAKE_GPUS=1x80GiB "$RAYWF" plan "recipes/$1.yaml"
    has 'accumulated'
    run 0 "$RAYWF" run "recipes/$1.yaml" --only datasets.corpus --param rows=1000
    skip "$1" "there is no GPU here"
}

if "$RAYWF" doctor --format json | grep -q '"name":"duckdb","level":"ok"'; then
    recipe quickstart
    run 0 "$RAYWF" run recipes/quickstart.yaml --param epochs=41
    run 0 "$RAYWF" events last --type step.started
    has train.classifier
    hasnt datasets.iris
    run 11 "$RAYWF" run recipes/quickstart.yaml --set checks.accurate.than=1.1
    recipe datasets
    recipe native
    recipe train-mlp
    recipe tune-asha --param trials=6
    recipe tune-pbt
    recipe lm-tiny --param steps=150
    recipe qwen3-lora --profile cpu
    recipe_gpu gpt2-124m
    if command -v mpirun >/dev/null; then
        recipe train-ddp
    else
        skip train-ddp "there is no mpirun"
    fi
    if [ "${RAYWF_TEST_PYTHON:-}" ]; then
        recipe train-pytorch --param "python=$RAYWF_TEST_PYTHON"
    else
        skip train-pytorch "RAYWF_TEST_PYTHON names no Python with torch and scikit-learn"
    fi
else
    skip quickstart "DuckDB is not here"
    skip training "DuckDB is not here"
    skip datasets "DuckDB is not here"
    skip native "DuckDB is not here"
fi
if ! command -v curl >/dev/null; then
    skip serve "there is no curl"
else
    if "$RAYWF" doctor --format json | grep -q '"name":"duckdb","level":"ok"'; then
        recipe_serve serve-model
        recipe_serve llm-tiny --param steps=150
    else
        skip serve-model "DuckDB is not here"
        skip llm-tiny "DuckDB is not here"
    fi
    recipe_serve serve-graph
    recipe_serve serve-canary
    if command -v python3 >/dev/null; then
        recipe_serve serve-python
    else
        skip serve-python "there is no python3"
    fi
fi
if command -v mpicc >/dev/null; then
    recipe gang
else
    skip gang "there is no mpicc"
fi
recipe cache-resume --param pause=0
recipe cluster-local
recipe tune-command
recipe matrix-ci
recipe matrix-ci --profile ci
for file in recipes/*.yaml; do
    name=${file#recipes/}
    name=${name%.yaml}
    ok "$name has a test here" grep -q "^ *recipe[_a-z]* $name" "$abs_top_srcdir/tests/t/t1900-recipes.sh"
    ok "$name says what it shows" grep -q "^# Shows" "$file"
    ok "$name says what it needs" grep -q "^# Needs" "$file"
    ok "$name says how long it takes" grep -q "^# Takes" "$file"
done
finish
