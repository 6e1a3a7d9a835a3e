# SPDX-License-Identifier: Apache-2.0
# Sourced by the tests here. Each assertion counts; a failed one says what it saw, and the
# test goes on. The last line is the sum that tests/count.sh reads.
#
#   run CODE COMMAND...      runs it; its exit code must be CODE; $out and $err are its output
#   has TEXT / hasnt TEXT    in $out
#   says TEXT / says_not     in $err
#   ok NAME COMMAND...       the command succeeds
#   skip NAME WHY
#   finish                   prints the sum and ends the test
set -u
: "${RAYWF:?}" "${abs_top_srcdir:?}"
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
# The value of a member of compact JSON: json status <.out
json() { sed -n 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p' | head -n 1; }

finish()
{
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
    exit
}
