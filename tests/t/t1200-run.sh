#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The main job: run, run again, change a line, and everything that tells about it.
. "$abs_top_srcdir/tests/t/lib.sh"

raywf init matrix -o m.yaml -q
run 0 raywf run m.yaml
says 'succeeded in'
says '8/8'
says 'converged'
first=$(raywf ps -q)
run 0 raywf run m.yaml
says '7 cached'
says_not '7 succeeded'

# --- a changed line: only what depends on it ---
cat >r.yaml <<'Y'
recipe: raywf/v1
name: line
tasks:
  a: {run: "echo one > a.txt; echo made a", outputs: {a: a.txt}}
  b: {run: "tr a-z A-Z < ${tasks.a.outputs.a} > b.txt; cat b.txt; raywf report-metric len=3", outputs: {b: b.txt}}
  other: {run: "echo other > o.txt", outputs: {o: o.txt}}
checks:
  len: {value: "${tasks.b.metrics.len}", op: "==", than: 3, help: three letters}
Y
run 0 raywf run r.yaml
says '4 succeeded'
sed -i 's/echo one/echo two/' r.yaml
run 0 raywf run r.yaml --events events.ndjson
says '1 cached'
grep '"step.started"' events.ndjson >started
ok 'a and b ran' grep -q '"tasks.b"' started
ok 'other did not' sh -c '! grep -q tasks.other started'
ok 'first event is the version' sh -c 'head -n 1 events.ndjson | grep -q "\"type\":\"version\""'
last=$(raywf ps -q -n 1)
run 0 raywf why tasks.a
has 'its key changed'
has 'echo one'
has 'echo two'
run 0 raywf why last b
has 'succeeded'
run 0 raywf why tasks.other
has 'cached'
has "$(raywf ps -q -n 2 | tail -n 1)/tasks.other"
run 12 raywf why tasks.bb
says 'did you mean'
run 12 raywf why nosuchrun tasks.a

# --- looking back ---
run 0 raywf logs last tasks.b
has TWO
run 0 raywf logs tasks.b --stderr
hasnt TWO
run 0 raywf logs
has '==> tasks.a stdout <=='
run 0 raywf logs last tasks.b --format json
has '"text":"TWO\n"'
run 0 raywf events
has '"type":"run.finished"'
run 0 raywf events --type step.cached
has 'tasks.other'
hasnt 'run.finished'
run 2 raywf events --type step.cashed
says 'did you mean step.cached?'
run 0 raywf events --types
has 'step.retry'
run 0 raywf status
has succeeded
run 0 raywf status last --format json
has '"status":"succeeded"'
run 0 raywf status --wait
run 12 raywf status 19990101
run 0 raywf ps
has line
has matrix
run 0 raywf ps -q
has "$first"
run 0 raywf ps --format json
has '"name":"line"'
previous=$(raywf ps -q -n 2 | tail -n 1)
run 0 raywf diff "$previous" last
has 'recipe text differs'
has 'tasks.a'
run 10 raywf diff "$previous" "$last" --exit-code
run 0 raywf diff last last --exit-code
has 'no differences'
run 0 raywf cache stats
has results
run 0 raywf cache ls
has tasks.a
run 0 raywf cache verify
run 0 raywf -C .raywf/runs/last status

# --- failures: cause, place, tail, exit code ---
cat >f.yaml <<'Y'
recipe: raywf/v1
name: bad
tasks:
  good: {run: "raywf report-metric acc=0.5; echo fine"}
  bad:
    run: "echo to stdout; echo 'the reason' >&2; exit 3"
    retry: {max: 1, backoff: 10ms}
  after: {run: "true", needs: [tasks.bad]}
checks:
  acc: {value: "${tasks.good.metrics.acc}", op: ">=", than: 0.9}
