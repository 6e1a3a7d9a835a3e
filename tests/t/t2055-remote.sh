#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Native tasks, values and actors between nodes: the drivers' node has no cores, so that
# all they submit runs on the two others. Workers, nodes and programs are killed on the way.
. "$abs_top_srcdir/tests/t/lib.sh"
driver=$abs_top_builddir/tests/t/remote_driver
plugin=$abs_top_builddir/tests/t/remote_plugin.so
unset RAYWF_ADDRESS
export RAYWF_CLUSTER=$tmp/c RAYWF_BIN=$RAYWF
trap 'raywf shutdown -q --timeout 20s; rm -rf "$tmp"' EXIT

node() { echo "$RAYWF_CLUSTER/nodes/$1/node"; }
pid_of() { cat "$RAYWF_CLUSTER/nodes/$1/pid"; }
# at NODE COMMANDS...: what a new driver answers to them, on one line
at()
{
    _node=$1
    shift
    printf '%s\n' "$@" | RAYWF_ADDRESS=$(node "$_node") timeout 1000 "$driver" "$plugin" 2>&1 |
        paste -sd' '
}
holds()
{
    case $3 in
    *"$2"*) pass ;;
    *) fail "$1" "gives: $3" "expected in it: $2" ;;
    esac
}
start() { raywf start --address "$head" --name "$1" --cpu "$2" --store 128MiB --label "zone=$1" -q >/dev/null; }
# Leases are held on some node.
busy() { raywf nodes --format json | grep -q '"leases":[1-9]'; }
idle() { ! busy; }
# A worker of one node may be done with all before that of the other has begun.
spreads() { [ "$(at a 'spread 60')" = bc ]; }
alive() { [ "$(raywf nodes | grep -c alive)" = "$1" ]; }

run 0 raywf start --head --no-node --port 0 --format json
head=$(json head <.out)
start a 0
start b 2
start c 2

# --- tasks ---
gives 'a task' 49 "$(at a 'square 7')"
ok 'spread over the nodes' until_ok spreads
ok 'all is given back' until_ok idle
gives 'of its own node where there is room' b "$(at b 'where')"
gives 'a task of a task' 36 "$(at a 'nested 6')"
gives 'many' '0 wrong' "$(at a 'many 20000 0')"
holds 'an error' 'not today, attempt 1' "$(at a 'fail')"
gives 'a worker that dies: again' 1 "$(at a 'die 1 3')"
died=$(at a 'die 9 0')
holds 'where it died' "its worker on node " "$died"
holds 'and of what' 'killed by signal 6' "$died"
holds 'a time-out' 'ran for more than its 0.3 s' "$(at a 'timeout 300 60000')"
holds 'a cancel' 'was cancelled' "$(at a 'cancel 200 0')"
holds 'by force' 'was cancelled' "$(at a 'cancel 200 1')"
holds 'no such plugin: where' 'on node ' "$(at a 'plugin /nope.so' 'square 3')"
holds 'and which' '/nope.so' "$(at a 'plugin /nope.so' 'square 3')"

# --- values ---
gives 'of any size' 'right right right right' \
    "$(at a 'big 100 1' 'big 100000 1' 'big 10485760 1' 'big 100000 4')"
gives 'arguments of our own' 'right right right' \
    "$(at a 'give 1000 3' 'give 100000 2' 'give 10000000 2')"
gives 'more than a frame takes' 'right right right right' \
    "$(at a 'give 20 2000' 'give 50000 300' 'big 40000 300' 'big 50000 100')"
gives 'of which only the name is passed on' 'right right right right right right' \
    "$(at a 'borrow 100' 'borrow 100000' 'borrow 10000000')"
gives 'streams' '5050 465' "$(at a 'stream 100 8' 'stream 30 100000')"

# --- calls go where what they read is, when the client's node is full ---
ok 'all is idle' until_ok idle
gives 'near' 'c b c home' "$(at a 'near 2000000 400')"

# --- actors ---
gives 'an actor' 'made 6 in order right right' \
    "$(at a 'actor x 5' 'call next' 'order 2000' 'value 100' 'value 1000000')"
gives 'that outlives its creator' 'made 11' "$(at a 'lasting keeper 10' 'call next')"
gives 'is found from everywhere' 'found 12' "$(at b 'find keeper' 'call next')"
gives 'and again' 'found 13' "$(at c 'find keeper' 'call next')"
where=$(at a 'find keeper' 'call where')
where=${where#found }
worker=$(at a 'find keeper' 'call pid')
kill -9 "${worker#found }"
gives 'killed, it starts anew' 'found 11' "$(at a 'find keeper' 'call next')"

# --- a node is killed under load ---
at a 'many 300 20' >many.out &
load=$!
until_ok busy
kill -9 "$(pid_of "$where")"
wait "$load"
gives 'all is right, once' '0 wrong' "$(cat many.out)"
other=$(at a 'find keeper' 'call where')
gives 'the actor is on the other node' "found $([ "$where" = b ] && echo c || echo b)" "$other"
gives 'anew' 'found 11' "$(at a 'find keeper' 'call next')"
ok 'the node starts again' until_ok start "$where" 2
gives 'the actor ends' 'found killed' "$(at a 'find keeper' 'kill 0')"
ok 'and gets work' until_ok spreads

# --- at most once ---
worker=$(at a 'lasting once 0' 'call pid')
at a 'find once' "once $tmp/marks 40 20" >once.out &
load=$!
until_ok test -s marks
kill -9 "${worker#made }"
wait "$load"
gives 'no call ran twice' '' "$(sort marks | uniq -d)"
gives 'and the actor is ended' 'found killed' "$(at a 'find once' 'kill 0')"

# --- a node that says nothing for a while ---
at a 'many 300 20' >many.out &
load=$!
until_ok busy
kill -STOP "$(pid_of b)"
wait "$load"
gives 'its tasks ran elsewhere' '0 wrong' "$(cat many.out)"
kill -CONT "$(pid_of b)"
ok 'it is back' until_ok alive 3
ok 'and works' until_ok spreads

# --- the head is killed ---
at a "marks $tmp/once 100 50" >marks.out &
load=$!
until_ok test -s once
pid=$(cat c/head/pid)
kill -9 "$pid"
until_ok gone "$pid"
run 0 raywf start --head --no-node --port "${head##*:}" --format json
wait "$load"
gives 'what ran goes on' 100 "$(cat marks.out)"
gives 'and nothing runs twice' '' "$(sort once | uniq -d)"
ok 'all nodes are back' until_ok alive 3
ok 'and idle' until_ok idle

# --- a program is killed ---
echo 'many 5000 50' >long
RAYWF_ADDRESS=$(node a) "$driver" "$plugin" <long >/dev/null 2>&1 &
load=$!
until_ok busy
kill -9 $load
wait $load 2>/dev/null
ok 'its workers are given back' until_ok idle

# --- its node is killed ---
RAYWF_ADDRESS=$(node a) "$driver" "$plugin" <long >/dev/null 2>&1 &
load=$!
until_ok busy
kill -9 "$(pid_of a)"
ok 'its workers are given back, too' until_ok idle
kill -9 $load
wait $load 2>/dev/null
ok 'it starts again' until_ok start a 0
gives 'and all is well' 64 "$(at a 'square 8')"
finish
