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

# says PID TEXT FILE: that process has written it, and not ended instead.
ended_or_said() { grep -q "$2" "$3" || ! kill -0 "$1"; }
says() { until_ok ended_or_said "$@" && grep -q "$2" "$3"; }

start_head()
{
    rm -f head.out
    "$RAYWF" start --head --no-node --foreground --dir "$dir/state" --port "$1" >head.out 2>>head.err &
    head=$!
    says $head '^head ' head.out || { cat head.err; return 1; }
    at=$(sed -n 's/^head *//p' head.out)
}

start_node()
{
    rm -f node.out
    "$RAYWF" start --address "$at" --key "$dir/state/head/key" --name one --dir "$dir/state" --cpu 2 \
        --store 64MiB --foreground >node.out 2>>node.err &
    node=$!
    says $node RAYWF_ADDRESS= node.out || { cat node.err; return 1; }
    RAYWF_ADDRESS=$(sed -n 's/.*RAYWF_ADDRESS=//p' node.out)
    export RAYWF_ADDRESS
}

kill_head()
{
    kill -9 "$head"; wait "$head" 2>/dev/null
    sleep "$(moment 600)"
    # The port may be held by a connection that still ends.
    until_ok start_head "${at##*:}"
}

kill_node()
{
    kill -9 "$node"; wait "$node" 2>/dev/null
    sleep "$(moment 600)"
    start_node
}

# goes_on: tasks are answered, more than have been.
answered() { stat -c %s log 2>/dev/null || echo 0; }
more_than() { [ "$(answered)" -gt "$1" ] || ! kill -0 $driver; }
goes_on() { until_ok more_than $(($(answered) + 50)) && kill -0 $driver; }

# survives WHAT: tasks go on over KILLS kills of it.
survives()
{
    local i rc
    rm -f log log.stop
    timeout 1800 "$dir/native_kill" "$dir/plugin.so" tasks 1 0 "$dir/log" >out 2>err.driver &
    driver=$!
    for ((i = 0; i < kills; i++)); do
        goes_on || break
        sleep "$(moment 600)"
        "kill_$1" || break
    done
    goes_on
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