Y
run 1 raywf run f.yaml --junit out.xml --summary sum.md --report rep.html
says 'tasks.bad  exit code 3'
says 'the reason'
says 'f.yaml:5'
says "log     .raywf/runs/$(raywf ps -q -n 1)/steps/"
says "raywf logs $(raywf ps -q -n 1) tasks.bad"
says '--failed'
says 'attempt 2'
ok 'junit counts' grep -q 'tests="4" failures="2" errors="0" skipped="1"' out.xml
ok 'junit has places' grep -q 'name="tasks.bad" file="f.yaml" line="' out.xml
ok 'junit has the output' grep -q 'the reason' out.xml
ok 'summary is a table' grep -q '^| .* | tasks.bad |' sum.md
ok 'the report has the run' grep -q "$(raywf ps -q -n 1)" rep.html
ok 'the report asks no network' sh -c '! grep -Eq "(src|href)=\"?(https?:)?//|@import|url\([^#]" rep.html'
run 0 raywf why tasks.bad
has 'exit code 3'
has 'the reason'
run 0 raywf why tasks.after
has skipped
run 1 raywf status --wait
run 1 raywf run f.yaml --format json -q
has '"exit_code":1'
has '"step":"tasks.bad"'
run 11 raywf run f.yaml --only checks.acc
run 0 raywf run f.yaml --only checks.acc --set checks.acc.than=0.4
run 1 raywf run f.yaml --fail-fast -q --set checks.acc.than=0.1
says 'the reason'
run 8 raywf run f.yaml --timeout 300ms --set tasks.good.run='sleep 20' --set tasks.bad.run=true
says 'stopped'

# --- each cause has its message, its line and what to do ---
cat >causes.yaml <<'Y'
recipe: raywf/v1
name: causes
tasks:
  start: {argv: [/no/such/program]}
  signal: {run: "kill -SEGV $$"}
  output: {run: "true", outputs: {o: missing.txt}}
  timeout: {run: "sleep 20", timeout: 100ms, grace: 100ms}
Y
run 1 raywf run causes.yaml
for text in causes.yaml:4 causes.yaml:5 causes.yaml:6 causes.yaml:7 SIGSEGV missing.txt; do
    says "$text"
done
for c in "start 4 no/such/program install" "signal 5 SIGSEGV crashed" \
    "output 6 missing.txt relative" "timeout 7 timed raise"; do
    # shellcheck disable=SC2086
    set -- $c
    run 0 raywf why "tasks.$1"
    has "causes.yaml:$2"
    has "$3"
    has "$4"
done

# --- GitHub ---
: >page.md
GITHUB_ACTIONS=true GITHUB_STEP_SUMMARY=$tmp/page.md run 1 raywf run f.yaml
has '::error file=f.yaml,line=5,title=tasks.bad failed::exit code 3'
ok 'the page of the job' grep -q '## bad: failed' page.md

# --- retry goes on where it failed ---
cat >flaky.yaml <<'Y'
recipe: raywf/v1
name: flaky
tasks:
  once: {run: "echo ran >> ${recipe.dir}/count"}
  flaky: {run: "test -e ${recipe.dir}/there", needs: [tasks.once]}
Y
run 1 raywf run flaky.yaml
touch there
run 0 raywf retry last --failed
ok 'what was finished is not repeated' test "$(wc -l <count)" -eq 1
run 0 raywf status
has '2 succeeded'
run 0 raywf resume
says 'nothing left to do'

# --- outputs of progress ---
run 0 raywf run m.yaml --progress none --no-cache
ok 'none says nothing' test ! -s .err
run 0 raywf run m.yaml -q
ok 'quiet says nothing when all is well' test ! -s .err
run 0 raywf run m.yaml --events -
has '"type":"run.finished"'
if command -v script >/dev/null; then
    # It waits for a second frame, which begins by going back over the first.
    printf '\033\\[[0-9]*A' >back
    cat >slow.yaml <<Y
recipe: raywf/v1
tasks: {slow: {run: "until grep -qf $tmp/back $tmp/tty.out; do sleep 0.1; done", timeout: 5m}}
Y
    TERM=xterm script -qefc 'raywf run slow.yaml' /dev/null >tty.out 2>&1 </dev/null
    ok 'a terminal gets live lines' test $? -eq 0
else
    skip 'live progress' 'no script(1)'
fi

# --- the report ---
run 0 raywf report
ok 'its path is printed' test -s "$out"
run 0 raywf report last -o page.html
ok 'well-formed enough' sh -c 'grep -q "</html>" page.html && ! grep -q "@DATA@" page.html'
run 0 raywf report -o -
has '<!doctype html>'
finish
