# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A cluster over the hosts of net.sh: its head on h1, nodes where they are asked for, each
# host with state and key of its own. Source it after net.sh and a lib.sh, after net_up.
#
#   head_start [OPTION...]     $head is its address; again: at the same port, same state
#   node_start HOST [OPTION...]     named as its host; via=HOST:PORT: not $head but a proxy;
#                              node_options: instead of --cpu 2 --store 16MiB
#   head_pid / node_pid HOST   head_kill / node_kill HOST (SIGKILL, and until it is gone)
#   node_at HOST               what RAYWF_ADDRESS is there
#   nodes [HOST]               the cluster as the node of HOST (h2) sees it: "h2 alive" …
#   has_node HOST [STATE]      for until_ok
#   history_start HOST COUNT [spread]    a driver there; history_end [OPTION]: ended well, and
#                              the checker finds nothing; history_count: results so far
#   history_goes_on            some more of them come
unset RAYWF_ADDRESS RAYWF_CLUSTER_ADDRESS RAYWF_CLUSTER
net_tools=$abs_top_builddir/tests/net
head_port=0

state() { echo "$net/$1/state"; }
node_at() { echo "$net/$1/state/nodes/$1/node"; }
head_pid() { cat "$(state h1)/head/pid"; }
node_pid() { cat "$(state "$1")/nodes/$1/pid"; }

head_start()
{
    net_on h1 "$RAYWF" start --head --no-node --host 10.77.0.1 --port "$head_port" \
        --dir "$(state h1)" "$@" >"$net/head.out" 2>"$net/head.err" || {
        cat "$net/head.err"
        return 1
    }
    head=$(cat "$(state h1)/head/address")
    head_port=${head##*:}
}

node_start()
{
    local host=$1 dir
    shift
    dir=$(state "$host")
    if [ ! -f "$dir/head/key" ]; then
        mkdir -p "$dir/head" && chmod -R 700 "$dir"
        cp "$(state h1)/head/key" "$dir/head/key" && chmod 600 "$dir/head/key"
    fi
    # shellcheck disable=SC2086 # several options
    net_on "$host" "$RAYWF" start --address "${via:-$head}" --dir "$dir" --name "$host" \
        --memory 1GiB ${node_options:---cpu 2 --store 16MiB} "$@" >"$net/$host.out" 2>"$net/$host.err"
}

gone_pid() { ! grep -q '^State:[[:space:]]*[RSDTtI]' "/proc/$1/status" 2>/dev/null; }
kill_pid() { kill -9 "$1" && until_ok gone_pid "$1"; }
head_kill() { kill_pid "$(head_pid)"; }
node_kill() { kill_pid "$(node_pid "$1")"; }

nodes()
{
    local at=${1:-h2} list
    list=$(RAYWF_ADDRESS=$(node_at "$at") net_on "$at" "$RAYWF" nodes 2>/dev/null) || return 1
    awk 'NR > 1 { print $1, $2 }' <<<"$list"
}
has_node() { nodes "${3:-h2}" | grep -qx "$1 ${2:-alive}"; }
# The list itself must have come.
no_node()
{
    local list
    list=$(nodes "${2:-h2}") && ! grep -q "^$1 " <<<"$list"
}

history_start()
{
    history=$net/history.$1
    rm -f "$history"*
    RAYWF_ADDRESS=$(node_at "$1") net_exec "$1" "$net_tools/history_driver" \
        "$net_tools/history_plugin.so" "$history" "$2" ${3:+"$3"} >"$history.out" 2>&1 &
    history_pid=$!
}
history_count() { grep -c '^result' "$history" 2>/dev/null; }
# More than COUNT results.
history_beyond() { [ "$(history_count)" -gt "$1" ]; }
history_goes_on()
{
    local before
    before=$(history_count)
    until_ok history_beyond $((before + ${1:-50}))
}
history_end()
{
    local rc
    : >"$history.stop"
    wait "$history_pid"
    rc=$?
    "$net_tools/history_check" "$@" "$history" "$history.ran" || return 1
    [ $rc = 0 ] || { tail -n 5 "$history.out"; return 1; }
}
