#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What --format json prints fits schemas/outputs, as an independent validator sees it
# (Python's jsonschema).
. "$abs_top_srcdir/tests/t/lib.sh"

if ! python3 -c 'import jsonschema' 2>/dev/null; then
    skip outputs 'no python3 with jsonschema'
    finish
fi
cat >fits.py <<'PY'
import json, sys
from jsonschema import Draft202012Validator as V
base, command = sys.argv[1], sys.argv[2]
def schema(name):
    s = json.load(open(f"{base}/schemas/outputs/{name}.json"))
    V.check_schema(s)
    return V(s)
lines = sys.stdin.read().splitlines()
assert len(lines) == 1, f"{len(lines)} lines"
doc = json.loads(lines[0])
schema("envelope").validate(doc)
assert doc["ok"] == (doc["exit_code"] == 0), doc
if doc["data"] is not None:
    schema(command).validate(doc["data"])
PY
# fits CODE SCHEMA COMMAND...
fits()
{
    code=$1 schema=$2
    shift 2
    run "$code" raywf "$@" --format json
    ok "$1 fits $schema" sh -c "python3 fits.py '$abs_top_srcdir' $schema <.out"
}

cat >r.yaml <<'Y'
recipe: raywf/v1
name: outputs
params: {n: 1}
tasks:
  a: {run: "echo ${params.n} > o; raywf report-metric n=${params.n}", outputs: {o: o}}
  b: {run: "exit ${params.n}", needs: [tasks.a]}
  c: {run: "true", needs: [tasks.b]}
checks: {n: {value: "${tasks.a.metrics.n}", op: "<", than: 5}}
Y
printf 'recipe: raywf/v1\ntaks: {}\n' >bad.yaml
fits 0 check check r.yaml
fits 3 check check r.yaml bad.yaml
fits 6 check check gone.yaml
fits 0 plan plan r.yaml
fits 3 plan plan bad.yaml
fits 0 run run r.yaml -p n=0 -q
fits 1 run run r.yaml -p n=1 -q
fits 0 plan plan r.yaml
fits 1 run retry --failed -q
fits 0 status status
fits 0 ps ps
fits 0 why why tasks.a
fits 0 why why tasks.b
fits 0 why why tasks.c
fits 12 why why tasks.nothing
fits 0 diff diff "$(raywf ps -q | tail -n 1)" last
fits 2 check check --nothing

# --- a cluster ---
trap 'raywf shutdown -q --timeout 20s; raywf shutdown -q --all --dir up --timeout 20s; rm -rf "$tmp"' EXIT
fits 0 shutdown shutdown
fits 0 start start --head --no-node --port 0
head=$(cat cluster/head/address)
fits 0 start start --address "$head" --name one --cpu 1 --store 16MiB
fits 0 shutdown shutdown --name one
fits 7 start start --head --port 0
fits 0 shutdown shutdown
fits 0 up up --test-size 1 --cpu 1 --store 16MiB --dir up
fits 0 shutdown shutdown --all --dir up
fits 2 up up
finish
