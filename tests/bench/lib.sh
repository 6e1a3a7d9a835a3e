# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the measurements share. Each runs in a folder of its own, with the raywf of build/ or
# the one that RAYWF names, and prints lines "WHAT: median FIGURE (bar)".
set -eu
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
RAYWF=${RAYWF:-$top/build/raywf}
[ -x "$RAYWF" ] || { echo "no $RAYWF: ./bootstrap build makes it" >&2; exit 1; }
dir=$(mktemp -d "${TMPDIR:-/tmp}/raywf-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset RAYWF_DIR GITHUB_ACTIONS
export NO_COLOR=1

# Milliseconds that a command takes, with three decimals; its output is thrown away.
ms()
{
    local from=$EPOCHREALTIME to rc=0
    "$@" >/dev/null 2>stderr || rc=$?
    to=$EPOCHREALTIME
    if [ $rc != 0 ]; then
        echo "exit code $rc: $*" >&2
        tail -n 5 stderr >&2
        exit 1
    fi
    awk -v a="$from" -v b="$to" 'BEGIN { printf "%.3f\n", (b - a) * 1000 }'
}

# The middle of the numbers on stdin.
median()
{
    sort -n | awk '{ v[NR] = $1 } END { print (NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2) }'
}

# repeat TIMES COMMAND...: its median in ms.
repeat()
{
    local times=$1 i
    shift
    for ((i = 0; i < times; i++)); do ms "$@"; done | median
}

# Greatest resident size of a command, in MB.
rss_mb()
{
    python3 -c 'import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000))' "$@"
}

# Many small tasks, each of which needs the one ten before: chains beside each other. Each
# is like no other, or the cache would make most of them in the first run.
recipe_of()
{
    printf 'recipe: raywf/v1\nname: many\ntasks:\n'
    local i
    for ((i = 0; i < $1; i++)); do
        if [ $i -lt 10 ]; then
            printf '  t%d: {run: "echo %d > o", outputs: {o: o}}\n' $i $i
        else
            printf '  t%d: {run: "cat ${tasks.t%d.outputs.o} > o; : %d", outputs: {o: o}}\n' \
                $i $((i - 10)) $i
        fi
    done
}
