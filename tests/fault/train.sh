# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the fault tests of training share, after lib.sh.
if ! "$RAYWF" doctor --format json | grep -q '"name":"duckdb","level":"ok"'; then
    skip "DuckDB is not here"
    finish
fi
cp "$abs_top_srcdir/recipes/quickstart/iris.csv" .
log=${RAYWF_DIR:-.raywf}/runs/last/events.ndjson

# A training of some seconds, slow enough to be hit also where nothing else runs, which checkpoints
# often. A rank that hangs is what one test is about, and sets a heartbeat of its own.
cat >train.yaml <<'Y'
recipe: raywf/v1
name: faulty
params: {workers: 2, steps: 3000, retry: 0}
train:
  t:
    dataset: {train: iris.csv, val: iris.csv}
    model: {type: mlp, target: species, hidden: [384, 384], dropout: 0.1}
    optimizer: {learning_rate: 0.002}
    global_batch_size: 32
    micro_batch_size: 8
    max_length: {steps: "${params.steps}"}
    evaluate: {every: {steps: 100}}
    checkpoint: {every: {steps: 50}, keep: {best: 1, latest: 3}}
    workers: "${params.workers}"
    resources: {cpu: 0.5}
    retry: {max: "${params.retry}", on: [signal, timeout], backoff: 0s}
    heartbeat: 2m
    cache: false
Y

metrics()
{
    local file
    file=$(sed -n 's/.*"metrics": *{"path": *"\([^"]*\)".*/\1/p' "$log" | tail -n 1)
    sed -n 's/.*"step": *\([0-9]*\),.*"loss": *\([0-9.e-]*\).*/\1 \2/p' "$file"
}

# same NAME: the losses of the last run are those of an undisturbed one, to the last digit.
same()
{
    metrics >got
    check "$1" cmp got want
}

# The ranks of the run that goes on: process ids, by rank.
ranks()
{
    local p rank
    for p in $(pgrep -f "raywf-rank train $dir/"); do
        rank=$(tr '\0' '\n' <"/proc/$p/environ" | sed -n 's/^RANK=//p')
        [ -z "$rank" ] || echo "$rank $p"
    done 2>/dev/null | sort -n | cut -d' ' -f2
}

newest() { ls -d "$(dirname "$log")"/train/*/checkpoints/step-* 2>/dev/null | tail -n 1; }

# begin ARGUMENT...: raywf in the background, as $pid. Without the link to the run before, what is
# below runs/last is of this one only.
begin()
{
    rm -f "${log%/*}"
    "$RAYWF" "$@" >out 2>err &
    pid=$!
}

checkpoints() { ls -d "$(dirname "$log")"/train/*/checkpoints/step-*/manifest.json 2>/dev/null | wc -l; }
enough() { [ "$(checkpoints)" -ge "$1" ] || ! kill -0 $pid; }
# Until the run that has begun has so many checkpoints, and goes on.
await_checkpoints()
{
    until_ok enough "$1" && kill -0 $pid 2>/dev/null && return
    fail "there were never $1 checkpoints of a run that goes on: $(tail -n 3 err)"
    return 1
}

# Nothing of it runs any more.
quiet() { ! pgrep -f "raywf-rank [a-z]* $dir/"; }
all_gone() { until_ok quiet; }
