#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh SRCDIR SECONDS TARGET...: each fuzzer for so long, as many at once as there are
# processors, from the seeds in the tree and what earlier runs found (fuzz-corpus/ in the build
# folder). What crashed is in fuzz-crash/.
set -u
src=$1 seconds=$2
shift 2
if [ $# -gt 1 ]; then
    printf '%s\n' "$@" | xargs -P "${JOBS:-$(nproc)}" -n 1 "$0" "$src" "$seconds"
    exit
fi

target=$1 name=${1#fuzz_}
mkdir -p fuzz-crash "fuzz-corpus/$name"
set -- "fuzz-corpus/$name" "$src/tests/fuzz/seeds/$name"
if [ "$name" = yaml ]; then
    set -- "$@" "$src/recipes"
    [ ! -d "$src/tests/corpus" ] || set -- "$@" "$src/tests/corpus"
fi
if "./$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -max_len=65536 \
    -artifact_prefix="fuzz-crash/$name-" -print_final_stats=1 -verbosity=1 "$@" \
    >"$target.out" 2>&1; then
    echo "PASS: $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$target.out") inputs"
else
    # One write, so that lines of several fuzzers do not mix.
    printf '%s\n' "FAIL: $target (repeat with: ./$target fuzz-crash/$name-...)
$(grep -v '^#' "$target.out" | tail -n 30)"
    exit 1
fi
