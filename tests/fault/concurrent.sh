#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Several `raywf run` at once in one directory: all end well, identical steps are executed
# once, different ones do not disturb each other, and every log can be read afterwards.
. "$(dirname "$0")/lib.sh" || exit 99
export SIDE=$dir/side

recipe()
{
    printf 'recipe: raywf/v1\nname: %s\ntasks:\n' "$1"
    for i in $(seq 15); do
        printf '  t%d: {run: "sleep 0.02; echo %s-t%d >> $SIDE; echo %d > o", outputs: {o: o}}\n' \
            $i "$2" $i $i
    done
    printf '  last: {argv: [cat'
    for i in $(seq 15); do printf ', "${tasks.t%d.outputs.o}"' $i; done
    printf ']}\n'
}

recipe one a >one.yaml
recipe two b >two.yaml

# all COUNT RECIPE...: each so many times at once; every one must succeed.
all()
{
    local count=$1 pids=() bad=0 pid n=0
    shift
    for r; do
        for ((i = 0; i < count; i++)); do
            n=$((n + 1))
            timeout -k 1 900 "$RAYWF" run "$r" >"out.$n" 2>"err.$n" &
            pids+=($!)
        done
    done
    for pid in "${pids[@]}"; do wait "$pid" || { bad=1; echo "exit code $?"; }; done
    [ $bad = 0 ] || tail -n 5 err.*
    return $bad
}

once_each()
{
    [ "$(wc -l <side)" = "$1" ] && [ "$(sort -u side | wc -l)" = "$1" ] && return
    echo "executed $(wc -l <side) times, $1 expected:"
    sort side | uniq -c | sort -rn | head -n 5
    return 1
}

readable()
{
    local id
    for id in $(cd .raywf/runs && ls -d [!l]*); do
        "$RAYWF" status "$id" >out 2>err || { echo "status $id: $(cat err)"; return 1; }
        "$RAYWF" events "$id" >events 2>err || { echo "events $id: $(cat err)"; return 1; }
    done
    "$RAYWF" ps >out 2>err || { cat err; return 1; }
}

for round in 1 2 3; do
    rm -rf .raywf side
    : >side
    check "four of the same at once (round $round)" all 4 one.yaml
    check "identical steps are executed once (round $round)" once_each 15
    check "every run can be read (round $round)" readable
done
rm -rf .raywf side
: >side
check "three each of two recipes at once" all 3 one.yaml two.yaml
check "each step is executed once" once_each 30
check "every run can be read" readable
check "a later run executes nothing" all 1 one.yaml
check "and so the count stays" once_each 30
finish
