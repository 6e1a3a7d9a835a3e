#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# count.sh BUILDDIR: prints "PASSED FAILED SKIPPED" of its last "make check".
#
# A test counts once, with two exceptions: a libcheck program counts each of its checks, and
# a script whose log has a line "N passed, N failed, N skipped" counts what that says. One
# that failed without any failure of its own (a leak found at exit) counts one more.
set -eu
find "$1" -name '*.trs' | sort | while read -r trs; do
    result=$(sed -n 's/^:test-result: *\([A-Z]*\).*/\1/p' "$trs" | head -n 1)
    sed -n -e 's/^[0-9]*%: Checks: \([0-9]*\), Failures: \([0-9]*\), Errors: \([0-9]*\)$/checks \1 \2 \3/p' \
        -e 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/counts \1 \2 \3/p' \
        "${trs%.trs}.log" 2>/dev/null || :
    echo "result $result"
done | awk '
    $1 == "checks" { p += $2 - $3 - $4; f += $3 + $4; own = 1 }
    $1 == "counts" { p += $2; f += $3; s += $4; own = 1 }
    $1 == "result" {
        bad = $2 != "PASS" && $2 != "SKIP"
        if (bad && f == before) f++
        else if ($2 == "SKIP" && !own) s++
        else if (!own) p++
        before = f; own = 0
    }
    END { print p + 0, f + 0, s + 0 }'
