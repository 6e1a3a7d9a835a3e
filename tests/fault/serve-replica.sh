#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Replicas are killed under load, one at a time and all at once: no request is answered twice
# or dropped without a word; where it may, it is tried again.
. "$(dirname "$0")/lib.sh" || exit 99
. "$abs_top_srcdir/tests/fault/serve.sh"

kill_one()
{
    local pids
    mapfile -t pids < <(replica_pids)
    [ ${#pids[@]} -gt 0 ] && kill -KILL "${pids[RANDOM % ${#pids[@]}]}" 2>/dev/null
}
kill_all()
{
    local pids
    mapfile -t pids < <(replica_pids)
    [ ${#pids[@]} -gt 0 ] && kill -KILL "${pids[@]}" 2>/dev/null
}

# round NAME KILL [LINES...]
round()
{
    local name=$1 how=$2
    shift 2
    free_port
    rm -f marks
    served slow 'replicas: 3' "$@" >recipe.yaml
    check "$name: it serves" serve_up recipe.yaml || return
    load
    for _ in 1 2 3 4 5; do
        goes_on || break
        sleep "$(moment 400)"
        check "$name: there are replicas to kill" until_ok $how
    done
    goes_on
    load_end
    check "$name: every request is answered or refused in words" closely
    check "$name: what was answered was worked on" truly
    case $* in
    *idempotent*) check "$name: none is lost" test "$(count_of lost)" = 0 ;;
    *) check "$name: none is worked on twice" never_twice ;;
    esac
    check "$name: it comes back" until_ok curl -sSf -d '{"id":"after"}' "http://127.0.0.1:$port/api"
    check "$name: it ends well" down
}

round one kill_one
round all kill_all
round again kill_one 'idempotent: true'
finish
