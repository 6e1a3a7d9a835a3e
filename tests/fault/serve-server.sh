#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The server is killed under load, and so is raywf: what was served is served again, by itself
# or when the run is resumed, and no request is worked on twice.
. "$(dirname "$0")/lib.sh" || exit 99
. "$abs_top_srcdir/tests/fault/serve.sh"

free_port
served slow 'replicas: 2' >recipe.yaml
check "it serves" serve_up recipe.yaml || finish
# A server that lives, as an event tells, another than the one before.
there() { [ "$(server_pid)" != "$1" ] && kill -0 "$(server_pid)"; }
events_beyond() { [ "$("$RAYWF" events last --type "$1" | wc -l)" -ge "$2" ]; }
load
killed=0
for _ in 1 2; do
    goes_on || break
    check "server: there is one to kill" until_ok there $killed
    killed=$(server_pid)
    kill -KILL "$killed"
done
goes_on
load_end
check "server: every request is answered or lost with its connection" closely
check "server: none is worked on twice" never_twice
check "server: what was answered was worked on" truly
check "server: it is served again" until_ok curl -sSf -d '{"id":"after-1"}' "http://127.0.0.1:$port/api"
check "server: its deaths are events" until_ok events_beyond serve.down 2
check "server: one connection after another" until_ok events_beyond serve.up 3

load
goes_on
kill -KILL "$serve_pid"
serve_end
sleep "$(moment 600)"
: >.serve.err
"$RAYWF" resume last >.serve.out 2>.serve.err &
serve_pid=$!
goes_on
load_end
check "raywf: every request is answered or lost with its connection" closely
check "raywf: none is worked on twice" never_twice
check "raywf: what was answered was worked on" truly
check "raywf: it is served again" until_ok curl -sSf -d '{"id":"after-2"}' "http://127.0.0.1:$port/api"
check "it ends well" down
finish
