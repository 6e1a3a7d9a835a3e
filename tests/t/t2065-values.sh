#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Values of processes on one node, read by processes on another: small ones, and objects,
# which are brought from store to store.
. "$abs_top_srcdir/tests/t/lib.sh"
driver=$abs_top_builddir/tests/t/value_driver
unset RAYWF_ADDRESS
export RAYWF_CLUSTER=$tmp/c RAYWF_BIN=$RAYWF
# Whatever happens, nothing stays behind.
trap 'raywf shutdown -q --timeout 20s; rm -rf "$tmp"' EXIT

node() { echo "$RAYWF_CLUSTER/nodes/$1/node"; }
# Two drivers that live through all of it: on N: a process on that node, fed by N.in.
drive()
{
    mkfifo "$1.in"
    RAYWF_ADDRESS=$(node "$1") "$driver" <"$1.in" >"$1.out" 2>&1 &
    pids="$pids $!"
}
# ask NODE COMMAND: $reply
ask()
{
    _lines=$(($(wc -l <"$1.out") + 1))
    case $1 in one) echo "$2" >&8 ;; two) echo "$2" >&9 ;; esac
    until_ok has_lines "$1.out" $_lines
    reply=$(sed -n "${_lines}p" "$1.out")
}

run 0 raywf start --head --no-node --port 0 --format json
head=$(json head <.out)
run 0 raywf start --address "$head" --name one --cpu 2 --store 64MiB
run 0 raywf start --address "$head" --name two --cpu 2 --store 64MiB
pids=
drive one
exec 8>one.in
drive two
exec 9>two.in

for size in 0 8 1000 1048576 1048577 20000000; do
    ask one "put $size"
    ref=$reply
    ask two "get $ref"
    gives "$size bytes of another node" "$size right" "$reply"
    ask two "get $ref"
    gives "$size bytes again" "$size right" "$reply"
    ask one "drop $ref"
done
# The other way round, and more in all than the store holds.
for i in 1 2 3 4 5; do
    ask two "put 3000000$i"
    ref=$reply
    ask one "get $ref"
    gives "object $i the other way" "3000000$i right" "$reply"
    ask two "drop $ref"
    ask one "get $ref"
    case $reply in
    'error: '*dropped*) pass ;;
    *) fail 'what was dropped cannot be had' "gives: $reply" ;;
    esac
done

# --- the owner's node is killed ---
ask one 'put 5000000'
ref=$reply
kill -9 "$(cat c/nodes/one/pid)"
ask two "get $ref"
case $reply in
'error: '*) pass ;;
*) fail 'a value of a lost node cannot be had' "gives: $reply" ;;
esac
ask two 'put 7'
case $reply in
'error: '*) fail 'the other goes on' "gives: $reply" ;;
*) pass ;;
esac
exec 8>&- 9>&-
for p in $pids; do
    wait "$p"
done
run 0 raywf shutdown
finish
