#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# An object of 1 GiB from a node's store to another's, beside a plain socket copy of as many
# bytes, from memory to memory, between the same network namespaces (bar: 80 % of it); and one to 8 nodes at once, over links that
# are slower than the processors (bar: at most 3 times one node's time).
#   object_net.sh [MIB [MIB_OF_THE_TREE [RATE]]]
top=$(cd "$(dirname "$0")/../.." && pwd)
export abs_top_srcdir=$top abs_top_builddir=${abs_top_builddir:-$top/build}
. "$top/tests/net/net.sh"
net_enter "$0" "$@"
. "$top/tests/bench/lib.sh"
set +e
tool=$abs_top_builddir/tests/bench/object_net
tcp=$abs_top_builddir/tests/net/tcp
for program in "$tool" "$tcp"; do
    [ -x "$program" ] || { echo "no $program: make -C ${program%/tests/*} tests/${program##*/tests/}" >&2; exit 1; }
done
size=$((${1:-1024} << 20)) small=$((${2:-128} << 20)) rate=${3:-400mbit}
net_up 9 || exit 1

# give SIZE: node 0 on h1; $object
give()
{
    rm -f in give.out; mkfifo in # what the last one said is not this one's
    net_exec h1 "$tool" give "$1" <in >give.out &
    exec 7>in
    until_ok grep -q object give.out || exit 1
    object=$(sed -n 's/^object //p' give.out)
}
given() { exec 7>&-; wait %?give 2>/dev/null; }
has_rounds() { [ "$(grep -c '^s ' "$1")" -ge "$2" ]; }
seconds() { sed -n 's/^s \([0-9.]*\).*/\1/p'; }

# --- one node; by turns, for the machine may be busy with other things, too ---
rounds=7
give "$size"
mkfifo in2 in3
net_exec h2 "$tool" get 1 "$size" "$object" $rounds 0 <in2 >get.out &
exec 8>in2
net_exec h2 "$tool" take "$size" >take.out &
until_ok grep -q listening take.out
net_exec h1 "$tool" send "$size" $rounds <in3 >push.out &
exec 9>in3
# Who has done all rounds reads no more.
for ((i = 1; i < rounds; i++)); do
    until_ok has_rounds push.out $i || exit 1
    echo >&8
    until_ok has_rounds get.out $((i + 1)) || exit 1
    echo >&9
done
until_ok has_rounds push.out $rounds || exit 1
exec 8>&- 9>&-
given
net_exec h2 "$tcp" serve 10.77.0.2:7000 >serve.out &
serve=$!
until_ok grep -q listening serve.out
for _ in 1 2 3 4 5; do net_on h1 "$tcp" push 10.77.0.2:7000 "$size"; done >hot.out
kill "$serve"
cold=$(seconds <get.out | head -n 1)
ours=$(seconds <get.out | tail -n +2 | median)
plain=$(seconds <push.out | tail -n +2 | median)
hot=$(seconds <hot.out | median)
best_ours=$(seconds <get.out | tail -n +2 | sort -n | head -n 1)
best_plain=$(seconds <push.out | tail -n +2 | sort -n | head -n 1)
gib=$(awk -v s="$size" 'BEGIN { print s / 2^30 }')
awk -v a="$ours" -v b="$plain" -v h="$hot" -v c="$cold" -v g="$gib" -v x="$best_ours" -v y="$best_plain" 'BEGIN {
    printf "object of %g GiB to another node: %.3f s, %.2f GiB/s (first time, into fresh memory: %.3f s)\n", g, a, g / a, c
    printf "plain socket copy: %.3f s, %.2f GiB/s (one and the same 256 KiB again and again: %.2f GiB/s)\n", b, g / b, g / h
    printf "of a plain copy: median %.0f %% (bar: 80), best of each: %.0f %%\n", 100 * b / a, 100 * y / x }'

# --- eight nodes ---
for i in 1 2 3 4 5 6 7 8 9; do net_rate "h$i" "$rate"; done
# to COUNT: the time until the last of so many has it
to()
{
    local i at n=$1 pids=''
    give "$small"
    at=$(awk '{ print $1 + 1 }' /proc/uptime)
    rm -f get.*; mkfifo get.in
    exec 8<>get.in
    for ((i = 1; i <= n; i++)); do
        net_exec "h$((i + 1))" "$tool" get "$i" "$small" "$object" 1 "$at" <get.in >"get.$i" &
        pids="$pids $!"
    done
    until_ok eval '[ "$(cat get.[0-9]* | grep -c "^s ")" = '"$n"' ]' || { echo 'it did not end' >&2; exit 1; }
    kill $pids
    wait $pids 2>/dev/null
    exec 8>&-
    given
    cat get.[0-9]* | seconds | sort -n | tail -n 1
}
one=$(to 1) all=$(to 8)
sent=$(sed -n 's/^sent //p' give.out)
awk -v a="$one" -v b="$all" -v s="$sent" -v z="$small" -v r="$rate" 'BEGIN {
    printf "object of %d MiB over links of %s: to one node %.2f s, to 8 nodes %.2f s; its owner sent it %.1f times\n", z / 2^20, r, a, b, s / z
    printf "8 nodes of one: median %.2f times (bar: 3)\n", b / a }'
[ $$ != 1 ] || { kill -9 -1; } 2>/dev/null
exit 0
