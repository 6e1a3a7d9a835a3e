# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the fault tests share. Each result is one line; the last line of a test says how many.
set -u
# Run by hand, what build/ has is tested.
: "${abs_top_srcdir:=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}"
: "${abs_top_builddir:=$abs_top_srcdir/build}"
: "${RAYWF:=$abs_top_builddir/raywf}"
. "$abs_top_srcdir/tests/until.sh"
passed=0 failed=0 skipped=0

dir=$(mktemp -d "${TMPDIR:-/tmp}/raywf-fault.XXXXXX")
cd "$dir" || exit 99
unset RAYWF_DIR GITHUB_ACTIONS
export NO_COLOR=1
# The same random moments each time, unless others are asked for.
RANDOM=${RAYWF_SEED:-1}

pass()
{
    passed=$((passed + 1))
    echo "ok: $*"
}

fail()
{
    failed=$((failed + 1))
    echo "FAILED: $*"
}

skip()
{
    skipped=$((skipped + 1))
    echo "skipped: $*"
}

# check NAME COMMAND...: passes when the command does.
check()
{
    local name=$1
    shift
    if "$@"; then pass "$name"; else fail "$name"; fi
}

# The folder of a test that failed is kept, to be looked at.
finish()
{
    cd /
    if [ $failed = 0 ]; then rm -rf "$dir"; else echo "left in $dir"; fi
    echo "$passed passed, $failed failed, $skipped skipped"
    [ $failed = 0 ] || exit 1
    [ $passed != 0 ] || exit 77
    exit 0
}

# Exit codes that raywf documents (design: frozen), from the table they are made of.
documented=" 0 $(sed -n 's/^RWF_EXIT([A-Z]*, *\([0-9]*\),.*/\1/p' \
    "$abs_top_srcdir/src/base/exit.def" | tr '\n' ' ')"

is_documented()
{
    case $documented in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

# The lines of a log that have their end.
whole_lines() { if [ -n "$(tail -c 1 "$1")" ]; then sed '$d' "$1"; else cat "$1"; fi; }
# events_of TYPE LOG: the steps of such events.
events_of()
{
    [ -f "$2" ] || return 0
    whole_lines "$2" | sed -n '/"type": *"'"$1"'"/s/.*"step": *"\([^"]*\)".*/\1/p' | sort
}

# A moment in milliseconds below $1, as seconds for sleep.
moment()
{
    local ms=$(((RANDOM * 32768 + RANDOM) % $1))
    printf '%d.%03d' $((ms / 1000)) $((ms % 1000))
}
