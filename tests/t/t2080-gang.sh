#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Gangs, on one machine and over the nodes of a cluster: what each rank finds, and every way in
# which one ends. Nodes are processes of this machine, on loopback.
. "$abs_top_srcdir/tests/t/lib.sh"
if ! command -v mpirun >/dev/null; then
    skip 'gangs' 'there is no mpirun'
    finish
fi
unset RAYWF_CLUSTER
export RAYWF_DIR=$tmp/.raywf
dirs=
# Whatever happens, nothing stays behind.
trap 'for d in $dirs; do raywf shutdown -q --dir "$tmp/$d" --timeout 20s; done; rm -rf "$tmp"' EXIT

cat >r.yaml <<'Y'
recipe: raywf/v1
name: gang
params: {ranks: 4, heartbeat: 30s, retry: 0}
tasks:
  g:
    gang:
      ranks: "${params.ranks}"
      per_node: 2
      heartbeat: "${params.heartbeat}"
      run: |
        echo "$RANK of $WORLD_SIZE, local $LOCAL_RANK of $LOCAL_WORLD_SIZE, group $GROUP_RANK of $GROUP_WORLD_SIZE, $RAYWF_RANK"
        echo "token $TOKEN"
        echo "$MASTER_ADDR:$MASTER_PORT" >>"$SIDE/master"
        echo "$RANK $${RAYWF_NODE:-here}" >>"$SIDE/where"
        echo "$$" >"$SIDE/pid.$RANK"
        echo "{\"loss\": $RANK}" >&"$RAYWF_REPORT"
        [ "$RANK" != 0 ] || echo done >model
        case $END in
        "$RANK exit") echo 'has had enough' >&2; exit 3 ;;
        "$RANK kill") kill -9 $$ ;;
        "$RANK stop") kill -STOP $$ ;;
        "$RANK once") [ "$RAYWF_ATTEMPT" != 1 ] || kill -9 $$ ;;
        trap)
            trap 'echo "saved $RANK"; exit 0' TERM
            echo >"$SIDE/armed.$RANK"
            while :; do sleep 0.1; done
            ;;
        "$RANK beat") echo '{"heartbeat": true}' >&"$RAYWF_REPORT"; sleep 60 ;;
        esac
        [ -z "$END" ] || [ "$RAYWF_ATTEMPT" != 1 ] || exec sleep 60
    env: {SIDE: "${env.SIDE}", END: "${env.END}", TOKEN: "${secrets.T}"}
    outputs: {model: model}
    resources: {cpu: 0.5}
    retry: {max: "${params.retry}", backoff: 0s}
