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
trap 'raywf shutdown -q --timeout 20s; raywf shutdown -q --dir "$tmp/own" --timeout 1s --force; rm -rf "$tmp"' EXIT

node() { echo "$RAYWF_CLUSTER/nodes/$1/node"; }
pid_of() { cat "$RAYWF_CLUSTER/$1/pid"; }
# at NODE COMMANDS...: what a new driver answers to them, on one line
at()
{
    _node=$1
    shift
    printf '%s\n' "$@" | RAYWF_ADDRESS=$(node "$_node") "$driver" "$plugin" 2>&1 | paste -sd' '
}

# --- how it is called ---
run 2 raywf start
says 'either --head, or the --address'
run 2 raywf start --head --address localhost:1
run 2 raywf start --address localhost
run 2 raywf start --address 127.0.0.1:1 --no-node
run 2 raywf start --head --cpu many
run 2 raywf start --head --resource disks
run 2 raywf start --head --name a/b
run 2 raywf start --head --env novalue
run 2 raywf start --address 127.0.0.1:1 --idle-timeout 1s
run 7 raywf start --address 127.0.0.1:1
says 'there is no key file'
run 7 raywf start --head --no-node --interface nix0
says "there is no interface 'nix0'"
run 7 raywf start --head --host no-such-host.invalid
says "the host 'no-such-host.invalid' is not known here"
run 7 raywf nodes drain one
says 'no head or node runs'
run 2 raywf nodes drain
run 2 raywf nodes --wait
run 2 raywf shutdown --all --name one
run 0 raywf shutdown
says 'nothing runs'
run 0 raywf shutdown --all
says 'nothing runs'
run 2 raywf shutdown --name one
says "no node named 'one' runs on this machine"
run 7 raywf run --address 127.0.0.1:1 --key nokey "$abs_top_srcdir/recipes/quickstart.yaml"
says 'cannot read the key file'
printf '%064d\n' 0 >akey && chmod 600 akey
echo 'recipe: raywf/v1
tasks: {a: {run: "true"}}' >a.yaml
run 7 raywf run --address 127.0.0.1:1 --key akey a.yaml --timeout 1s
says 'cannot join the cluster: cannot connect to 127.0.0.1:1: Connection refused'
says_not 'trying again'

# --- a folder that is named is where it is looked; a program that was installed anew ---
mkdir self && cp "$RAYWF" self/raywf
run 0 self/raywf start --head --port 0 --dir "$tmp/own" --name own --cpu 1 --store 16MiB
has "end with   raywf shutdown --dir $tmp/own"
cp "$RAYWF" self/new && mv self/new self/raywf
run 12 raywf nodes
run 0 raywf nodes --dir own
has 'own  '
run 0 raywf doctor --cluster --dir own
has "($tmp/self/raywf)"
hasnt '(deleted)'

# --- one that does not answer: the others end, and it is killed when that is asked for ---
run 0 raywf start --address "$(cat own/head/address)" --dir own --name stuck --cpu 1 --store 16MiB
stuck=$(cat own/nodes/stuck/pid)
kill -STOP "$stuck"
run 8 raywf shutdown --dir own --timeout 1s
says "process $stuck ($tmp/own/nodes/stuck) has not ended in time; --force kills it"
has 'ended node own'
run 0 raywf shutdown --dir own --timeout 1s --force
has "killed node stuck (process $stuck)"

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
# Its last thread may still be ending when it counts as gone: then its lock is held.
ok 'it is killed' until_ok flock -n "$left/alive" true
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

run 7 raywf start --head --dir "$tmp/other" --port "${head##*:}" --cpu 1 --store 16MiB
says 'choose another port'

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
gives 'so does one of another node' '4' "$(at two 'call keeper next')"
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
    until_ok has_lines out $lines
    reply=$(sed -n "${lines}p" out)
}
ask 'square 5'
gives 'the long driver works' 25 "$reply"

# --- a node is emptied ---
is_so() { raywf nodes --address "$head" | grep -q "^$1 *$2 "; }
run 0 raywf nodes drain two --wait
ok 'two is empty' is_so two drained
run 0 raywf status --cluster
has '1 alive, 1 drained'
run 2 raywf status last --cluster
gives 'its tasks go elsewhere, or wait' '16' "$(at one 'square 4')"
run 0 raywf nodes undrain two
ok 'two is back' is_so two alive
gives 'and works' '16' "$(at two 'square 4')"
run 2 raywf nodes drain three
says "there is no node 'three' in this cluster"

# --- the head is killed ---
old=$(pid_of head)
kill -9 "$old"
until_ok gone "$old"
run 0 raywf start --head --no-node --port "${head##*:}" --format json
gives 'it comes back where it was' "$head" "$(json head <.out)"
ask 'square 6'
gives 'the driver goes on' 36 "$reply"
ask 'call keeper next'
gives 'the actor is what it was' 5 "$reply"
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

# --- all of a cluster, from one machine; and what its nodes start knows the interface ---
run 0 raywf start --head --no-node --port 0 --format json
head=$(json head <.out)
run 0 raywf start --address "$head" --name far --dir "$tmp/far" --key c/head/key --cpu 1 \
    --store 16MiB --env COLOUR=blue --env GLOO_SOCKET_IFNAME=other
environment()
{
    printf '%s\n' "env $1" | RAYWF_ADDRESS=$tmp/far/nodes/far/node "$driver" "$plugin" 2>&1
}
gives 'a variable of the node' blue "$(environment COLOUR)"
gives 'the interface' lo "$(environment NCCL_SOCKET_IFNAME)"
gives 'the node goes first' other "$(environment GLOO_SOCKET_IFNAME)"
pids="$(pid_of head) $(cat far/nodes/far/pid)"
run 0 raywf shutdown --all
has 'ended node far'
for p in $pids; do
    ok "process $p has ended" until_ok gone "$p"
done

# --- what nobody needs ends by itself; a named actor would need it ---
export RAYWF_CLUSTER=$tmp/d
run 0 raywf start --head --no-node --port 0 --format json --idle-timeout 700ms
head=$(json head <.out)
pids=$(pid_of head)
run 0 raywf start --address "$head" --name far --dir "$tmp/far" --key d/head/key --cpu 1 \
    --store 16MiB --temporary
pids="$pids $(cat far/nodes/far/pid)"
for p in $pids; do
    ok "process $p has ended" until_ok gone "$p"
done
ok 'and its folder is gone' until_ok test ! -e far
run 0 raywf start --head --no-node --port 0 --format json
head=$(json head <.out)
run 0 raywf start --address "$head" --name far --dir "$tmp/far" --key d/head/key --cpu 1 \
    --store 16MiB --orphan-timeout 500ms
kill -9 "$(pid_of head)"
ok 'a node without its head ends' until_ok gone "$(cat far/nodes/far/pid)"

# --- a cluster to try things out ---
run 0 raywf up --test-size=2 --cpu 1 --store 16MiB
has 'raywf shutdown --all --dir'
gives 'two nodes' 2 "$(raywf nodes -q | grep -c alive)"
gives 'they work' 9 "$(at local-2 'square 3')"
run 7 raywf up --test-size=1
says 'a head runs already'
run 0 raywf shutdown
has 'ended node local-2'
run 2 raywf up
finish
