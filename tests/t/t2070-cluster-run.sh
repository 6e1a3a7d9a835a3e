#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A recipe on a cluster: a head and three nodes as daemons, over TCP on loopback, that share
# this file system. Steps go where they may and can, wait for room, are cached; nodes, the
# head and the run itself are killed, and what has to go on goes on.
. "$abs_top_srcdir/tests/t/lib.sh"
unset RAYWF_ADDRESS RAYWF_CLUSTER_ADDRESS RAYWF_CLUSTER_KEY
export RAYWF_CLUSTER=$tmp/c
# Whatever happens, nothing stays behind.
trap 'touch "$tmp/go"; raywf shutdown -q --timeout 20s; rm -rf "$tmp"' EXIT

pid_of() { cat "$RAYWF_CLUSTER/$1/pid"; }
all_gone() { for _p in $(cat "$1"); do gone "$_p" || return 1; done; }
log=.raywf/runs/last/events.ndjson
# where STEP: the node of its last attempt
where() { grep '"step.started"' $log | grep -F "\"$1\"" | tail -n 1 | json node; }
json_all() { sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p'; }
start_node() { raywf start --address "$head" --name "$1" --cpu 2 --label zone=z${1#n} --resource disk=${1#n} -q >/dev/null; }

# --- nobody there, and wrong ways to say it ---
printf 'recipe: raywf/v1\nname: one\ntasks: {a: {run: "true"}}\n' >one.yaml
head -c 32 /dev/zero | od -An -tx1 | tr -d ' \n' >other.key && chmod 600 other.key
run 2 raywf run one.yaml --key other.key
says 'without --address'
run 2 raywf run one.yaml --address nowhere --key other.key
says 'HOST:PORT is expected'

# --- the cluster ---
run 0 raywf start --head --no-node --port 0 --format json
head=$(json head <.out)
[ -n "$head" ] || finish
run 5 raywf run one.yaml --address "$head"
says 'has no node for work'
run 7 raywf run one.yaml --address "$head" --key other.key
says 'key'
for n in n1 n2 n3; do ok "$n starts" start_node $n; done

# --- twelve steps, by labels, resources and placement ---
cat >many.yaml <<'Y'
recipe: raywf/v1
name: many
tasks:
  first:
    run: echo "$RAYWF_NODE" >o; echo '{"loss":0.5}' >&$RAYWF_REPORT; echo said; echo wrong >&2
    outputs: {o: o}
  zone:
    matrix: {z: [1, 2, 3]}
    run: echo "$RAYWF_NODE" | tee o; test "$RAYWF_NODE" = n${matrix.z}
    outputs: {o: o}
    resources: {labels: {zone: "z${matrix.z}"}}
  disk:
    run: echo "$RAYWF_NODE" >o
    outputs: {o: o}
    resources: {custom: {disk: 3}}
  spread:
    matrix: {i: [1, 2, 3, 4, 5, 6]}
    run: cat ${tasks.first.outputs.o} >o; echo "$RAYWF_NODE ${matrix.i}" >>o; MEET 6
    outputs: {o: o}
    resources: {placement: spread}
  last:
    needs: [tasks.spread, tasks.zone]
    run: cat ${tasks.disk.outputs.o} >o
    outputs: {o: o}
Y
# meet COUNT: until so many have come, so that all of them run at once.
cat >meet.sh <<'S'
echo >>"$RAYWF_RECIPE_DIR/met"
until [ "$(wc -l <"$RAYWF_RECIPE_DIR/met")" -ge "$1" ]; do sleep 0.05; done
S
sed -i "s|MEET|sh $tmp/meet.sh|" many.yaml
run 0 raywf run many.yaml --address "$head"
says '12 succeeded'
for z in 1 2 3; do gives "zone $z" n$z "$(where "tasks.zone[z=$z]")"; done
gives 'the only one with three disks' n3 "$(where tasks.disk)"
gives 'spread over all' 3 "$(grep '"step.started"' $log | grep -F 'tasks.spread[' | json_all node | sort -u | wc -l)"
run 0 raywf logs last tasks.first
has 'said'
run 0 raywf status last --format json
has '"node":"n3"'
has '"loss":0.5'
RAYWF_CLUSTER_ADDRESS=$head run 0 raywf run many.yaml
says '12 cached'

# --- what fits nowhere says so at once ---
printf 'recipe: raywf/v1\nname: big\ntasks: {a: {run: "true", resources: {cpu: 3}}}\n' >big.yaml
run 5 raywf run big.yaml --address "$head"
says 'asks for 3 cpu, the nearest of 3 nodes'
says 'tasks.a.resources.cpu'
printf 'recipe: raywf/v1\nname: far\ntasks: {a: {run: "true", resources: {labels: {zone: z9}}}}\n' >far.yaml
run 5 raywf run far.yaml --address "$head"
says 'label zone: z9'

run 5 raywf plan big.yaml --address "$head"
says 'asks for 3 cpu, the nearest of 3 nodes'
run 0 raywf plan one.yaml --address "$head"
has 'has 6 cpu'
run 0 raywf plan one.yaml --address 127.0.0.1:1 --key c/head/key
says 'whether it fits is not known'

# --- the recipe says where ---
sed "s/^name: one/name: there\ncluster: {address: \"$head\", key: c\/head\/key}/" one.yaml >there.yaml
run 0 raywf run there.yaml --no-cache
ok 'it ran there' grep -q '"node":"n' $log
sed "s/^name: one/name: here\ncluster: {size: 2, resources: {cpu: 1}}/" one.yaml >here.yaml
run 5 raywf plan here.yaml --set tasks.a.resources.cpu=2
run 0 raywf run here.yaml --no-cache
ok 'and on a cluster of its own' grep -q '"node":"local-' $log
cat >usual.yaml <<'Y'
recipe: raywf/v1
name: usual
cluster: {size: 2, resources: {cpu: 2}, placement: spread}
tasks: {a: {matrix: {i: [1, 2]}, run: "MEET 2; echo ${matrix.i}"}}
Y
sed -i "s|MEET|sh $tmp/meet.sh|" usual.yaml
rm met
run 0 raywf run usual.yaml --no-cache
gives 'placed as the cluster says' 2 "$(grep '"step.started"' $log | json_all node | sort -u | wc -l)"

# --- what may come yet is waited for ---
raywf run far.yaml --address "$head" --wait-for-nodes --no-cache >far.out 2>&1 &
waiter=$!
ok 'it waits' until_ok grep -q 'tasks.a  waits for a node' far.out
raywf start --address "$head" --name n9 --cpu 1 --label zone=z9 -q >/dev/null
ok 'it runs when its node has come' wait $waiter
run 0 raywf shutdown --name n9

# --- two runs share it: the second waits, and says for what ---
cat >hold.yaml <<'Y'
recipe: raywf/v1
name: hold
tasks:
  hold:
    matrix: {i: [1, 2, 3]}
    run: |
      echo $$ >>$RAYWF_RECIPE_DIR/pids
      while ! test -e $RAYWF_RECIPE_DIR/go; do sleep 0.1; done
      echo ${matrix.i} >o
    outputs: {o: o}
    resources: {cpu: 2}
    cache: false
Y
: >pids
raywf run hold.yaml --address "$head" >hold.out 2>&1 &
holder=$!
ok 'the first has all' until_ok has_lines pids 3
mkdir two && sed 's/name: hold/name: two/; s/i: \[1, 2, 3\]/i: [7]/; s/pids/pids2/' hold.yaml >two/two.yaml
touch two/go
(cd two && exec raywf run two.yaml --address "$head" >two.out 2>&1) &
second=$!
in_two() { (cd two && raywf why 'tasks.hold[i=7]'); }
ok 'the second waits' until_ok eval "in_two | grep '2 of 2 cpu'"
run 0 in_two
has 'waits for'
has '2 of 2 cpu'
touch go
ok 'both end' wait $holder $second
rm go

# --- a run of higher priority gets what becomes free, though it came last ---
run 2 raywf run one.yaml --address "$head" --priority high
cat >disks.yaml <<'Y'
recipe: raywf/v1
name: disks
params: {who: {type: int, default: 0}}
tasks:
  only:
    run: |
      echo ${params.who} >>order
      while ! test -e go; do sleep 0.1; done
    dir: ${recipe.dir}
    resources: {custom: {disk: 3}}
    cache: false
Y
: >order
started=
for p in 0 1 5; do
    raywf run disks.yaml --address "$head" -p who=$p --priority $p >"p$p.out" 2>&1 &
    started="$started $!"
    if [ $p = 0 ]; then
        ok 'the first has them all' until_ok has_lines order 1
    else
        ok "run $p waits" until_ok grep -q 'waits for' "p$p.out"
    fi
done
touch go
ok 'all end' wait $started
gives 'in this order' '0 5 1' "$(paste -sd' ' order)"
rm go

# --- steps of a run: one of higher priority ends another; time-outs; the first failure ---
cat >urgent.yaml <<'Y'
recipe: raywf/v1
name: urgent
tasks:
  low:
    matrix: {i: [1, 2, 3]}
    run: |
      echo >>$RAYWF_RECIPE_DIR/began
      while ! test -e $RAYWF_RECIPE_DIR/go; do sleep 0.05; done
      echo ${matrix.i}
    resources: {cpu: 2}
    retry: 1
    timeout: 5m
  quick:
    run: until [ "$(wc -l <$RAYWF_RECIPE_DIR/began)" -ge 3 ]; do sleep 0.05; done
    resources: {cpu: 0}
  high:
    run: touch $RAYWF_RECIPE_DIR/go
    needs: [tasks.quick]
    resources: {cpu: 2}
    priority: 10
Y
: >began
run 0 raywf run urgent.yaml --address "$head"
says 'makes room for a step of higher priority'
says '5 succeeded'
rm go
cat >ends.yaml <<'Y'
recipe: raywf/v1
name: ends
tasks:
  other: {run: "touch $RAYWF_RECIPE_DIR/other; sleep 600"}
  begun: {run: "until [ -e $RAYWF_RECIPE_DIR/other ]; do sleep 0.05; done"}
  slow: {run: "sleep 60", timeout: 300ms, needs: [tasks.begun]}
Y
run 1 raywf run ends.yaml --address "$head" --fail-fast
says 'timed out after 300ms on node n'
says 'tasks.other  stopped'

# --- a node is killed under a step: it runs elsewhere, and costs no attempt ---
cat >lost.yaml <<'Y'
recipe: raywf/v1
name: lost
tasks:
  slow:
    run: |
      echo $$ >>$RAYWF_RECIPE_DIR/pids
      while ! test -e $RAYWF_RECIPE_DIR/go; do sleep 0.1; done
      echo "$RAYWF_NODE" >o
    outputs: {o: o}
    retry: {max: 0}
    cache: false
Y
: >pids
raywf run lost.yaml --address "$head" >lost.out 2>&1 &
runner=$!
ok 'it runs' until_ok has_lines pids 1
ok 'it is known where' until_ok grep -q '"step.started".*"tasks.slow"' $log
victim=$(where tasks.slow)
kill -9 "$(pid_of nodes/$victim)"
ok 'it runs elsewhere' until_ok has_lines pids 2
touch go
ok 'the run succeeds' wait $runner
rm go
if [ "$(where tasks.slow)" != "$victim" ]; then pass; else fail 'another node' "$(cat lost.out)"; fi
ok 'its cause is known' grep -q '"cause":"node_lost"' $log
ok 'the first process is gone' until_ok all_gone pids
ok "$victim starts again" start_node "$victim"

# --- the run is killed: nothing is left on the nodes; and goes on ---
: >pids
raywf run hold.yaml --address "$head" >hold.out 2>&1 &
runner=$!
ok 'three run' until_ok has_lines pids 3
id=$(basename "$(readlink .raywf/runs/last)")
kill -9 $runner
wait $runner 2>/dev/null
ok 'nothing is left' until_ok all_gone pids
: >pids
raywf resume "$id" >resume.out 2>&1 &
runner=$!
ok 'they run again' until_ok has_lines pids 3

# --- the head is killed and comes back: what runs goes on ---
kill -9 "$(pid_of head)"
ok 'the head is gone' until_ok gone "$(pid_of head)"
run 0 raywf start --head --no-node --port "${head##*:}" -q
for n in n1 n2 n3; do
    ok "$n is back" until_ok sh -c "raywf nodes --address $head | grep -q '^$n .*alive'"
done
touch go
ok 'the run succeeds' wait $runner
gives 'each ran once more' 3 "$(wc -l <pids)"
gives 'and none was lost' 0 "$(grep -c '"step.retry"' $log)"
rm go

# --- stopped: nothing is left ---
: >pids
raywf run hold.yaml --address "$head" >hold.out 2>&1 &
runner=$!
ok 'three run' until_ok has_lines pids 3
run 0 raywf stop
wait $runner
gives 'stopped' 9 $?
ok 'nothing is left' until_ok all_gone pids
run 0 raywf shutdown
finish
