#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `raywf check` over tests/corpus: no good recipe has a finding, and each bad one has
# exactly the codes that its first line names ("# expect: E0101 E0104").
set -u
corpus=${abs_top_srcdir:?}/tests/corpus
export RAYWF_TEST_TOKEN=canary-value NO_COLOR=1
out=$(mktemp) || exit 99
trap 'rm -f "$out"' EXIT
unset RAYWF_TEST_SURELY_NOT_SET
bad=0 count=0

complain()
{
    echo "FAIL: $1"
    sed 's/^/    /' "$out"
    bad=$((bad + 1))
}

cd "$corpus/good" || exit 99
for recipe in *.yaml; do
    count=$((count + 1))
    "$RAYWF" check "$recipe" >"$out" 2>&1
    code=$?
    [ $code -eq 0 ] || complain "good/$recipe: exit code $code"
done

cd "$corpus/bad" || exit 99
for recipe in *.yaml; do
    count=$((count + 1))
    want=$(sed -n '1s/^# expect: *//p' "$recipe")
    "$RAYWF" check "$recipe" >"$out" 2>&1
    code=$?
    have=$(grep -a -o 'error\[E[0-9]*\]' "$out" | tr -d -c 'E0-9\n' | sed 's/E*\(E[0-9]*\)/\1/' |
        sort -u | tr '\n' ' ' | sed 's/ $//')
    case $want in
    E0401 | E0403) want_code=6 ;;
    *) want_code=3 ;;
    esac
    [ "$have" = "$want" ] || complain "bad/$recipe: expected '$want', found '$have'"
    [ $code -eq $want_code ] || complain "bad/$recipe: exit code $code, not $want_code"
    # A place is named for every finding, and something to do for most.
    grep -q -a "^$recipe:[0-9]*:[0-9]*: error" "$out" || complain "bad/$recipe: no place"
done
echo "$count recipes, $bad problems"
[ $count -ge 60 ] || { echo "FAIL: only $count recipes"; exit 1; }
[ $bad -eq 0 ]
