#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Three hosts; the network between them goes and comes back while tasks and calls go on:
# shorter and longer than the head waits for a node, one way, with loss and delay.
. "${abs_top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}/tests/net/net.sh"
net_enter "$0" "$@"
. "$abs_top_srcdir/tests/fault/lib.sh"
. "$abs_top_srcdir/tests/net/cluster.sh"

check 'three hosts' net_up 3
check 'a head' head_start || net_finish
check 'a node' node_start h2
check 'another' node_start h3
check 'both have joined' until_ok eval 'has_node h2 && has_node h3'

history_start h3 0
check 'tasks run' until_ok history_beyond 50

# --- a short one ---
net_cut h3
sleep 1
net_heal h3
check 'after a short partition tasks go on' history_goes_on
check 'the node is there' until_ok has_node h3

# --- a long one ---
net_cut h3
check 'a node that is cut off is gone for the head' until_ok no_node h3
check 'the other one is not' has_node h2
net_heal h3
check 'it comes back' until_ok has_node h3
check 'and works' history_goes_on

# --- one way: the node hears nothing, and is heard ---
net_block h1 h3 oneway
check 'a node that hears nothing is gone' until_ok no_node h3
net_heal h3
check 'it comes back, too' until_ok has_node h3
check 'and works again' history_goes_on

# --- a bad network ---
net_loss h3 20
net_loss h1 20
check 'with packets lost, tasks go on' history_goes_on
check 'and on' history_goes_on
# Four packets lost in a row, and it is given up, and joins again.
check 'and the node is there' until_ok has_node h3
net_loss h3 0
net_loss h1 0

# --- slow and cut connections ---
check 'a proxy' proxy_start p h2 "$head"
check 'the history of these holds' history_end
node_kill h3
via=10.77.0.2:$proxy_port
check "a node starts behind it" until_ok node_start h3
check 'a node behind a proxy' until_ok has_node h3
history_start h3 0
until_ok history_beyond 50
connected() { proxy p stat | grep -q '^open [1-9]'; }
proxy p delay 300 200 >/dev/null
check 'a slow link: tasks go on' history_goes_on
check 'and the node stays ' has_node h3
for i in 1 2 3; do
    check "a connection to cut ($i)" until_ok connected
    proxy p cut >/dev/null
done
proxy p delay 0 >/dev/null
check 'a connection that is cut is made again' until_ok has_node h3
check 'tasks go on' history_goes_on
proxy p hang both >/dev/null
check 'half open: the node is gone' until_ok no_node h3
proxy p go >/dev/null
check 'and comes back' until_ok has_node h3
check 'tasks still go on' history_goes_on
# Of its tries to connect again, the later one arrives first.
proxy p hold on >/dev/null
proxy p cut >/dev/null
check 'two tries wait' until_ok eval 'proxy p stat | grep -q " held [2-9]"'
# One whose node has given it up meanwhile does not join: then the next one does.
later_joins() { proxy p release newest && until_ok 20 has_node h3; }
check 'the later one joins' until_ok later_joins
proxy p hold off >/dev/null
check 'and tasks go on with it' history_goes_on
check 'it stays when the earlier one arrives' has_node h3
check 'the history holds' history_end
net_finish
