#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A recipe scheduled on nodes that are not there.
. "$abs_top_srcdir/tests/t/lib.sh"

cat >r.yaml <<'Y'
recipe: raywf/v1
name: simulated
tasks:
  prepare: {run: "touch ran", dir: ., resources: {cpu: 4, memory: 8GiB}}
  train:
    run: "touch ran; echo ${matrix.lr}"
    dir: .
    needs: [tasks.prepare]
    matrix: {lr: [1, 2, 3, 4]}
    resources: {cpu: 8, gpu: 2, memory: 32GiB, ranks: 2, placement: same_node}
    retry: 2
  first: {run: echo, needs: [tasks.prepare], resources: {cpu: 1}}
  urgent:
    run: echo
    needs: [tasks.first]
    priority: 10
    resources: {gpu: 8, cpu: 1}
  zone: {run: echo, resources: {labels: {zone: b}, custom: {licence: 1}}}
Y
nodes='--node 2*cpu=64,gpu=8,memory=256GiB --node cpu=16,memory=64GiB,label.zone=b,licence=2'

# shellcheck disable=SC2086
run 0 raywf simulate r.yaml $nodes --duration 1m --duration tasks.train=2m --svg s.svg
has 'of 144 cpu, 16 gpu on 3 nodes'
has '8: 8 succeeded, 0 failed'
has 'makespan   '
has 'picture    s.svg'
has 'a placement: median'
ok 'the picture is XML' python3 -c 'import xml.dom.minidom; xml.dom.minidom.parse("s.svg")'
ok 'the picture names steps' grep -q 'tasks.train\[lr=1\]' s.svg
ok 'the picture has a lane per node' grep -q '>n2</text>' s.svg
ok 'nothing ran' test ! -e ran
ok 'no run was made' test ! -e .raywf

# The same seed is the same simulation, another is not.
# shellcheck disable=SC2086
run 0 raywf simulate r.yaml $nodes --seed 7 --fail-rate 0.2 --format json
first=$(json trace <.out)
# shellcheck disable=SC2086
run 0 raywf simulate r.yaml $nodes --seed 7 --fail-rate 0.2 --format json
ok 'the same seed decides the same' test "$(json trace <.out)" = "$first"
# shellcheck disable=SC2086
run 0 raywf simulate r.yaml $nodes --seed 8 --fail-rate 0.2 --format json
ok 'another seed does not' test "$(json trace <.out)" != "$first"

# One node, fixed times: the sum is known. prepare, then 2 of 4 trains at once.
run 0 raywf simulate r.yaml --only tasks.train --node cpu=64,gpu=8,memory=256GiB --duration 1m
has 'makespan   3m00s'

# Higher priority makes room: two trains hold all cards when urgent comes.
run 0 raywf simulate r.yaml --only tasks.urgent --only tasks.train --duration 1m \
    --duration tasks.train=1h --node cpu=64,gpu=8,memory=256GiB
has '2 made room'
has 'makespan   2h03m'

# What no node can ever hold is refused, with the nearest one.
run 5 raywf simulate r.yaml --node 3*cpu=64,gpu=1,memory=256GiB
says 'asks for 2 gpu, the nearest of 3 nodes, n0, has 1 (1 missing)'
says 'r.yaml:'
run 5 raywf simulate r.yaml --only tasks.zone --node 2*cpu=64
says 'asks for a node with the label zone: b, the nearest of 2 nodes, n0, has no label'
run 5 raywf simulate r.yaml --only tasks.train --node 4*cpu=64,gpu=2,memory=256GiB
says 'asks for 2 ranks on the same node, the one that holds most, n0, holds 1 (1 missing)'

# A load that is made up.
run 0 raywf simulate --tasks 20000 --nodes 500 --fail-rate 0.01 --format json
has '"all":20000'
ok 'the output is as its schema says' python3 - <<'P'
import json, os, sys
data = json.load(open(".out"))["data"]
schema = json.load(open(os.environ["abs_top_srcdir"] + "/schemas/outputs/simulate.json"))
kinds = {"number": (int, float), "integer": int, "string": str, "object": dict}
def check(value, s, where):
    names = s["type"] if isinstance(s["type"], list) else [s["type"]]
    if not any(n == "null" and value is None or n != "null" and isinstance(value, kinds[n])
               for n in names):
        sys.exit(f"{where}: {value!r} is no {names}")
    if isinstance(value, dict):
        if set(value) != set(s["properties"]):
            sys.exit(f"{where}: has {sorted(value)}")
        for k, v in value.items():
            check(v, s["properties"][k], where + "." + k)
check(data, schema, "data")
P

# Mistakes are named.
run 2 raywf simulate
says 'give either a recipe or --tasks N'
run 2 raywf simulate r.yaml --tasks 5
run 2 raywf simulate r.yaml --node cpu=many
says "'many' is not understood"
run 2 raywf simulate r.yaml --node 0*cpu=1
run 2 raywf simulate r.yaml --node gpu=65
says 'from 0 to 64'
run 2 raywf simulate r.yaml --fail-rate 2
says 'from 0 to 1'
run 2 raywf simulate r.yaml --duration soon
says "'soon' is no duration"
run 2 raywf simulate r.yaml --duration tasks.trian=1s
says "no step 'tasks.trian'; did you mean 'tasks.train"

# A command is one process: ranks of it are a gang.
run 3 raywf run r.yaml
says 'asks for 2 ranks, and its command is one process: write gang:'
finish
