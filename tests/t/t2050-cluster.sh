#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A head and nodes as processes of their own, over TCP on loopback: who has no key stays
# out; nodes and the head are killed and started again, and what ran goes on.
. "$abs_top_srcdir/tests/t/lib.sh"
driver=$abs_top_builddir/tests/t/cluster_driver
plugin=$abs_top_builddir/tests/t/cluster_plugin.so
unset RAYWF_ADDRESS
export RAYWF_CLUSTER=$tmp/c RAYWF_BIN=$RAYWF
# Whatever happens, nothing stays behind.
trap 'raywf shutdown -q --timeout 20s; rm -rf "$tmp"' EXIT

node() { echo "$RAYWF_CLUSTER/nodes/$1/node"; }
pid_of() { cat "$RAYWF_CLUSTER/$1/pid"; }
# at NODE COMMANDS...: what a new driver answers to them, on one line
at()
{
    _node=$1
    shift
    printf '%s\n' "$@" | RAYWF_ADDRESS=$(node "$_node") "$driver" "$plugin" 2>&1 | paste -sd' '
}
gives()
{
    if [ "$3" = "$2" ]; then pass; else fail "$1" "gives: $3" "expected: $2"; fi
}
# Until the command succeeds, or for a minute.
until_ok()
{
    _i=0
    while [ $_i -lt 600 ]; do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.1
        _i=$((_i + 1))
    done
    return 1
}
# It has ended, be it that nobody has asked how.
gone() { ! grep -q '^State:[[:space:]]*[RSDTtI]' "/proc/$1/status" 2>/dev/null; }

# --- how it is called ---
run 2 raywf start
says 'either --head, or the --address'
run 2 raywf start --head --address localhost:1
run 2 raywf start --address localhost
run 2 raywf start --address 127.0.0.1:1 --no-node
run 2 raywf start --head --cpu many
run 2 raywf start --head --resource disks
run 2 raywf start --head --name a/b
run 7 raywf start --address 127.0.0.1:1
says 'key'
run 0 raywf shutdown
says 'nothing runs'

# --- a session of one's own, and what a killed one leaves ---
mkdir tmp && chmod 700 tmp
mkfifo mine
(unset XDG_RUNTIME_DIR && TMPDIR=$tmp/tmp exec "$driver" "$plugin" <mine >mine.out 2>&1) &
pid=$!
exec 8>mine
echo 'square 11' >&8
until_ok grep -q 121 mine.out
left=$(echo tmp/raywf-session-*)
ok 'its folder is there' test -d "$left"
session=$(pgrep -P "$pid" -f 'raywf session')
kill -9 "$session" "$pid"
exec 8>&-
wait "$pid" 2>/dev/null
ok 'it is killed' until_ok gone "$session"
gives 'the next one works' 144 "$(unset XDG_RUNTIME_DIR
    echo 'square 12' | TMPDIR=$tmp/tmp "$driver" "$plugin" 2>&1)"
ok 'and removes what the killed one has left' test ! -e "$left"
ok 'and its own folder' test -z "$(ls tmp)"

# --- it starts ---
run 0 raywf start --head --no-node --port 0 --format json
head=$(json head <.out)
has '"key":'
gives 'the key is for us alone' 600 "$(stat -c %a c/head/key)"
gives 'so is its folder' 700 "$(stat -c %a c/head)"
run 7 raywf start --head --port 0
says 'a head runs already'
run 7 raywf start --head --port 0 --host 127.0.0.1 --dir "$tmp/c"
run 0 raywf start --address "$head" --name one --cpu 2 --store 64MiB --label zone=a
has "RAYWF_ADDRESS=$(node one)"
run 0 raywf start --address "$head" --name two --cpu 2 --store 64MiB -q
gives 'quiet: the address alone' "$(node two)" "$out"
run 7 raywf start --address "$head" --name one
says 'this node runs already'
run 2 raywf start --address "$head" --name one --dir "$tmp/other" --key c/head/key
says "a node named 'one'"

# --- who has no key ---
mkdir -p wrong/head && chmod 700 wrong/head
(umask 077 && printf '%064d\n' 7 >wrong/head/key)
run 7 raywf start --address "$head" --name three --dir "$tmp/wrong"
says "does not have this cluster's key"
chmod 644 wrong/head/key
run 7 raywf start --address "$head" --name three --dir "$tmp/wrong"
says 'chmod 600'

# --- work ---
gives 'tasks on one' '4 9' "$(at one 'square 2' 'square 3')"
gives 'tasks on two' '16' "$(at two 'square 4')"
gives 'an actor' 'made 1 2' "$(at one 'make keeper' 'call keeper next' 'call keeper next')"
gives 'another process finds it' '3' "$(at one 'call keeper next')"
case $(at two 'call keeper next') in
*'lives on node one'*) pass ;;
*) fail 'a process of another node is told where it lives' ;;
esac
worker=$(at one 'call keeper pid')

# A driver that lives through all of it.
mkfifo in
RAYWF_ADDRESS=$(node one) "$driver" "$plugin" <in >out 2>&1 &
pid=$!
exec 9>in
lines=0
# ask COMMAND: what it answers
ask()
{
    lines=$((lines + 1))
    echo "$1" >&9
    until_ok eval "[ \$(wc -l <out) -ge $lines ]"
    reply=$(sed -n "${lines}p" out)
}
ask 'square 5'
gives 'the long driver works' 25 "$reply"

# --- the head is killed ---
old=$(pid_of head)
kill -9 "$old"
until_ok gone "$old"
run 0 raywf start --head --no-node --port "${head##*:}" --format json
gives 'it comes back where it was' "$head" "$(json head <.out)"
ask 'square 6'
gives 'the driver goes on' 36 "$reply"
ask 'call keeper next'
gives 'the actor is what it was' 4 "$reply"
ask 'call keeper pid'
gives 'in the same process' "$worker" "$reply"
gives 'new drivers are served' '49' "$(at one 'square 7')"
gives 'on every node' '64' "$(at two 'square 8')"

# --- a node is killed ---
old=$(pid_of nodes/one)
kill -9 "$old"
ok 'its workers end with it' until_ok gone "$worker"
ok 'it starts again' until_ok raywf start --address "$head" --name one --cpu 2 --store 64MiB
ask 'square 9'
gives 'the driver goes on with the new node' 81 "$reply"
gives 'the other node was not disturbed' '100' "$(at two 'square 10')"
ok 'the actor starts again' until_ok eval '[ "$(at one "call keeper next")" -ge 1 ] ||
    [ "$(at two "call keeper next")" -ge 1 ]'

# --- the end ---
exec 9>&-
wait "$pid"
gives 'the driver ends well' 0 $?
pids="$(pid_of head) $(pid_of nodes/one) $(pid_of nodes/two)"
run 0 raywf shutdown
has 'ended node one'
has 'ended node two'
has 'ended head'
for p in $pids; do
    ok "process $p has ended" gone "$p"
done
run 0 raywf shutdown
says 'nothing runs'
finish
