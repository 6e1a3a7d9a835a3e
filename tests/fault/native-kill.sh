#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Workers are killed in a loop under load: each task gives one result that every reader
# sees; calls of an actor run at most once, or, when they may run again, are all answered.
. "$(dirname "$0")/lib.sh" || exit 99
. "$abs_top_srcdir/tests/fault/native.sh"
build_native
kills=${RAYWF_KILLS:-200}

run()
{
    timeout 1800 "$dir/native_kill" "$dir/plugin.so" "$1" 2000 "$2" "$dir/log.$1" >out 2>err
    local rc=$?
    tail -n 3 out err
    return $rc
}
check 'tasks' run tasks "$kills"
check 'calls that run at most once' run actors $((kills / 4))
check 'calls that may run again' run idempotent $((kills / 4))
finish
