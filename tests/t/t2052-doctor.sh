#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The machines of a cluster beside each other: each node tells what it finds, its clock and
# its links; what differs is marked, with what to do.
. "$abs_top_srcdir/tests/t/lib.sh"
unset RAYWF_ADDRESS RAYWF_CLUSTER_ADDRESS
export RAYWF_CLUSTER=$tmp/c
trap 'raywf shutdown -q --timeout 20s; raywf shutdown -q --dir "$tmp/odd"; rm -rf "$tmp"' EXIT

run 7 raywf doctor --cluster
says 'no head or node runs'
run 7 raywf doctor --address 127.0.0.1:1 --key nokey
run 2 raywf doctor --key nokey
run 0 raywf doctor --resolve localhost,no-such-host.invalid
has 'these have none: no-such-host.invalid'

run 0 raywf up --test-size=2 --cpu 1 --memory 1GiB --store 16MiB -q
run 0 raywf doctor --cluster
has 'all 2: 0.1'
has 'local-1 to local-2: '
has 'local-2 to local-1: '
has 'there and back'
hasnt '^ the nodes differ'
for row in raywf digest system host network cpu memory gpu 'gpu peers' nccl disk /dev/shm limits \
    'open mpi' clock link; do
    has "✓ $row"
done

# --- one that differs ---
head=$(cat c/head/address)
(ulimit -Sn 700 && ulimit -Hn 700 && raywf start --address "$head" --key c/head/key --name odd \
    --dir "$tmp/odd" --cpu 1 --memory 1GiB --store 16MiB -q) >/dev/null
run 0 raywf doctor --cluster
has 'limits    odd: open files 700'
has 'limits    local-1, local-2: open files'
has '^ the nodes differ'
has '/etc/security/limits.conf'
has 'few open files'
run 0 raywf doctor --cluster --format json
has '"differences":[{"name":"limits"'

# --- one that another cannot reach: its process stands still ---
pid=$(cat odd/nodes/odd/pid)
kill -STOP "$pid"
run 7 raywf doctor --cluster
has 'cannot be reached'
kill -CONT "$pid"
run 0 raywf shutdown --all
run 0 raywf shutdown --dir odd # which may not have been back by then

# --- what a recipe would run on ---
cat >r.yaml <<END
recipe: raywf/v1
cluster: {size: 2, resources: {cpu: 1, memory: 1GiB, store: 16MiB}}
tasks:
  a: {run: "true"}
END
run 0 raywf doctor r.yaml
has 'local-1 to local-2: '
ok 'it ends with the look' test -z "$(ls .raywf/clusters)"
echo 'recipe: raywf/v1
tasks: {a: {run: "true"}}' >none.yaml
run 2 raywf doctor none.yaml
finish
