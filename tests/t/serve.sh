# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# What the tests of serving share, beside lib.sh: a plugin, a server that stays.
faults=$abs_top_srcdir/tests/fault
serve_pid=0
# A test that ends early leaves no server behind.
trap '[ "$serve_pid" = 0 ] || kill -TERM "$serve_pid" 2>/dev/null
    [ -z "${tmp:-}" ] || rm -rf "$tmp"' EXIT

# build_serve: ./plugin.so and ./serve_load
build_serve()
{
    ${CC:-cc} -O1 -Wall -D_GNU_SOURCE -shared -fPIC -I"$abs_top_srcdir/src/native" \
        -o plugin.so "$faults/serve_plugin.c" || exit 99
    ${CC:-cc} -O1 -Wall -pthread -o serve_load "$faults/serve_load.c" || exit 99
}

# serve_up FILE [OPTION...]: raywf serve in the background, until all of it is up.
serve_up()
{
    : >.serve.err # what an earlier one said
    "$RAYWF" serve "$@" >.serve.out 2>.serve.err &
    serve_pid=$!
    if until_ok sh -c 'grep -q "serving; Ctrl-C" .serve.err || ! kill -0 '$serve_pid &&
        kill -0 $serve_pid 2>/dev/null; then
        return 0
    fi
    echo "raywf serve $* is not up:"
    tail -n 15 .serve.err
    return 1
}

# serve_end: waits for it; $serve_code is what it ended with.
serve_end()
{
    wait "$serve_pid"
    serve_code=$?
    serve_pid=0
}

# The pids of the workers that are replicas in the newest active run, and of its server.
replica_pids()
{
    "$RAYWF" ps --workers --format json 2>/dev/null | tr '{' '\n' |
        sed -n '/"actor"/s/.*"pid": *\([0-9]*\).*/\1/p'
}
server_pid()
{
    "$RAYWF" events last --type serve.up | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' | tail -n 1
}
