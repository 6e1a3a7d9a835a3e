#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/count.sh counts each kind of result.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# result NAME RESULT [LOG]
result()
{
    printf ':test-result: %s\n' "$2" >"$dir/$1.trs"
    printf '%b' "${3:-}" >"$dir/$1.log"
}

result plain PASS 'text\n'
result skipped SKIP 'no such thing here\n'
result broken FAIL 'text\n'
result lib PASS 'Running suite(s): a\n100%: Checks: 12, Failures: 0, Errors: 0\n'
result two PASS '100%: Checks: 3, Failures: 0, Errors: 0\n100%: Checks: 4, Failures: 0, Errors: 0\n'
result bad FAIL '80%: Checks: 10, Failures: 1, Errors: 1\n'
result leak FAIL '100%: Checks: 5, Failures: 0, Errors: 0\nlost 8 bytes\n'
result script FAIL '3 passed, 2 failed, 1 skipped\n'
result error ERROR ''
want='36 7 2'
got=$("$abs_top_srcdir/tests/count.sh" "$dir")
[ "$got" = "$want" ] || { echo "got $got, not $want"; exit 1; }
