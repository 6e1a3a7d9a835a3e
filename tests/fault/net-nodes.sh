#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Three hosts; the head and the nodes are killed, stopped and started again, one has another
# clock, one a full disk, while tasks and calls go on.
. "${abs_top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}/tests/net/net.sh"
net_enter "$0" "$@"
. "$abs_top_srcdir/tests/fault/lib.sh"
. "$abs_top_srcdir/tests/net/cluster.sh"

check 'hosts' net_up 4
check 'a head' head_start || net_finish
check 'a node' node_start h2
net_skew h3 1000000
check 'one on a machine that is up for long' node_start h3
check 'both have joined' until_ok eval 'has_node h2 && has_node h3'

history_start h3 0
check 'tasks run' until_ok history_beyond 50

# --- the head ---
old=$(head_pid)
check 'the head is killed' head_kill
check 'tasks go on without it' history_goes_on
check 'it starts again' head_start
check 'the nodes come back' until_ok eval 'has_node h2 && has_node h3'
check 'tasks go on' history_goes_on
check 'it is another process' test "$old" != "$(head_pid)"
for i in 1 2 3; do
    check "killed ($i)" head_kill
    check "started ($i)" head_start
    sleep "$(moment 700)"
done
check 'killed again and again' until_ok eval 'has_node h2 && has_node h3'
check 'tasks still go on' history_goes_on

# --- a node that does nothing for a while ---
# The head waits three seconds for a node that beats each second. What it says counts when we
# were quick enough to ask; where the machine was not, the node is let go on, and stopped again.
ms() { echo $(($(date +%s%N) / 1000000)); }
still_there()
{
    local began gone
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        began=$(ms)
        kill -STOP "$pid"
        sleep 0.5
        has_node h3 && return
        gone=$(($(ms) - began))
        kill -CONT "$pid"
        [ $gone -gt 1500 ] || return 1
        until_ok has_node h3
    done
    echo 'this machine is too slow to tell'
    kill -STOP "$pid"
}
pid=$(node_pid h3)
check 'stopped for a moment, it is still there' still_there
check 'stopped for longer, it is gone' until_ok no_node h3
kill -CONT "$pid"
check 'and comes back' until_ok has_node h3
check 'with its tasks' history_goes_on

# --- a node that is killed ---
check 'another is killed' node_kill h2
check 'it is gone for the rest' until_ok no_node h2 h3
check 'they go on' history_goes_on
check 'it starts again' node_start h2
check 'and is there' until_ok has_node h2 alive h3
check 'its own node is killed' node_kill h3
check 'starts again' until_ok node_start h3
check 'and the driver goes on with it' history_goes_on
check 'the history holds' history_end

# --- a full disk ---
mkdir -p "$(state h4)/head" && chmod -R 700 "$(state h4)"
cp "$(state h1)/head/key" "$net/key" && chmod 600 "$net/key"
net_private h4 "$(state h4)" 1m
net_on h4 sh -c "mkdir -m 700 '$(state h4)/head' && cp -p '$net/key' '$(state h4)/head/key'"
fill() { net_on h4 dd if=/dev/zero of="$(state h4)/fill" bs=4096 status=none 2>/dev/null; }
drain() { net_on h4 rm -f "$(state h4)/fill"; }
net_on h4 touch "$(state h4)/fill"
node_start_h4()
{
    net_on h4 "$RAYWF" start --address "$head" --dir "$(state h4)" --name h4 --cpu 2 \
        --store 16MiB -q >"$net/h4.out" 2>"$net/h4.err"
}
fill
check 'with a full disk a node does not start' eval '! node_start_h4'
check 'and says why' grep -qi 'no space' "$net/h4.err"
drain
check 'with room it does' node_start_h4
check 'and joins' until_ok has_node h4
fill
history_start h4 400
check 'what needs no disk runs with a full one' history_end
check 'the node is there' has_node h4
check 'the others, too' eval 'has_node h2 && has_node h3'
drain
history_start h4 400
check 'and with room again' history_end

# --- many on one machine ---
many=$net/many
for ((i = 1; i <= 40; i++)); do
    # Eight at a time: each has half a minute to get in.
    [ $i -le 8 ] || wait "${starts[i - 8]}"
    net_on h4 "$RAYWF" start --address "$head" --key "$(state h4)/head/key" --dir "$many" \
        --name "n$i" --cpu 1 -q >/dev/null 2>&1 &
    starts[i]=$!
done
wait "${starts[@]}"
all_there() { [ "$(nodes h2 | grep -c '^n[0-9]* alive')" = 40 ]; }
check 'forty nodes join' until_ok all_there
largest=0
for pid in "$many"/nodes/*/pid; do
    kib=$(net_own_kib "$(cat "$pid")")
    [ "$kib" -le $largest ] || largest=$kib
done
check "each is small ($largest KiB)" test "$largest" -lt 8192
net_finish
