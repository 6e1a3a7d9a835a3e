#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A driver whose tasks run on other hosts, and read each other's results there: nodes are
# killed and cut off from the head, from the driver, or slow, while it goes on.
. "${abs_top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}/tests/net/net.sh"
net_enter "$0" "$@"
. "$abs_top_srcdir/tests/fault/lib.sh"
. "$abs_top_srcdir/tests/net/cluster.sh"

# from HOST COUNT: COUNT more results come from there.
beyond() { [ "$(grep -c "^result .* $1\$" "$history")" -gt "$2" ]; }
from() { until_ok beyond "$1" $(($(grep -c "^result .* $1\$" "$history") + $2)); }

check 'hosts' net_up 4
check 'a head' head_start || net_finish
for h in h2 h3 h4; do
    check "node $h" node_start $h
done
check 'all have joined' until_ok eval 'has_node h2 && has_node h3 && has_node h4'
history_start h2 0 spread
for h in h2 h3 h4; do
    check "tasks run on $h" from $h 20
done

# --- a node is killed ---
check 'one is killed' node_kill h4
check 'tasks go on elsewhere' from h3 50
check 'it starts again' until_ok node_start h4
check 'and gets work' from h4 20

# --- a node is cut off from everybody ---
net_cut h4
check 'cut off: gone' until_ok no_node h4
check 'tasks go on' from h3 50
net_heal h4
check 'healed: back' until_ok has_node h4
check 'and it gets work again' from h4 20

# --- two nodes do not hear each other; the head hears both ---
net_block h2 h4
check 'between two: tasks go on' from h3 50
check 'both are there' eval 'has_node h2 && has_node h4'
net_heal
check 'healed: it gets work again' from h4 20

# --- a slow link ---
net_rate h4 8mbit
check 'slow: tasks go on' history_goes_on 100
check 'and the node stays' has_node h4
net_rate h4 0

# --- the head ---
head_kill
check 'the head is killed: tasks go on' history_goes_on
head_start
check 'it comes back' until_ok eval 'has_node h2 && has_node h3 && has_node h4'
for h in h2 h3 h4; do
    check "afterwards tasks run on $h" from $h 20
done
check 'the history holds' history_end
net_finish
