#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What would run and why, plans on disk, parts of a graph, pictures.
. "$abs_top_srcdir/tests/t/lib.sh"

cat >r.yaml <<'Y'
recipe: raywf/v1
name: chain
params: {n: 3}
tasks:
  a: {run: "seq ${params.n} > a.txt", outputs: {a: a.txt}}
  b: {run: "sort -r ${tasks.a.outputs.a} > b.txt", outputs: {b: b.txt}, inputs: {d: data.csv}}
  c: {run: "wc -l < ${tasks.b.outputs.b}"}
  lone: {run: "true", resources: {cpu: 1, memory: 64MiB}}
  no: {run: "true", when: "${params.n} > 100"}
checks:
  few: {value: "${tasks.m.metrics.x}", op: "<", than: 10}
Y
sed -i '/^  few/s/tasks.m/tasks.met/; /^  no:/a\  met: {run: "raywf report-metric x=5"}' r.yaml
echo 1 >data.csv

# The first time everything runs, and says why.
run 0 raywf plan r.yaml
has 'tasks.a     run     never ran'
has 'tasks.b     run     needs tasks.a, which will run'
has 'tasks.no    skip    its condition is false'
has 'checks.few  decide'
has '64 MiB'
has '7 steps, 5 to run, 1 skipped, 1 decided'
run 10 raywf plan r.yaml --exit-code
ok 'planning makes no run' test ! -e .raywf/runs/last

# Afterwards everything is cached, and each change names its cause.
run 0 raywf run r.yaml -q
run 0 raywf plan r.yaml --exit-code
has '5 cached'
hasnt 'will run'
run 0 raywf plan r.yaml -p n=4
has 'seq 3 > a.txt'
has 'seq 4 > a.txt'
has 'tasks.c     run     needs tasks.b, which will run'
echo 2 >data.csv
run 0 raywf plan r.yaml
has 'tasks.b     run     input data.csv changed'
has 'tasks.a     cached'
echo 1 >data.csv
run 0 raywf plan r.yaml --no-cache
has 'run     --no-cache'
# What is no part of a result changes nothing.
run 0 raywf plan r.yaml --set tasks.a.retry.max=2 --set tasks.a.timeout=5s --exit-code
run 0 raywf plan r.yaml --set tasks.a.cache=false
has 'cache: false'

# JSON.
run 0 raywf plan r.yaml --format json
has '"command":"plan","ok":true'
has '"address":"tasks.b"'
has '"verdict":"cached"'
has '"totals":{'
if command -v python3 >/dev/null; then
    ok 'the JSON adds up' python3 - <<'PY'
import json
d = json.load(open(".out"))["data"]
assert len(d["steps"]) == sum(d["totals"].values()) == 7
b = next(s for s in d["steps"] if s["address"] == "tasks.b")
assert b["needs"] == ["tasks.a"] and len(b["key"]) == 64 and b["where"] == "r.yaml:6", b
PY
fi

# Parts.
run 0 raywf plan r.yaml --only tasks.b
has 'tasks.a'
hasnt 'tasks.c'
hasnt 'tasks.lone'
run 0 raywf plan r.yaml --from tasks.b
has 'tasks.c'
hasnt 'tasks.lone'
run 12 raywf plan r.yaml --only tasks.bb
says 'did you mean'

# A plan on disk runs exactly as it is; a changed input is drift.
run 0 raywf plan r.yaml -o plan.json --only tasks.b
has 'tasks.b'
cp r.yaml keep.yaml
echo 'broken: [' >r.yaml
run 0 raywf run plan.json
says '2 cached'
mv keep.yaml r.yaml
echo 9 >data.csv
run 4 raywf run plan.json
echo 1 >data.csv
run 2 raywf run plan.json --param n=1
says 'no effect'
head -c 200 plan.json >cut.json
run 6 raywf run cut.json
says 'damaged'

# Inputs that are not there; work that fits no machine.
rm data.csv
run 6 raywf plan r.yaml
says data.csv
says r.yaml:
echo 1 >data.csv
run 5 raywf plan r.yaml --set tasks.a.resources.cpu=100000
says cpu

# What nodes of this machine have is known before they are there.
cat >size.yaml <<'Y'
recipe: raywf/v1
cluster: {size: 2, resources: {cpu: 1, memory: 1GiB, custom: {disk: 2}}, labels: {kind: test, fast: true}}
tasks:
  a: {run: echo, resources: {labels: {kind: test, fast: "true"}, custom: {disk: 2}}}
Y
run 0 raywf plan size.yaml
run 5 raywf plan size.yaml --set cluster.labels.kind=other
says "has kind"
run 5 raywf plan size.yaml --set cluster.resources.custom.disk=1
says disk

# What is not known before a cluster is up is not said to be this machine's.
cat >hosts.yaml <<'Y'
recipe: raywf/v1
cluster: {hosts: [one, two], resources: {cpu: 3, memory: 2GiB}}
tasks: {a: {run: echo}}
Y
run 0 raywf plan hosts.yaml
has "; the recipe's cluster of 2 nodes has 6 cpu, 4.0 GiB; not known until it is up: gpu"
run 0 raywf plan hosts.yaml --set 'cluster.hosts=[one, {host: two, resources: {cpu: 1, gpu: 2}}]'
has "; the recipe's cluster of 2 nodes has 4 cpu; not known until it is up: memory, gpu"
run 0 raywf plan hosts.yaml --set cluster.resources.gpu=1 --format json
has '"machine":{"cpu":6.0,"memory":4294967296,"gpu":2'
run 0 raywf plan hosts.yaml --set cluster.resources=null
has "; the recipe's cluster of 2 nodes; not known until it is up: cpu, memory, gpu"
run 0 raywf plan hosts.yaml --set cluster.resources=null --format json
has '"machine":{"cpu":null,"memory":null,"gpu":null}'
cat >slurm.yaml <<'Y'
recipe: raywf/v1
cluster: {slurm: {nodes: 3}, resources: {cpu: 4}}
tasks: {a: {run: echo}}
Y
run 0 env -u SLURM_JOB_ID raywf plan slurm.yaml
has "; the recipe's cluster of 3 nodes has 12 cpu; not known until it is up: memory, gpu"
run 0 env SLURM_JOB_ID=1 raywf plan slurm.yaml
has "; the recipe's cluster; not known until it is up: cpu, memory, gpu"
printf '%064d\n' 0 >key && chmod 600 key
cat >address.yaml <<'Y'
recipe: raywf/v1
cluster: {address: "127.0.0.1:1", key: key}
tasks: {a: {run: echo}}
Y
run 0 raywf plan address.yaml
has "; the cluster at 127.0.0.1:1; not known until it is up: cpu, memory, gpu"

# Many steps are folded.
cat >many.yaml <<'Y'
recipe: raywf/v1
tasks:
  m:
    matrix: {i: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], k: [1, 2, 3, 4, 5]}
    run: echo ${matrix.i} ${matrix.k}
Y
run 0 raywf plan many.yaml
has 'tasks.m[…]  50 steps: 50 to run'
hasnt 'i=1,k=1'
run 0 raywf plan many.yaml -v
has 'tasks.m[i=1,k=1]'

# Pictures.
run 0 raywf graph r.yaml
has 'flowchart'
run 0 raywf graph r.yaml --format dot
has 'digraph'
run 0 raywf graph r.yaml --format json
has '"command":"graph"'
if raywf graph r.yaml --format svg -o g.svg 2>.err; then
    pass
    ok 'an svg' grep -q '<svg' g.svg
else
    skip 'svg' "$(cat .err)"
fi
finish
