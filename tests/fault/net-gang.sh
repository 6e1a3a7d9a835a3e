#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Gangs of Open MPI over hosts with networks and files of their own: two ranks and four, what
# each finds, and a host that is cut off: the gang ends, and goes on with what is left.
. "${abs_top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}/tests/net/net.sh"
net_enter "$0" "$@"
. "$abs_top_srcdir/tests/fault/lib.sh"
. "$abs_top_srcdir/tests/net/cluster.sh"
if ! command -v mpirun >/dev/null; then
    skip 'gangs: there is no mpirun (Debian: openmpi-bin)'
    net_finish
fi
check 'hosts' net_up 4
check 'a head' head_start || net_finish
work=$net/h1/work
mkdir -p "$work"
for h in h2 h3 h4; do
    net_private $h "$work"
    node_options='--cpu 1 --store 16MiB'
    check "node $h" node_start $h
done
check 'all have joined' until_ok eval 'for h in h2 h3 h4; do has_node $h alive h2 || exit; done'
export RAYWF_CLUSTER_KEY=$net/h1/key
cp "$(state h1)/head/key" "$RAYWF_CLUSTER_KEY"

ran=$net/ran
: >"$ran"
cat >"$work/r.yaml" <<END
recipe: raywf/v1
name: gang
params: {ranks: 2, cpu: 1.0}
tasks:
  net:
    gang: {ranks: "\${params.ranks}", builtin: allreduce}
    resources: {cpu: "\${params.cpu}"}
  env:
    gang:
      ranks: 3
      run: echo "\$RANK \$GROUP_RANK \$MASTER_ADDR \$NCCL_SOCKET_IFNAME \$(hostname)"
    resources: {cpu: 1}
  g:
    gang:
      ranks: {min: 2, max: 6}
      per_node: 2
      run: |
        echo "\$RAYWF_ATTEMPT \$RANK \$WORLD_SIZE \$(hostname)" >>$ran
        [ "\$RAYWF_ATTEMPT" != 1 ] || exec sleep 1000
        [ "\$RANK" != 0 ] || echo done >o
    outputs: {o: o}
    resources: {cpu: 0.5}
    retry: {max: 2, backoff: 100ms}
END
raywf_on_h1() { net_on h1 sh -c 'cd work && exec "$@"' - "$RAYWF" "$@"; }
run() { raywf_on_h1 run r.yaml --address "$head" --progress plain "$@" >"$net/out" 2>&1 || { tail -n 20 "$net/out"; return 1; }; }
log_of() { raywf_on_h1 logs last "$1" 2>/dev/null; }

# --- they reach each other ---
check 'two ranks on two hosts' run --only tasks.net
check 'their sums are right' grep -q '4194304 bytes' <(log_of tasks.net)
check 'four ranks on two hosts or more' run --only tasks.net --param ranks=4 --param cpu=0.5
check 'their sums, too' grep -q '4194304 bytes' <(log_of tasks.net)
check 'all four were there' grep -q '"ranks": *4' "$work/.raywf/runs/last/events.ndjson"
check 'each rank of three' run --only tasks.env
log_of tasks.env >"$net/env"
check 'is on a host of its own' test "$(awk '{ print $NF }' "$net/env" | sort -u | wc -l)" = 3
check 'all know the one of rank 0' test "$(awk '{ print $4 }' "$net/env" | sort -u)" = \
    "$(net_ip "$(awk '$2 == 0 { print $NF }' "$net/env")")"
check 'and their way there' test "$(awk '$5 == "" || $5 == "lo"' "$net/env" | wc -l)" = 0

# --- one is cut off ---
(run --only tasks.g) &
head_of_run=$!
began() { [ "$(wc -l <"$ran")" -ge "$1" ]; }
check 'six ranks begin' until_ok began 6 || tail -n 20 "$net/out"
victim=$(awk '$2 == 5 { print $4 }' "$ran")
net_cut "$victim"
check 'it goes on with fewer' wait $head_of_run
check 'of which none is there' test "$(awk -v v="$victim" '$1 > 1 && $4 == v' "$ran" | wc -l)" = 0
check 'four were left' test "$(awk '$1 > 1 { print $3 }' "$ran" | sort -u)" = 4
check 'who was lost is said' grep -q "node $victim" "$net/out"
net_heal
check 'the host is a node again' until_ok has_node "$victim" alive "$(awk -v v="$victim" '$4 != v { print $4; exit }' "$ran")"
# What it had begun has ended there, too.
quiet() { ! pgrep -x sleep -a | grep -q 'sleep 1000'; }
check 'nothing is left of the first attempt' until_ok quiet
net_finish
