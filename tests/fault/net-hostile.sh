#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Peers as none should be, from a host of their own, against a head and a node: garbage,
# conversations that are cut or changed at every byte, floods and dawdlers, other versions,
# wrong keys, and a node with the key that has lost its mind. Both live, nothing of it stays
# behind, and who belongs there gets in meanwhile. The key is nowhere but in its file.
. "${abs_top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}/tests/net/net.sh"
net_enter "$0" "$@"
. "$abs_top_srcdir/tests/fault/lib.sh"
. "$abs_top_srcdir/tests/net/cluster.sh"
connects=${RAYWF_CONNECTS:-10000}

check 'hosts' net_up 4
check 'a head' head_start || net_finish
check 'a node' node_start h2
check 'has joined' until_ok has_node h2
key=$(state h1)/head/key
# The port where a node listens for others.
peer_port=$(net_on h2 awk '$4 == "0A" { split($2, a, ":"); print a[2]; exit }' /proc/net/tcp)
peer=10.77.0.2:$((16#$peer_port))

# hostile ADDRESS MODE...: what it says
hostile()
{
    local tool=hostile
    [ "$2" = head ] || [ "$2" = node ] && tool=fuzz_peer
    net_on h3 timeout 900 "$net_tools/$tool" "$1" "$key" "${@:2}"
}
rss() { awk '/^RssAnon/ { print $2 }' "/proc/$1/status"; }

# little_more PID KIB
little_more() { [ "$(rss "$1")" -le $(($2 + 8192)) ]; }
# loses_none PID KIB ADDRESS MODE...: what the most connections at once have needed may stay with its
# heap, and a slow machine has more of them. What is lost each time grows again with each time.
loses_none()
{
    local pid=$1 memory=$2 i
    shift 2
    for i in 1 2 3 4; do
        until_ok 10 little_more "$pid" "$memory" && return
        memory=$(rss "$pid")
        hostile "$@" >/dev/null
    done
    return 1
}

# survives NAME PID ADDRESS MODE...: it lives, and has no more descriptors and memory after.
survives()
{
    local name=$1 pid=$2 fds memory said
    fds=$(net_count_fds "$pid") memory=$(rss "$pid")
    shift 2
    said=$(hostile "$@")
    case $said in
    ok*) pass "$name: $said" ;;
    *) fail "$name: $said" ;;
    esac
    check "$name: it lives" test -d "/proc/$pid"
    check "$name: its descriptors come back" until_ok eval "[ \$(net_count_fds $pid) -le $fds ]"
    check "$name: it has little more memory" loses_none "$pid" "$memory" "$@"
}

for who in head node; do
    if [ $who = head ]; then pid=$(head_pid) at=$head; else pid=$(node_pid h2) at=$peer; fi
    survives "$who, garbage" "$pid" "$at" garbage 1000
    # A node hears no NODE_JOIN: for it that conversation ends with garbage, too.
    [ $who = node ] || survives "$who, cut at every byte" "$pid" "$at" truncated
    [ $who = node ] || survives "$who, changed at every byte" "$pid" "$at" corrupt
    # Its key is looked for in vain.
    survives "$who, $connects connections" "$pid" "$at" connects "$connects"
done
survives 'a buggy node' "$(head_pid)" "$head" buggy
# What is made when it is needed first, or kept for lists up to a bound, is there then.
hostile "$head" head 9 10000 >/dev/null
hostile "$peer" node 9 1000 >/dev/null
for seed in 1 2 3; do
    survives "a head, and messages of all kinds ($seed)" "$(head_pid)" "$head" head $seed 10000
    survives "a node, and messages of all kinds ($seed)" "$(node_pid h2)" "$peer" node $seed 3000
done
check 'the node is still there' until_ok has_node h2

# --- who belongs there gets in meanwhile ---
# again_and_again MODE COUNT: until there is the file "over"
again_and_again()
{
    until [ -e "$net/over" ]; do hostile "$head" "$@"; done >"$net/$1"
}
all_ok() { wait "$1" && grep -q '^ok' "$2" && ! grep -v '^ok' "$2"; }
again_and_again connects "$connects" &
flood=$!
again_and_again slow 300 &
slow=$!
check 'a node joins meanwhile' node_start h4
check 'and is there' until_ok has_node h4
: >"$net/over"
check 'the flood is over' all_ok $flood "$net/connects"
check 'who dawdles is ended' all_ok $slow "$net/slow"
check 'the first node is still there' has_node h2

# --- versions ---
check 'another version is shown the door' eval 'hostile "$head" version 77.1 | grep -q "shown the door"'
check 'and the head says who it was' until_ok grep -q '10.77.0.3:.*is raywf 77.1, this is raywf' "$(state h1)/head/log"

# --- keys ---
mkdir -p "$(state h3)/head" && chmod -R 700 "$(state h3)"
(umask 077 && printf '%064d\n' 7 >"$(state h3)/head/key")
heard=$(stat -c %s "$(state h1)/head/log")
check 'a wrong key' eval '! node_start h3'
check 'the node says so' grep -q "does not have this cluster's key" "$net/h3.err"
head_says_so() { tail -c +$((heard + 1)) "$(state h1)/head/log" | grep -q "10.77.0.3:.*\(key\|ended\)"; }
# It says one refusal in two seconds.
refused_again() { head_says_so || { sleep 2.1 && ! node_start h3 && head_says_so; }; }
check 'and the head' until_ok refused_again
chmod 644 "$(state h3)/head/key"
check 'a key that others can read' eval '! node_start h3'
check 'says what to do' grep -q "chmod 600" "$net/h3.err"

# --- the secret ---
check 'the key is in no argument' eval '! cat /proc/[0-9]*/cmdline | grep -aqFf "$key"'
check 'in no environment' eval '! cat /proc/[0-9]*/environ 2>/dev/null | grep -aqFf "$key"'
check 'in no log, journal or other file' eval '! grep -raqFf "$key" --exclude=key "$net"'
for list in nodes actors objects status ps; do
    RAYWF_ADDRESS=$(node_at h2) net_on h2 "$RAYWF" $list --format json >"$net/list.$list" 2>&1
done
check 'in no list' eval '! grep -aqFf "$key" "$net"/list.*'
check 'the folder of the head is ours alone' test "$(stat -c %a "$(state h1)/head")" = 700
check 'the key too' test "$(stat -c %a "$key")" = 600
net_finish
