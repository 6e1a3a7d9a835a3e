#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A cluster on hosts that are network namespaces of this machine: tests/bench/cluster.sh
# [PART...], parts: join ping tasks object tree lost million (all of them). Each prints what
# was measured, the floor that was measured beside it, and the bar.
#
#   join     100 node processes on this machine: until all have joined; memory of each
#            (private pages, and what it holds of shared memory alone), and of the head
#   ping     a no-op on another host, and a bare TCP round trip between the same hosts
#   tasks    100,000 no-ops spread over 8 hosts that are not the driver's
#   object   1 GiB to another host, and a plain socket that copies as much
#   tree     the same to one host and to 8, each with a link of 1 Gbit/s: with links that are
#            only as quick as this machine's processors, a tree could show nothing
#   lost     a host is cut off: when the head says so, when its work is done elsewhere
#   million  1,000,000 tasks: what the head's memory is then
export abs_top_srcdir=${abs_top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$abs_top_srcdir/tests/net/net.sh"
net_enter "$0" "$@"
. "$abs_top_srcdir/tests/bench/lib.sh"
set +e
abs_top_builddir=$(dirname "$RAYWF")
. "$abs_top_srcdir/tests/net/cluster.sh"
trap 'cd /; kill -9 -1; rm -rf "$dir"' EXIT
parts=${*:-join ping tasks object tree lost million}
has() { case " $parts " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }
make -s -C "$abs_top_builddir" tests/bench/cluster tests/net/tcp
${CC:-cc} -O2 -shared -fPIC -I"$top/src/native" -o plugin.so "$top/tests/bench/cluster_plugin.c" || exit 1
bench=$abs_top_builddir/tests/bench/cluster tcp=$abs_top_builddir/tests/net/tcp
GiB=${RAYWF_BENCH_BYTES:-$((1 << 30))} link=${RAYWF_BENCH_LINK:-1gbit}

say() { printf '%-46s %s\n' "$1" "$2"; }
# ratio A B, and whether it is at least (>=) or at most (<=) the bar
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
on() { RAYWF_ADDRESS=$(node_at "$1") net_on "$@"; }
run_bench() { on h2 "$bench" "$dir/plugin.so" "$@"; }
# cluster_of FIRST LAST STORE: nodes on these hosts
cluster_of()
{
    local i
    [ ${#net_all[@]} -ge "$2" ] || net_up $(($2 - ${#net_all[@]})) || exit 1
    head_start || exit 1
    for ((i = $1; i <= $2; i++)); do
        node_options="--cpu 1 --store $3" node_start "h$i" --label "where=h$i" --label "away=$([ "$i" = 2 ] && echo no || echo yes)" || { cat "$net/h$i.err"; exit 1; }
    done
    for ((i = $1; i <= $2; i++)); do until_ok has_node "h$i"; done
}
cluster_end()
{
    local i
    for i in "${net_all[@]}"; do
        [ ! -f "$(state "$i")/nodes/$i/pid" ] || node_kill "$i"
        rm -rf "$(state "$i")/nodes"
    done
    head_kill
    rm -rf "$(state h1)"/head/journal
}
serve()
{
    net_exec "$1" "$tcp" serve "$(net_ip "$1"):4000" >"$dir/serve" 2>/dev/null &
    served=$!
    until_ok test -s "$dir/serve"
}

join_part()
{
    local i from to most=0 kib
    "$RAYWF" start --head --no-node --port 0 --dir "$dir/c" -q >/dev/null || exit 1
    head=$(cat c/head/address)
    from=$EPOCHREALTIME
    for ((i = 1; i <= 100; i++)); do
        "$RAYWF" start --address "$head" --dir "$dir/c" --name "n$i" --cpu 1 -q >/dev/null &
    done
    until_ok eval '[ "$(RAYWF_ADDRESS=$dir/c/nodes/n1/node "$RAYWF" nodes 2>/dev/null | grep -c alive)" = 100 ]'
    to=$EPOCHREALTIME
    say "100 nodes have joined" "$(awk -v a="$from" -v b="$to" 'BEGIN { printf "%.2f", b - a }') s (at most 5)"
    for i in c/nodes/*/pid; do
        kib=$(net_own_kib "$(cat "$i")")
        [ "$kib" -le $most ] || most=$kib
    done
    say "the largest of them" "$(ratio $most 1024) MiB (under 8)"
    say "their head" "$(ratio "$(net_own_kib "$(cat c/head/pid)")" 1024) MiB"
    "$RAYWF" shutdown --dir "$dir/c" -q
}

ping_part()
{
    local floor took
    cluster_of 2 3 64MiB
    serve h3
    floor=$(net_on h2 "$tcp" ping 10.77.0.3:4000 5000 | awk '{ print $2 }')
    took=$(run_bench ping h3 5000 | awk '{ print $2 }')
    say "TCP round trip between two hosts" "$floor us"
    say "a no-op on the other host" "$took us: $(awk -v a="$took" -v b="$floor" 'BEGIN { print a - b }') us more (at most 150)"
    kill "$served"
    cluster_end
}

tasks_part()
{
    local rate best=0 i hosts
    cluster_of 2 10 64MiB
    for i in 1 2 3; do
        run_bench tasks 100000 >tasks.out
        rate=$(awk '{ print $2 }' tasks.out)
        [ "${rate:-0}" -le $best ] || best=$rate hosts=$(cut -d' ' -f3- tasks.out)
    done
    say "100,000 no-ops over 8 other hosts" "$best/s: $(ratio "$best" 200000) of the bar (at least 200,000/s)"
    say "of them by each" "$hosts"
    cluster_end
}

# copies HOST: seconds of a plain socket
copy() { net_on h2 "$tcp" copy "$(net_ip "$1"):4000" $GiB | awk '{ print $2 }'; }

object_part()
{
    local floor took
    cluster_of 2 3 2500MiB
    serve h3
    floor=$( (copy h3; copy h3; copy h3) | sort -n | head -n 1)
    took=$( (run_bench object $GiB h3; run_bench object $GiB h3; run_bench object $GiB h3) |
        awk '{ print $2 }' | sort -n | head -n 1)
    say "1 GiB by a plain socket, memory to memory" "$floor s"
    say "1 GiB object to another host" "$took s: $(ratio "$floor" "$took") of it (at least 0.80)"
    kill "$served"
    cluster_end
}

tree_part()
{
    local one floor all i
    cluster_of 2 10 2300MiB # what was fetched is kept for a while
    for ((i = 2; i <= 10; i++)); do net_rate "h$i" "$link"; done
    serve h3
    floor=$(copy h3)
    one=$(run_bench object $GiB h3 | awk '{ print $2 }')
    say "1 GiB by a plain socket, links of $link" "$floor s"
    say "1 GiB object to one host" "$one s: $(ratio "$floor" "$one") of it (at least 0.80)"
    run_bench object $GiB h3 h4 h5 h6 h7 h8 h9 h10 >tree.out
    all=$(awk '{ print $2 }' tree.out)
    say "to 8 hosts" "$all s: $(ratio "$all" "$one") times one (at most 3)"
    say "each of them had it by" "$(cut -d' ' -f3- tree.out)"
    kill "$served"
    for ((i = 2; i <= 10; i++)); do net_rate "h$i" 0; done
    cluster_end
}

ms_now() { awk '{ printf "%d", $1 * 1000 }' /proc/uptime; }

lost_part()
{
    local cut gone again
    cluster_of 2 4 64MiB
    RAYWF_ADDRESS=$(node_at h2) net_exec h2 "$bench" "$dir/plugin.so" lost forever >"$dir/lost" &
    until_ok grep -q h4 "$dir/lost"
    sleep 1
    cut=$(ms_now)
    net_cut h4
    until_ok no_node h4
    gone=$(($(ms_now) - cut))
    sleep 4
    # The longest that anybody waited for one of them: its attempt there was lost.
    again=$(awk -v cut="$cut" '$2 < cut { last = $2 } $2 >= cut { if (last && $2 - last > most) most = $2 - last; last = $2 } END { print most }' "$dir/lost")
    say "a host that is cut off is noticed after" "$(ratio $gone 1000) s (at most 3)"
    say "and what it ran is done elsewhere after" "$(ratio "${again:-99999}" 1000) s (at most 5)"
    net_heal h4
    cluster_end
}

million_part()
{
    local before after
    cluster_of 2 3 64MiB
    before=$(net_own_kib "$(head_pid)")
    run_bench tasks 900000 >/dev/null
    after=$(net_own_kib "$(head_pid)")
    say "the head with nodes, then after 990,000 tasks" "$(ratio "$before" 1024), $(ratio "$after" 1024) MiB (under 200)"
    cluster_end
}

echo "$(date -u +%F), $(nproc) processors, $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo)"
net=$dir/net
for part in $parts; do
    "${part}_part" || exit 1
done
