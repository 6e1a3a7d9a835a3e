#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A run that is stopped, interrupted or killed goes on, and repeats nothing.
. "$abs_top_srcdir/tests/t/lib.sh"

cat >r.yaml <<'Y'
recipe: raywf/v1
name: long
tasks:
  first: {run: "echo first >> ${recipe.dir}/count; echo 1 > o.txt", outputs: {o: o.txt}}
  wait:
    run: "echo begun >> ${recipe.dir}/begun; until [ -e ${recipe.dir}/go ]; do sleep 0.05; done; cat ${tasks.first.outputs.o} > w.txt"
    outputs: {w: w.txt}
    grace: 2s
  end: {run: "cat ${tasks.wait.outputs.w} >> ${recipe.dir}/result"}
Y
# Until the step "wait" has begun N times, or for a minute.
begun()
{
    i=0
    while [ $i -lt 600 ]; do
        [ "$(cat begun 2>/dev/null | wc -l)" -ge "$1" ] && return 0
        sleep 0.1
        i=$((i + 1))
    done
    return 1
}

# --- stop ---
raywf run r.yaml --progress plain >run.out 2>run.err &
pid=$!
ok 'it begins' begun 1
run 0 raywf status
has running
has tasks.wait
run 0 raywf why tasks.end
has 'it needs tasks.wait (running)'
run 0 raywf stop last
wait "$pid"
ok 'a stopped run ends with 9' test $? -eq 9
ok 'it says how to go on' grep -q 'raywf resume' run.err
run 0 raywf status
has stopped
run 9 raywf status --wait
run 12 raywf stop last
says 'not active'

# --- Ctrl-C ---
raywf resume >run.out 2>run.err &
pid=$!
ok 'it goes on' begun 2
kill -TERM "$pid"
wait "$pid"
ok 'a signal stops the run too' test $? -eq 9

# --- kill -9 ---
raywf resume >run.out 2>run.err &
pid=$!
ok 'it goes on again' begun 3
kill -9 "$pid"
wait "$pid" 2>/dev/null
run 0 raywf status
has interrupted
has 'raywf resume'
run 0 raywf ps
has interrupted
touch go
run 0 raywf resume
says 'goes on'
run 0 raywf status
has succeeded
ok 'first ran once' test "$(wc -l <count)" -eq 1
ok 'the end ran once' test "$(cat result)" = 1
run 0 raywf events
ok 'seq has no gap' sh -c "sed 's/^{\"seq\":\([0-9]*\),.*/\1/' .out | awk '\$1 != NR { exit 1 }'"

# --- following ---
rm -f go begun
sed -i 's/name: long/name: longer/; s/> w.txt/> w.txt; echo at last/' r.yaml
raywf run r.yaml -q &
pid=$!
ok 'it begins' begun 1
raywf events -f >followed 2>&1 &
follower=$!
raywf logs -f >logged 2>&1 &
logger=$!
sleep 0.3
touch go
wait "$pid" && wait "$follower" && wait "$logger"
ok 'events -f sees the end' grep -q run.finished followed
ok 'logs -f sees the output' grep -q 'at last' logged
finish
