#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Objects on their way between nodes while packets are lost, connections are reset, and the
# two nodes do not hear each other for a while: each arrives, and is what it was.
. "${abs_top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}/tests/net/net.sh"
net_enter "$0" "$@"
. "$abs_top_srcdir/tests/fault/lib.sh"
. "$abs_top_srcdir/tests/net/cluster.sh"
driver=$abs_top_builddir/tests/t/value_driver

check 'three hosts' net_up 3
check 'a head' head_start
node_options='--cpu 2 --store 64MiB'
for host in h2 h3; do
    check "a node on $host" node_start $host
    mkfifo "$host.in"
    RAYWF_ADDRESS=$(node_at $host) net_exec $host "$driver" <>"$host.in" >"$host.out" 2>&1 &
done
until_ok has_node h3

# say HOST COMMAND; then heard HOST: its answer in $reply
say() { lines=$(wc -l <"$1.out") && echo "$2" >"$1.in"; }
heard()
{
    until_ok eval "[ \$(wc -l <$1.out) -gt $lines ]" || return 1
    reply=$(sed -n "$((lines + 1))p" "$1.out")
}
# Something of the object has come to h3: its interface has counted so much.
bytes() { net_on h3 awk '/eth0:/ { print $2 }' /proc/net/dev; }
came() { [ "$(bytes)" -gt "$1" ]; }
# begins SIZE: h3 asks for an object of h2, and a part of it is there
begins()
{
    local from
    say h2 "put $1" && heard h2 || return 1
    from=$(bytes)
    say h3 "get $reply"
    until_ok came $((from + 2000000))
}
arrives() { heard h3 && [ "$reply" = "$1 right" ] || { echo "gives: $reply"; false; }; }

net_rate h3 40mbit
check 'an object is on its way' begins 20000001
check 'it arrives' arrives 20000001

check 'another is on its way' begins 20000002
net_block h2 h3
sleep 2 # so long nobody hears anything
net_heal
check 'it arrives after silence' arrives 20000002

check 'a third is on its way' begins 20000003
for _ in 1 2 3; do
    net_on h3 nft insert rule inet net in ip saddr 10.77.0.2 tcp flags ack reject with tcp reset
    until_ok eval '[ "$(net_on h3 nft list chain inet net in | grep -c reset)" = 1 ]'
    sleep 0.2 # of what comes meanwhile each packet is answered with a reset
    handle=$(net_on h3 nft -a list chain inet net in | sed -n 's/.*reset # handle //p')
    net_on h3 nft delete rule inet net in handle "$handle"
done
check 'it arrives though its connections were reset' arrives 20000003

net_loss h3 2
check 'a fourth is on its way' begins 10000004
check 'it arrives though packets are lost' arrives 10000004
net_loss h3 0

# Its owner's node is killed on the way, which is long.
net_rate h3 8mbit
check 'a fifth is on its way' begins 20000005
node_kill h2
heard h3
case $reply in
'error: '*) pass "it is lost with its node: ${reply#error: }" ;;
*) fail "an object of a killed node: $reply" ;;
esac
net_finish
