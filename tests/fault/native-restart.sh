#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The node, and the head, are killed (SIGKILL) and started again in a loop while a driver
# goes on: each task still gives one result that every reader sees.
. "$(dirname "$0")/lib.sh" || exit 99
. "$abs_top_srcdir/tests/fault/native.sh"
build_native
kills=${RAYWF_KILLS:-8}
head= node=
trap 'kill -9 $head $node 2>/dev/null' EXIT

# until_there FILE: a daemon says in it that it is ready.
until_there()
{
    local i
    for ((i = 0; i < 600; i++)); do
        [ ! -s "$1" ] || return 0
        sleep 0.05
    done
    return 1
}

start_head()
{
    rm -f head.out
    "$RAYWF" start --head --no-node --foreground --dir "$dir/state" --port "$1" >head.out 2>>head.err &
    head=$!
    until_there head.out || { cat head.err; return 1; }
    at=$(sed -n 's/^head *//p' head.out)
}

start_node()
{
    rm -f node.out
    "$RAYWF" start --address "$at" --key "$dir/state/head/key" --name one --dir "$dir/state" --cpu 2 \
        --store 64MiB --foreground >node.out 2>>node.err &
    node=$!
    until_there node.out || { cat node.err; return 1; }
    RAYWF_ADDRESS=$(sed -n 's/.*RAYWF_ADDRESS=//p' node.out)
    export RAYWF_ADDRESS
}

kill_head()
{
    kill -9 "$head"; wait "$head" 2>/dev/null
    sleep 0.3
    start_head "${at##*:}"
}

kill_node()
{
    kill -9 "$node"; wait "$node" 2>/dev/null
    sleep 0.3
    start_node
}

# survives WHAT: tasks go on over KILLS kills of it.
survives()
{
    local i driver rc
    rm -f log.stop
    timeout 250 "$dir/native_kill" "$dir/plugin.so" tasks 1 0 "$dir/log" >out 2>err.driver &
    driver=$!
    for ((i = 0; i < kills; i++)); do
        sleep 0.$((RANDOM % 9 + 1))
        "kill_$1" || break
    done
    sleep 1
    : >log.stop
    wait "$driver"
    rc=$?
    tail -n 3 out err.driver
    [ $rc = 0 ] && [ "$i" = "$kills" ]
}

start_head 0 || { fail 'the head starts'; finish; }
start_node || { fail 'a node starts'; finish; }
check 'the head is killed' survives head
check 'the node is killed' survives node
finish
