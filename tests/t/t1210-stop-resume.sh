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
# Until the step "wait" has begun N times.
begun() { until_ok has_lines begun "$1"; }

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

# --- the options of the run stay ---
cat >kept.yaml <<'Y'
recipe: raywf/v1
tasks:
  wait: {run: "echo begun >> ${recipe.dir}/begun; until [ -e ${recipe.dir}/go ]; do sleep 0.05; done", grace: 2s}
  cached: {run: "echo ran >> ${recipe.dir}/ran; echo 1 > o", outputs: {o: o}, needs: [tasks.wait]}
  bad: {run: "test -e ${recipe.dir}/good", needs: [tasks.cached]}
  slow: {run: "echo slow >> ${recipe.dir}/slow; until [ -e ${recipe.dir}/never ]; do sleep 0.05; done", needs: [tasks.wait], grace: 2s}
Y
touch go
run 0 raywf run kept.yaml --only tasks.cached
rm -f go begun ran
raywf run kept.yaml --no-cache --fail-fast --progress none 2>run.err &
pid=$!
ok 'it begins' begun 1
kill -9 "$pid"
wait "$pid" 2>/dev/null
touch go
run 1 raywf resume --progress none
gives 'a resumed run knows --no-cache' 1 "$(cat ran 2>/dev/null | wc -l)"
run 0 raywf events --type run.stopping
has '"reason":"fail_fast"'
run 0 raywf events --type run.resumed
has '"options":{"'
has '"no-cache":true'
touch good
run 8 raywf retry --failed --timeout 300ms --progress none
gives 'and so does a retried one' 1 "$(wc -l <ran)"
run 8 raywf resume --progress none
run 0 raywf events --type run.resumed
has '"timeout":"300ms"'
# A plan that is run is kept to, also later.
rm -f go begun
printf '1\n' >in.txt
cat >planned.yaml <<'Y'
recipe: raywf/v1
tasks:
  wait: {run: "echo begun >> ${recipe.dir}/begun; until [ -e ${recipe.dir}/go ]; do sleep 0.05; done", grace: 2s}
  reads: {run: "cat ${inputs.in}", inputs: {in: in.txt}, needs: [tasks.wait]}
Y
run 0 raywf plan planned.yaml -o planned.json
raywf run planned.json --progress none 2>run.err &
pid=$!
ok 'it begins' begun 1
kill -9 "$pid"
wait "$pid" 2>/dev/null
printf '2\n' >in.txt
touch go
run 4 raywf resume --progress none

# --- following ---
rm -f go begun
sed -i 's/name: long/name: longer/; s/> w.txt/> w.txt; echo at last/; s/echo begun/echo it waits; echo begun/' r.yaml
raywf run r.yaml -q &
pid=$!
ok 'it begins' begun 1
raywf events -f >followed 2>&1 &
follower=$!
raywf logs -f >logged 2>&1 &
logger=$!
ok 'events -f is at it' until_ok grep -q 'step.started' followed
ok 'logs -f is at it' until_ok grep -q 'it waits' logged
touch go
wait "$pid" && wait "$follower" && wait "$logger"
ok 'events -f sees the end' grep -q run.finished followed
ok 'logs -f sees the output' grep -q 'at last' logged
finish
