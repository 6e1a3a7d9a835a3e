#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The hosts of net.sh and the proxy of proxy.c do what they say.
. "${abs_top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}/tests/net/net.sh"
net_enter "$0" "$@"
. "$abs_top_srcdir/tests/fault/lib.sh"
tcp=$abs_top_builddir/tests/net/tcp

gives() { check "$1 ($2)" test "$2" = "$3"; }
# comes NAME WANT COMMAND...: until the command gives it, however slow all is.
is() { got=$("${@:2}") && [ "$got" = "$1" ]; }
comes()
{
    until_ok is "${@:2}"
    gives "$1" "$got" "$2"
}
serve()
{
    rm -f "$net/serve"
    net_exec "$1" "$tcp" serve "$(net_ip "$1"):4000" >"$net/serve" 2>/dev/null &
    until_ok test -s "$net/serve"
}
# from HOST [PORT]: what asking h1 gives
from() { net_on "$1" timeout 3 "$tcp" ask "10.77.0.${3:-1}:${2:-4000}" hello 2>/dev/null || echo none; }

check 'three hosts' net_up 3
gives 'a host has its name' "$(net_on h2 hostname)" h2
gives 'they know each other by name' "$(net_on h2 getent hosts h3 | awk '{ print $1 }')" 10.77.0.3
gives 'each has its folder' "$(net_on h2 pwd)" "$net/h2"
serve h1
comes 'packets go' 'echo hello' from h2

# --- the network is broken ---
net_block h2 h1
gives 'blocked' "$(from h2)" none
comes 'others are not' 'echo hello' from h3
net_heal h1 h2
comes 'healed' 'echo hello' from h2
net_cut h1
gives 'cut off' "$(from h3)" none
net_heal
comes 'and healed' 'echo hello' from h3
net_loss h1 20
gives 'some is lost, yet it comes' "$(net_on h2 "$tcp" push 10.77.0.1:4000 300000 | cut -d' ' -f3-)" 'bytes 300000'
check 'packets were lost' net_on h1 sh -c 'nft list chain inet net loss | grep -q drop'
net_loss h1 0
net_rate h1 40mbit
# 2 MB on 5 MB/s: no less than a quarter of a second, whatever the machine does.
took=$(net_on h2 "$tcp" push 10.77.0.1:4000 2000000 | awk '{ print ($2 > 0.25) }')
gives 'the link has a rate' "$took" 1
net_rate h1 0

# --- what a host has for itself ---
net_private h2 "$net/h1" 1m
net_on h1 sh -c 'echo mine >file'
gives 'a private folder' "$(net_on h2 ls "$net/h1" | wc -l)" 0
check 'is full when it is full' eval '! net_on h2 dd if=/dev/zero of="$net/h1/x" bs=1M count=2 status=none 2>/dev/null'
net_skew h3 100000
gives 'another clock' "$(($(net_on h3 cut -d. -f1 /proc/uptime) - $(cut -d. -f1 /proc/uptime) > 99000))" 1

# --- the proxy ---
proxy_start p h2 10.77.0.1:4000
via() { from h3 "$proxy_port" 2; }
via_word() { via | cut -d' ' -f1; }
comes 'it passes on' 'echo hello' via
proxy p delay 50 10 >/dev/null
gives 'late' "$(net_on h3 "$tcp" ping "10.77.0.2:$proxy_port" 3 | awk '{ print ($2 >= 100000) }')" 1
proxy p delay 0 >/dev/null
proxy p rate 1000000 >/dev/null
gives 'slow, and whole' "$(net_on h3 "$tcp" push "10.77.0.2:$proxy_port" 300000 |
    awk '{ print ($2 >= 0.25), $4 }')" '1 300000'
proxy p rate 0 >/dev/null
gives 'quick, and whole' "$(net_on h3 "$tcp" push "10.77.0.2:$proxy_port" 20000000 | cut -d' ' -f3-)" 'bytes 20000000'
proxy p hang down >/dev/null
comes 'one way' silence via
proxy p go >/dev/null
proxy p cutafter 3 >/dev/null
comes 'cut after some bytes' reset via_word
proxy p cutafter 0 >/dev/null
proxy p refuse on >/dev/null
comes 'refused' reset via_word
proxy p refuse off >/dev/null
comes 'well again' 'echo hello' via
proxy p hang both >/dev/null
net_on h3 "$tcp" ask "10.77.0.2:$proxy_port" hello 60000 >"$net/hung" &
asked=$!
until_ok eval 'proxy p stat | grep -q "^open 1 "'
proxy p cut >/dev/null
wait $asked
gives 'cut while it hung' "$(cat "$net/hung")" 'reset 0'
proxy p go >/dev/null

# Of two connections the later one goes first.
proxy p hold on >/dev/null
for i in 1 2; do
    net_on h3 "$tcp" ping "10.77.0.2:$proxy_port" 1 >"$net/ping.$i" &
    until_ok eval "proxy p stat | grep -q ' held $i '"
done
proxy p release newest >/dev/null
until_ok test -s "$net/ping.2"
check 'the newest goes first' test -s "$net/ping.2" -a ! -s "$net/ping.1"
proxy p hold off >/dev/null
check 'then the other' until_ok test -s "$net/ping.1"
gives 'nothing stays open' "$(until_ok eval 'proxy p stat | grep -q "^open 0 "' && echo none)" none
gives 'an unknown command is said' "$(proxy p dance)" 'unknown command: dance'
proxy p quit >/dev/null
net_finish
