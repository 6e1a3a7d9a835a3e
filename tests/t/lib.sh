# SPDX-License-Identifier: Apache-2.0
# Sourced by the tests here. Each assertion counts; a failed one says what it saw, and the
# test goes on. The last line is the sum that tests/count.sh reads.
#
#   run CODE COMMAND...      runs it; its exit code must be CODE; $out and $err are its output
#   has TEXT / hasnt TEXT    in $out
#   says TEXT / says_not     in $err
#   ok NAME COMMAND...       the command succeeds
#   until_ok COMMAND...      it succeeds at last (until.sh): tests wait for conditions, never for times
#   skip NAME WHY
#   finish                   prints the sum and ends the test
set -u
: "${RAYWF:?}" "${abs_top_srcdir:?}"
. "$abs_top_srcdir/tests/until.sh"
passed=0 failed=0 skipped=0
unset RAYWF_DIR RAYWF_ADDRESS GITHUB_ACTIONS GITHUB_STEP_SUMMARY RAYWF_LOG
export NO_COLOR=1 LC_ALL=C.UTF-8
tmp=$(mktemp -d "${TMPDIR:-/tmp}/raywf-t.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
cd "$tmp" || exit 99
export RAYWF_CLUSTER=$tmp/cluster
# The tests call raywf by name.
mkdir .bin && ln -s "$RAYWF" .bin/raywf && PATH=$tmp/.bin:$PATH && export PATH

pass() { passed=$((passed + 1)); }
fail()
{
    failed=$((failed + 1))
    printf 'FAILED: %s\n' "$1"
    shift
    [ $# -eq 0 ] || printf '    %s\n' "$@"
}
skip() { skipped=$((skipped + 1)); printf 'skipped: %s: %s\n' "$1" "$2"; }

run()
{
    _want=$1
    shift
    command="$*"
    "$@" >.out 2>.err </dev/null
    code=$?
    out=$(cat .out) err=$(cat .err)
    if [ "$code" -eq "$_want" ]; then
        pass
    else
        fail "$command" "exit code $code, expected $_want" "$(tail -n 15 .err)"
    fi
}
_find()
{
    case $2 in
    *"$1"*) return 0 ;;
    *) return 1 ;;
    esac
}
has() { if _find "$1" "$out"; then pass; else fail "$command" "stdout lacks: $1" "$(head -c 2000 .out)"; fi; }
hasnt() { if _find "$1" "$out"; then fail "$command" "stdout has: $1"; else pass; fi; }
says() { if _find "$1" "$err"; then pass; else fail "$command" "stderr lacks: $1" "$(head -c 2000 .err)"; fi; }
says_not() { if _find "$1" "$err"; then fail "$command" "stderr has: $1"; else pass; fi; }
ok()
{
    _name=$1
    shift
    if "$@" >.ok 2>&1; then pass; else fail "$_name" "$(tail -n 15 .ok)"; fi
}
# gives NAME EXPECTED WHAT
gives()
{
    if [ "$3" = "$2" ]; then pass; else fail "$1" "gives: $3" "expected: $2"; fi
}
# killed_often RECIPE [OPTION...]: a run that is killed at any time and resumed, until it comes to
# its end; at most 12 times, and not before there is something to resume. $log: its events.
killed_often()
{
    rm -rf "${RAYWF_DIR:-.raywf}"
    raywf run "$@" --progress none >/dev/null 2>.kill &
    _head=$!
    until_ok test -s "$log"
    _kills=0
    while [ $_kills -lt 12 ]; do
        sleep "0.$(awk -v s=$((_kills * 7 + 3)) 'BEGIN { srand(s); print 1 + int(rand() * 8) }')"
        kill -9 $_head 2>/dev/null
        wait $_head 2>/dev/null && return 0
        _kills=$((_kills + 1))
        raywf resume --progress none >/dev/null 2>.kill &
        _head=$!
    done
    # What the last one started may end a little later than itself, and hold the run's lock.
    wait $_head || until_ok raywf resume --progress none
}
# The value of a member of compact JSON: json status <.out
json() { sed -n 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p' | head -n 1; }

finish()
{
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
    exit
}