secrets: {T: {env: SECRET}}
Y
export SIDE="$tmp/side" END='' SECRET=swordfish
mkdir side
# gang CODE ARGS...: one run, in a side folder of its own
gang()
{
    _code=$1
    shift
    rm -f side/*
    run "$_code" raywf run r.yaml --no-cache "$@"
}
logs() { run 0 raywf logs last tasks.g; }

# --- on one machine ---
gang 0
logs
for rank in 0 1 2 3; do
    has "[$rank] $rank of 4, local $rank of 4, group 0 of 1, $rank"
done
ok 'one port for all' test "$(sort -u side/master | wc -l)" -eq 1
ok 'its losses are events' test "$(grep -c '"type":"step.metric"' .raywf/runs/last/events.ndjson)" -ge 4
ok 'a log of each rank' grep -q '3 of 4' .raywf/runs/last/steps/tasks.g/rank.3.log
ok 'the secret is in none of them' sh -c '! grep -rI swordfish .raywf'
ok 'but its name' grep -q 'token \[secret:T\]' .raywf/runs/last/steps/tasks.g/rank.3.log
END='2 exit' gang 1
says 'tasks.g: rank 2 of 4 ended with exit code 3: has had enough'
END='1 stop' gang 1 --param heartbeat=4s
says 'rank 1 of 4 gave no sign of life for 4 s (heartbeat): its process is stopped'
END='3 beat' gang 1 --param heartbeat=4s
says 'rank 3 of 4 gave no sign of life for 4 s (heartbeat)'
run 0 raywf plan r.yaml
has '4 ranks, 2 on each node'
has '0.5 cpu for each of 4 ranks'
run 3 raywf check r.yaml --param ranks=3 --set tasks.g.gang.ranks=3
says 'error[E0313]: 3 ranks are no whole number of nodes with 2 ranks each'
run 5 raywf plan r.yaml --set tasks.g.gang.ranks=64 --set tasks.g.resources.memory=1TiB
run 5 raywf plan r.yaml --set tasks.g.gang.ranks=4096 --set tasks.g.resources.cpu=1
says 'lower tasks.g.gang.ranks'
# As many as there is room for.
gang 0 --set 'tasks.g.gang.ranks={min: 2, max: 4000}' --set tasks.g.resources.cpu=0.25
ok 'more than the fewest, fewer than the most' test "$(wc -l <side/where)" -gt 2

# --- over three nodes ---
node() # NAME ARGS...
{
    _name=$1
    shift
    dirs="$dirs $_name"
    raywf start "$@" --dir "$tmp/$_name" --name "$_name" --cpu 1 >".$_name" 2>&1 || cat ".$_name"
}
node a --head --port 0
RAYWF_CLUSTER_ADDRESS=$(sed -n 's/^head *//p' .a)
export RAYWF_CLUSTER_ADDRESS RAYWF_CLUSTER_KEY=$tmp/a/head/key
join() { node "$@" --address "$RAYWF_CLUSTER_ADDRESS" --key "$tmp/a/head/key"; }
join b
nodes_of() { cut -d' ' -f2 side/where | sort | uniq -c | awk '{print $1}' | paste -sd' '; }

gang 0
logs
for rank in 0 1 2 3; do
    has "[$rank] $rank of 4, local $((rank % 2)) of 2, group $((rank / 2)) of 2, $rank"
done
ok 'two ranks on each node' test "$(nodes_of)" = '2 2'
ok 'one master for all' test "$(sort -u side/master | wc -l)" -eq 1
ok 'the losses of all are events' test "$(grep -c '"type":"step.metric"' .raywf/runs/last/events.ndjson)" -ge 4
ok 'a log of each rank' grep -q '3 of 4' .raywf/runs/last/steps/tasks.g/rank.3.log
ok 'its output is kept' grep -rqx done .raywf/cache
ok 'the secret is named' grep -q 'token \[secret:T\]' .raywf/runs/last/steps/tasks.g/rank.3.log
ok 'the secret is in no file' sh -c '! grep -rI swordfish .raywf a b'

# One on each node, though one node has room for both.
gang 0 --set tasks.g.gang.per_node=1 --set tasks.g.gang.ranks=2 --set tasks.g.resources.cpu=0.25
ok 'one rank on each node' test "$(nodes_of)" = '1 1'

# Open MPI finds its ranks, whatever they are beneath.
run 0 raywf run r.yaml --no-cache --set "tasks.g.gang.run='$abs_top_builddir/tests/t/gang_reduce; echo x >model'"
logs
for rank in 0 1 2 3; do
    has "[$rank] MPI rank $rank of 4, RANK $rank, sum 6, wrong 0"
done

cat >b.yaml <<'Y'
recipe: raywf/v1
tasks:
  net: {gang: {ranks: 2, builtin: allreduce}, resources: {cpu: 1}}
checks:
  some: {value: "${tasks.net.metrics.bandwidth}", op: ">", than: 0}
  all: {value: "${tasks.net.metrics.ranks}", op: "==", than: 2}
Y
run 0 raywf run b.yaml
run 0 raywf logs last tasks.net
has '4194304 bytes'
# So do programs written for PyTorch's launcher.
if [ "${RAYWF_TEST_PYTHON:-}" ] && "$RAYWF_TEST_PYTHON" -c 'import torch' 2>/dev/null; then
    cat >reduce.py <<'P'
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
x = torch.full((1000,), float(dist.get_rank() + 1))
dist.all_reduce(x)
print("torch rank", dist.get_rank(), "of", dist.get_world_size(), "local", os.environ["LOCAL_RANK"], "sum", x[999].item())
if dist.get_rank() == 0: open("model", "w").write("x")
dist.destroy_process_group()
P
    run 0 raywf run r.yaml --no-cache --set "tasks.g.gang.run=exec '$RAYWF_TEST_PYTHON' '$tmp/reduce.py'"
    logs
    for rank in 0 1 2 3; do
        has "[$rank] torch rank $rank of 4 local $((rank % 2)) sum 10.0"
    done
else
    skip 'PyTorch' 'RAYWF_TEST_PYTHON names no Python with torch'
fi

# --- how ranks end ---
node_of() { sed -n "s/^$1 //p" side/where; }
END='2 exit' gang 1
says "tasks.g: rank 2 of 4 on node $(node_of 2) ended with exit code 3: has had enough"
END='3 kill' gang 1
says "rank 3 of 4 on node $(node_of 3) was killed by signal 9 (SIGKILL)"
END='3 stop' gang 1 --param heartbeat=4s
says "rank 3 of 4 on node $(node_of 3) gave no sign of life for 4 s (heartbeat): its process is stopped"
none_left() { for p in side/pid.*; do ! kill -0 "$(cat "$p")" 2>/dev/null || return 1; done; }
ok 'no rank is left' until_ok none_left
# TERM reaches the ranks of all nodes, and their last words are heard.
# The time is longer where one was still beginning when it was over.
for time in 1 4 16 64 256; do
    END=trap gang 1 --set tasks.g.timeout=${time}s
    [ "$(ls side/armed.* 2>/dev/null | wc -l)" != 4 ] || break
done
says 'timed out'
logs
for rank in 0 1 2 3; do has "[$rank] saved $rank"; done
ok 'no rank is left' until_ok none_left
# Another attempt goes well.
END='1 once' gang 0 --param retry=1
says 'rank 1 of 4'
says 'attempt 2'

# --- a node is killed: what is left is enough ---
join c
rm -f side/*
END='wait' raywf run r.yaml --no-cache --set 'tasks.g.gang.ranks={min: 2, max: 6}' >.o 2>.e &
runs=$!
ok 'six ranks begin' until_ok has_lines side/where 6
victim=$(node_of 5)
kill -9 "$(cat "$tmp/$victim/nodes/$victim/pid")"
wait $runs
ok 'it goes on with fewer' test $? -eq 0
err=$(cat .e) command='raywf run, a node killed'
says "$victim"
ok 'four were left' test "$(wc -l <side/where)" -eq 10

# --- a node that cannot take part ---
mkdir bin
for p in sh head mktemp rm mv flock sleep; do ln -s "$(command -v $p)" bin/; done
ln -s "$RAYWF" bin/raywf
PATH=$tmp/bin join d
gang 7 --param ranks=6
says 'node d'
says 'apt-get install openmpi-bin'
finish
