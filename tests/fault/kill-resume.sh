#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# raywf is killed (SIGKILL) at random moments, resumed, killed again, until the run is
# through; then the next run. After each kill, what the log says succeeded is final: those
# steps never run again, none is lost, and in the end every output is what an undisturbed run
# gives. Also with a torn last line of the log and with the index deleted after each kill.
. "$(dirname "$0")/lib.sh" || exit 99
kills=${RAYWF_KILLS:-210}
# Where the machine is so slow that these seconds are over before, fewer kills will do.
most_seconds=${RAYWF_KILL_SECONDS:-240}
enough=$((kills / 3 < 10 ? kills / 3 : 10))

# Five layers of eight: a step reads two of the layer before, and its last act is to say
# in a file of ours that it was executed.
steps()
{
    local layer i
    for layer in 0 1 2 3 4; do
        for i in 0 1 2 3 4 5 6 7; do
            local from="" name=s$layer$i
            [ $layer = 0 ] || from="\${tasks.s$((layer - 1))$i.outputs.o} \${tasks.s$((layer - 1))$(((i + 1) % 8)).outputs.o}"
            echo "  $name:"
            echo "    run: 'sleep 0.01; (echo $name; cat $from </dev/null) > o; sleep 0.01; echo $name >> \"\$SIDE\"'"
            echo "    outputs: {o: o}"
        done
    done
    echo "  all:"
    echo "    run: 'cat \${tasks.s40.outputs.o} \${tasks.s43.outputs.o} \${tasks.s47.outputs.o} > o; cp o \"\$FINAL\"; echo all >> \"\$SIDE\"'"
    echo "    outputs: {o: o}"
}

{
    printf 'recipe: raywf/v1\nname: killed\ndefaults: {resources: {cpu: 0.5}, cache: false}\ntasks:\n'
    steps
} >recipe.yaml

log=.raywf/runs/last/events.ndjson

# Runs or resumes until done or killed: 0 done, 1 killed, 2 ended otherwise.
go_and_kill()
{
    local rc=0
    "$RAYWF" "${@:2}" >out 2>err &
    local pid=$!
    sleep "$(moment "$1")"
    if kill -KILL $pid 2>/dev/null; then
        wait $pid 2>/dev/null
        rc=$?
        [ $rc = 137 ] && { done_kills=$((done_kills + 1)); return 1; }
    else
        wait $pid
        rc=$?
    fi
    [ $rc = 0 ] && return 0
    echo "exit code $rc: $(tail -n 3 err)"
    return 2
}

# What is broken between a kill and the next start.
disturb()
{
    case $1 in
    torn)
        local last cut
        last=$(tail -n 1 $log | wc -c)
        cut=$((1 + RANDOM % last))
        # The first line stays whole: without it there is no run to resume.
        [ "$(wc -l <$log)" -lt 2 ] || truncate -s -$cut $log
        ;;
    index) rm -f .raywf/index.sqlite .raywf/index.sqlite-* ;;
    esac
}

# Steps that were final when killed must not be executed again.
none_repeated()
{
    local again
    again=$(tail -n +$(($2 + 1)) side | sort -u | sed 's/^/tasks./' | comm -12 - "$1")
    [ -z "$again" ] || { echo "executed again: $again"; return 1; }
}

one_run()
{
    local what=$1 rc=1 lines=0 round=0
    rm -rf .raywf side final final.steps
    : >side
    : >final.steps
    SIDE=$dir/side FINAL=$dir/final
    export SIDE FINAL
    go_and_kill $span run recipe.yaml || rc=$?
    [ $rc = 2 ] && return 1
    while :; do
        none_repeated final.steps "$lines" || return 1
        [ -e final ] && [ "$rc" = 0 ] && break
        [ $round -lt 100 ] || { echo "still not done after 100 resumes"; return 1; }
        round=$((round + 1))
        if [ -s $log ]; then
            disturb "$what"
            events_of step.succeeded $log >final.steps
            lines=$(wc -l <side)
            set -- resume last
        else
            set -- run recipe.yaml
        fi
        rc=0
        # Later each time: a machine that has become slow since gets somewhere, too.
        go_and_kill $((span + span * round / 10)) "$@" || rc=$?
        [ $rc = 2 ] && return 1
        # Killed after the end was written: there is nothing to resume any more.
        [ $rc = 0 ] || ! grep -q '"type": *"run.finished"' $log 2>/dev/null || rc=0
    done
    all_there
}

all_there()
{
    cmp final want || { echo "the final output differs"; return 1; }
    events_of step.succeeded $log | sort -u >got.steps
    cmp got.steps want.steps || { echo "steps are lost"; return 1; }
    [ -z "$(events_of step.succeeded $log | uniq -d)" ] || { echo "a step succeeded twice"; return 1; }
    grep -q '"type": *"run.finished".*"succeeded"' $log || { echo "the run did not succeed"; return 1; }
}

# What it should be, and how long it takes: kills fall within that time.
SIDE=$dir/side FINAL=$dir/want
export SIDE FINAL
: >side
began=$(date +%s%N)
if ! "$RAYWF" run recipe.yaml >out 2>err; then
    cat err
    fail "the undisturbed run failed"
    finish
fi
span=$((($(date +%s%N) - began) / 1000000))
events_of step.succeeded $log | sort -u >want.steps
[ "$(wc -l <want.steps)" = 41 ] || fail "41 steps expected: $(wc -l <want.steps)"
sort side | uniq -d | grep . && fail "a step was executed twice in an undisturbed run"

for what in nothing torn index; do
    done_kills=0 runs=0 before=$failed until_at=$((SECONDS + most_seconds / 3))
    while [ $done_kills -lt $((kills / 3)) ] && { [ $done_kills -lt $enough ] || [ $SECONDS -lt $until_at ]; }; do
        if ! one_run $what; then
            fail "killed and resumed ($what disturbed): run $runs, kill $done_kills"
            cp -r .raywf "raywf.$what.$runs" 2>/dev/null
            [ $((failed - before)) -lt 3 ] || break
        fi
        runs=$((runs + 1))
    done
    if [ $failed = $before ]; then
        pass "$done_kills kills in $runs runs, disturbed: $what"
    fi
done
finish
