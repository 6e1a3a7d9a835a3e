#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What is alive in the native runtime of a run, as text and JSON, and the trace of a run.
. "$abs_top_srcdir/tests/t/lib.sh"

if ! command -v cc >/dev/null; then
    skip views 'no C compiler (cc)'
    finish
fi
cat >p.c <<'C'
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <raywf.h>
static int gate(struct raywf_call *c) /* "FOLDER" */
{
    size_t n;
    const char *a = raywf_arg(c, 0, &n);
    char path[5000];
    snprintf(path, sizeof(path), "%.*s/begun", (int)n - 2, a + 1);
    fclose(fopen(path, "w"));
    snprintf(path, sizeof(path), "%.*s/go", (int)n - 2, a + 1);
    while (access(path, F_OK) != 0)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    return raywf_return(c, 0, "1", 1);
}
static int bad(struct raywf_call *c) { return raywf_fail(c, "no"); }
static int create(struct raywf_call *c, void **ret) { (void)c; *ret = (void *)1; return 0; }
static int ping(struct raywf_call *c) { return raywf_return(c, 0, "2", 1); }
static const struct raywf_function functions[] = {{"gate", gate, 0}, {"bad", bad, 0}, {0}};
static const struct raywf_function methods[] = {{"ping", ping, 0}, {0}};
static const struct raywf_class classes[] = {{"thing", create, 0, methods, 0}, {0}};
RAYWF_PLUGIN(.functions = functions, .classes = classes);
C
cat >r.yaml <<'Y'
recipe: raywf/v1
name: views
actors:
  thing: {plugin: "${tasks.build.outputs.plugin}", class: thing, name: the-thing, resources: {cpu: 0.1}}
tasks:
  build: {run: "cc -shared -fPIC -I $RAYWF_INCLUDE -o p.so ${inputs.source}", inputs: {source: p.c}, outputs: {plugin: p.so}}
  ping: {native: {actor: "${actors.thing}", method: ping}}
  bad:
    native: {plugin: "${tasks.build.outputs.plugin}", function: bad}
    retry: {max: 1, backoff: 10ms}
    resources: {cpu: 0.1}
  gate:
    native: {plugin: "${tasks.build.outputs.plugin}", function: gate, args: "${recipe.dir}"}
    needs: [tasks.ping]
  after: {run: "true", needs: [tasks.gate]}
Y
have_schema=false
python3 -c 'import jsonschema' 2>/dev/null && have_schema=true
cat >fits.py <<'PY'
import json, sys
from jsonschema import Draft202012Validator as V
base, name, path, member = sys.argv[1:5]
schema = json.load(open(f"{base}/schemas/outputs/{name}.json"))
V.check_schema(schema)
doc = json.load(open(path))
V(schema).validate(doc[member] if member else doc)
PY
# fits SCHEMA FILE MEMBER
fits()
{
    $have_schema || return 0
    ok "$command fits $1" python3 fits.py "$abs_top_srcdir" "$@"
}

# --- no runtime ---
run 12 raywf nodes
says 'RAYWF_ADDRESS'
run 12 raywf ps --workers

# --- a run that waits ---
raywf run r.yaml >run.out 2>run.err &
pid=$!
ok 'the call begins' until_ok test -e begun
ok 'the bad one has ended' until_ok grep -q '"type":"step.failed","step":"tasks.bad"' \
    .raywf/runs/last/events.ndjson
run 0 raywf nodes
has alive
run 0 raywf nodes --format json
fits nodes .out data
run 0 raywf actors
has the-thing
has alive
run 0 raywf actors last --format json
fits actors .out data
run 0 raywf objects --format json
fits objects .out data
run 0 raywf ps --workers
has p.so
run 0 raywf ps --workers --format json
fits ps .out data
run 0 raywf ps --tasks
has p.so
run 0 raywf ps --tasks --format json
fits ps .out data
run 0 raywf status
has '1 running call'
run 0 raywf status --format json
has '"native":'
fits status .out data
run 0 raywf why tasks.gate
has 'it is running'
RAYWF_ADDRESS=$(cat .raywf/runs/last/native.address)
export RAYWF_ADDRESS
(cd / && raywf nodes) >.out 2>.err
ok 'RAYWF_ADDRESS leads there, too' grep -q alive .out
unset RAYWF_ADDRESS
run 0 raywf timeline -o live.json
ok 'the trace of a live run says so' grep -q 'still running' live.json
touch go
wait "$pid"
ok 'a step failed, as it should' test $? -eq 1

# --- afterwards ---
run 12 raywf nodes last
says 'has no native runtime'
run 0 raywf timeline
has timeline.json
cp "$(cat .out)" trace.json
command='the trace'
fits trace trace.json ''
run 2 raywf timeline --format json -o -
run 0 raywf timeline --format json
fits timeline .out data
run 0 raywf timeline -o -
has '"traceEvents"'
cat >holds.py <<'PY'
import json
events = json.load(open("trace.json"))["traceEvents"]
slices = {}
for e in events:
    if e["ph"] == "X":
        slices.setdefault(e["name"], []).append(e)
assert len(slices["tasks.bad"]) == 2, slices["tasks.bad"]
assert slices["tasks.bad"][1]["args"]["cause"] == "exit"
assert slices["tasks.gate"][0]["args"]["result"] == "succeeded"
gate, after = slices["tasks.gate"][0], slices["tasks.after"][0]
assert after["ts"] >= gate["ts"] + gate["dur"]
waits = [e for e in events if e["ph"] == "b" and e["id"] == "tasks.bad"]
assert any(e["name"] == "backs off" for e in waits), waits
# Slices of one row do not overlap.
rows = {}
for e in (e for some in slices.values() for e in some):
    rows.setdefault((e["pid"], e["tid"]), []).append((e["ts"], e["ts"] + e["dur"]))
for spans in rows.values():
    spans.sort()
    assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:])), spans
running = [e["args"]["running"] for e in events if e["ph"] == "C"]
assert running[-1] == 0 and max(running) >= 1 and min(running) >= 0, running
PY
if command -v python3 >/dev/null; then
    ok 'the trace holds what happened' python3 holds.py
else
    skip trace 'no python3'
fi

# --- the node that raywf start runs is found without being named ---
trap 'raywf shutdown -q --timeout 20s; rm -rf "$tmp"' EXIT
run 12 raywf actors
says 'raywf start runs no node'
run 0 raywf start --head --port 0 -q
run 0 raywf nodes
has alive
run 0 raywf shutdown
finish
