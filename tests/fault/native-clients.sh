#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Ten thousand clients of one node come, work and go, every third one killed: neither the
# node's descriptors nor its memory, slots or objects grow.
. "$(dirname "$0")/lib.sh" || exit 99
. "$abs_top_srcdir/tests/fault/native.sh"
build_native

leak()
{
    timeout 7200 "$dir/native_clients" "$dir/plugin.so" "${RAYWF_CLIENTS:-10000}" >out 2>err
    local rc=$?
    tail -n 5 out err
    return $rc
}
check 'clients leave nothing behind' leak
finish
