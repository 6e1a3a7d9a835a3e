# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the fault tests of serving share: see tests/t/serve.sh; and what must be true of every
# load, whatever was killed meanwhile.
. "$abs_top_srcdir/tests/t/serve.sh"
unset RAYWF_ADDRESS
export MARKS=$dir/marks
command -v curl >/dev/null || { skip "there is no curl"; finish; }
build_serve

# served NAME [EXTRA LINES...]: a recipe that serves ./plugin.so's slow on $port.
served()
{
    cat <<EOF
recipe: raywf/v1
name: fault
serve:
  api:
    http: {port: $port}
    native: {plugin: plugin.so, function: ${1:-slow}}
    env: {MARKS: $MARKS}
    resources: {cpu: 0.05}
    max_ongoing_requests: 4
    max_queued_requests: 1000
EOF
    shift
    local line
    for line; do printf '    %s\n' "$line"; done
}

# load: in the background, until load_end.
load()
{
    rm -f load.log
    ./serve_load "$port" /api 86400 16 load.log >load.out 2>load.err &
    load_pid=$!
}
# Requests are answered well, more than have been: what comes next happens under load.
answered() { grep -c ' ok$' load.log 2>/dev/null; }
more_than() { [ "$(answered)" -gt "$1" ] || ! kill -0 "$load_pid"; }
goes_on()
{
    local before
    before=$(answered)
    until_ok more_than $((before + 100)) && kill -0 "$load_pid" && return
    fail "requests are answered: $before, and no more"
    return 1
}
load_end()
{
    kill -TERM "$load_pid"
    wait "$load_pid"
    load_code=$?
    cat load.out
}
count_of() { sed -n "s/.*$1 \([0-9]*\).*/\1/p" load.out; }

# Nothing that must never happen did, and something was answered.
closely()
{
    [ "$load_code" = 0 ] || { head -n 5 load.err; return 1; }
    [ "$(count_of ok)" -gt 0 ]
}
# No request was worked on twice.
never_twice()
{
    [ -z "$(sort marks | uniq -d | head -n 3)" ] || { sort marks | uniq -d | head -n 3; return 1; }
}
# What was answered well was worked on.
truly()
{
    sed -n 's/ ok$//p' load.log | sort >oks
    sort -u marks | comm -23 oks - >lies
    [ ! -s lies ] || { head -n 3 lies; return 1; }
}
down()
{
    "$RAYWF" serve down >/dev/null 2>down.err
    serve_end
    [ "$serve_code" = 0 ] || { tail -n 5 .serve.err; return 1; }
}
