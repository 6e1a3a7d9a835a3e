#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Searches over commands: what is checked, what is the same again, and what kills do.
. "$abs_top_srcdir/tests/t/lib.sh"
log=.raywf/runs/last/events.ndjson

# A bowl: 9 reports; the lower the nearer x is to 2.
cat >bowl.sh <<'S'
#!/bin/sh
x=$1
i=1
while [ $i -le "${2:-9}" ]; do
    awk -v x="$x" -v i=$i 'BEGIN { printf "{\"step\":%d,\"loss\":%.10g}\n", i, (x - 2) ^ 2 + 1 / i }' >&"$RAYWF_REPORT"
    sleep "${3:-0.02}"
    i=$((i + 1))
done
echo "$x" >point.txt
S
chmod +x bowl.sh
cat >r.yaml <<'Y'
recipe: raywf/v1
name: bowl
params: {trials: {type: int, default: 12}, seed: {type: int, default: 3}}
tasks:
  bowl:
    argv: [./bowl.sh, "${trial.x}"]
    outputs: {point: point.txt}
    resources: {cpu: 0.5}
    grace: 1s
tune:
  s:
    target: tasks.bowl
    metric: loss
    mode: min
    space: {x: {type: uniform, min: -5, max: 5}}
    algorithm: {type: tpe, seed: "${params.seed}", startup_trials: 4}
    scheduler: {type: asha, max_t: 9, grace_period: 1, reduction_factor: 3}
    num_samples: ${params.trials}
    max_concurrent_trials: 4
Y

# suggested: "trial config" of the last run, by number
suggested()
{
    sed -n 's/.*"type":"trial.suggested".*"trial":\([0-9]*\),"config":\({[^}]*}\).*/\1 \2/p' "$log" | sort -n
}

# --- before it runs ---
run 0 raywf check r.yaml
run 0 raywf plan r.yaml
has 'tune.s[…]  12 steps: 12 to run'
hasnt 'trial=5'
has 'tune.s  the lowest loss of 12 trials of tasks.bowl; algorithm tpe, scheduler asha'
has '12 trials to report 1'
has 'expected work: about'
run 0 raywf plan -v r.yaml
has 'tune.s[trial=5]'
bad()
{
    sed "$1" r.yaml >bad.yaml
    run 3 raywf check bad.yaml
    says "$2"
}
bad 's/target: tasks.bowl/target: tasks.bowel/' "did you mean 'tasks.bowl'"
bad 's/{x: {type/{y: {type/' "the space of tune.s has no parameter 'x'"
bad 's/{x: {type/{tasks.bowl.shel: {type/' "unknown key 'shel'"
bad 's/min: -5, max: 5/min: 5, max: -5/' 'the range is empty'
bad 's/uniform, min: -5/loguniform, min: 0/' 'the logarithm'
bad 's/grace_period: 1/grace_period: 10/' 'grace_period 10 is above max_t 9'
bad 's/{x: {type: uniform, min: -5, max: 5}}/{tasks.bowl.resources.cpu: {type: choice, values: [1]}}/' 'is read when planning'
bad 's/asha, max_t/ashes, max_t/' 'asha'
bad 's/mode: min/mode: least/' 'min'

# --- it runs, and again ---
run 0 raywf run r.yaml
says 'bowl succeeded'
says 'best loss'
suggested >first
ok 'all trials began' test "$(wc -l <first)" -eq 12
ok 'some were stopped' grep -q '"type":"trial.stopped"' "$log"
run 0 raywf tune show
has 'tune.s  the lowest loss of 12 trials'
has '*'
run 0 raywf tune show last tune.s --format json
has '"metric":"loss","mode":"min","total":12'
run 12 raywf tune show last tune.t
run 0 raywf tune show --best
cp .out best.yaml
hasnt 'tune:'
run 0 raywf run best.yaml
says 'tasks.bowl'
run 0 raywf run r.yaml
says '13 cached'
ok 'the second run starts nothing' test -z "$(grep '"type":"step.started"' "$log")"
suggested >second
ok 'it asks for the same' cmp first second
run 0 raywf run r.yaml --param trials=14
ok 'more trials are added to those there are' test "$(grep -c '"type":"step.cached"' "$log")" -ge 3

# One at a time a seed decides everything, whatever the machine does.
for n in 1 2; do
    RAYWF_DIR=$tmp/one$n
    export RAYWF_DIR
    log=$RAYWF_DIR/runs/last/events.ndjson
    run 0 raywf run r.yaml --set tune.s.max_concurrent_trials=1
    suggested >one.$n
    grep '"type":"trial.ended"' "$log" | sed 's/.*"step":/"step":/' >ends.$n
done
ok 'one seed, one sequence' cmp one.1 one.2
ok 'and one outcome' cmp ends.1 ends.2
run 0 raywf run r.yaml --set tune.s.max_concurrent_trials=1 --param seed=4
suggested >other
ok 'another seed, another sequence' sh -c '! cmp -s one.1 other'

# --- kills ---
# killed RECIPE [OPTION…]: runs it, and kills the head on the way.
killed()
{
    ok "$1 comes to its end after kills" killed_often "$@"
    ok 'no trial began twice' test -z "$(suggested | cut -d' ' -f1 | uniq -d)"
    ok 'no trial ended twice' test -z "$(sed -n 's/.*"type":"step.\(succeeded\|cached\)","step":"\(tune.s\[[^"]*\)".*/\2/p' "$log" | sort | uniq -d)"
}
RAYWF_DIR=$tmp/killed
log=$RAYWF_DIR/runs/last/events.ndjson
killed r.yaml --set tune.s.max_concurrent_trials=1
suggested >after
ok 'the sequence goes on exactly' cmp one.1 after
grep '"type":"trial.ended"' "$log" | sed 's/.*"step":/"step":/' >ends.3
ok 'with the same outcome' cmp ends.1 ends.3
sed 's/type: asha, max_t/type: hyperband, max_t/' r.yaml >h.yaml
killed h.yaml
sed 's/grace_period: 1,/grace_period: 1, variant: promote,/' r.yaml >p.yaml
killed p.yaml
unset RAYWF_DIR
log=.raywf/runs/last/events.ndjson

# --- trials that misbehave ---
cat >bad.yaml <<'Y'
recipe: raywf/v1
tasks:
  f:
    env: {KIND: "${trial.kind}"}
    grace: 300ms
    run: |
      r() { echo "$1" >&$RAYWF_REPORT; }
      case $KIND in
      crash) r '{"step":1,"loss":1}'; exit 3;;
      hang) r '{"step":1,"loss":1}'; exec sleep 100;;
      nan) r '{"step":1,"loss":NaN}'; exec sleep 100;;
      null) r '{"step":1,"loss":null}'; exec sleep 100;;
      other) r '{"step":1,"acc":1,"f1":2}'; exec sleep 100;;
      nothing) exit 0;;
      twice) for i in 1 1 2 2 1 3 3 2 1; do r '{"step":'$i',"loss":0.5}'; done;;
      outlives) trap '' TERM; r '{"step":1,"loss":0.7}'; r '{"step":2,"loss":0.7}'; while :; do sleep 0.1; r '{"step":3,"loss":0.9}' || :; done;;
      good) for i in 1 2 3; do r '{"step":'$i',"loss":0.'$i'}'; done;;
      esac
tune:
  s:
    target: tasks.f
    metric: loss
    mode: min
    space: {kind: {type: grid, values: [crash, nan, "null", other, nothing, twice, outlives, good]}}
    algorithm: grid
    scheduler: {type: none, max_t: 2}
Y
run 0 raywf run bad.yaml
says "its 'loss' is not a finite number; it reported: loss"
says "its first report has no 'loss'; it reported: acc, f1"
says "it reported no 'loss'; it reported: nothing"
run 0 raywf tune show
has '3 completed, 5 failed'
run 1 raywf run bad.yaml --no-cache --set tune.s.max_failed_trials=2
says '3 trials failed, and max_failed_trials is 2'
run 1 raywf run bad.yaml --set tune.s.space.kind.values=[hang] --set tasks.f.timeout=1s
says 'timed out'

# --- ends ---
run 0 raywf run r.yaml --no-cache --set tune.s.stop.loss=4 --set tune.s.num_samples=50
says 'has loss'
ok 'the goal ended it' grep -q '"type":"search.ended".*has loss' "$log"
ok 'not all were tried' test "$(suggested | wc -l)" -lt 50
# Without any report there is no best one: then there was not time enough here.
for time in 300 1000 4000 16000 64000; do
    raywf run r.yaml --no-cache --set tune.s.time_budget=${time}ms --set tune.s.num_samples=5000 >.out 2>.err
    code=$?
    ! grep -q '"type":"step.metric"' "$log" || break
done
ok 'it is no failure' test $code -eq 0
ok 'the time ended it' grep -q '"type":"search.ended".*time budget' "$log"
run 0 raywf run r.yaml --no-cache --set tune.s.stop.trials=3 --set tune.s.num_samples=50
ok 'the number ended it' grep -q '"type":"search.ended".*trials are done' "$log"

# --- 50 at once on 2 cores, some of which are killed ---
cat >many.yaml <<'Y'
recipe: raywf/v1
tasks:
  f:
    run: |
      [ $((RAYWF_TRIAL % 7)) -ne 3 ] || [ "$RAYWF_ATTEMPT" -gt 1 ] || kill -9 $$
      echo >>$RAYWF_RECIPE_DIR/met
      until [ "$(wc -l <$RAYWF_RECIPE_DIR/met)" -ge 50 ]; do sleep 0.3; done
      for i in 1 2 3; do echo '{"step":'$i',"loss":${trial.x}}' >&$RAYWF_REPORT; done
    resources: {cpu: 0.02}
    retry: {max: 2, backoff: 10ms}
tune:
  s: {target: tasks.f, metric: loss, mode: max, space: {x: {type: uniform, min: 0, max: 1}}, algorithm: sobol, num_samples: 50}
Y
run 0 raywf run many.yaml
says '51 succeeded'
ok 'they ran beside each other' awk '
    /"type":"step.started"/ { if (++n > most) most = n }
    /"type":"step.(succeeded|retry)"/ { n-- }
    END { exit most < 50 }' "$log"
ok 'the killed ones were tried again' test "$(grep -c '"type":"step.retry"' "$log")" -eq 7

# A program goes on from the checkpoint of another, with another configuration.
cat >pbt.yaml <<'Y'
recipe: raywf/v1
tasks:
  f:
    env: {RATE: "${trial.rate}"}
    run: |
      state=$RAYWF_CHECKPOINT_DIR/state
      if [ -e "$state" ]; then read step height <"$state"; else step=0 height=100; fi
      [ "$step" -eq 0 ] || echo "goes on from step $step"
      # None is at its end before all have begun.
      echo >"$RAYWF_RECIPE_DIR/began.$RAYWF_TRIAL"
      until [ "$(ls "$RAYWF_RECIPE_DIR"/began.* | wc -l)" -ge 6 ]; do sleep 0.05; done
      while [ "$step" -lt 12 ]; do
        step=$((step + 1))
        height=$(awk -v h="$height" -v r="$RATE" 'BEGIN { print h * (1 - r) }')
        echo "$step $height" >"$state.new"
        mv "$state.new" "$state"
        echo "{\"step\": $step, \"height\": $height}" >&$RAYWF_REPORT
        sleep 0.05
      done
    resources: {cpu: 0.25}
tune:
  s:
    target: tasks.f
    metric: height
    mode: min
    space: {rate: {type: loguniform, min: 0.001, max: 0.5}}
    algorithm: {type: random, seed: 2}
    scheduler: {type: pbt, perturbation_interval: 2, max_t: 12}
    num_samples: 6
Y
run 0 raywf run pbt.yaml
run 0 raywf tune show
has '6 completed'
has '(from trial'
ok 'a clone goes on where the other was' grep -qr 'goes on from step' .raywf/runs/last/steps
run 0 raywf run pbt.yaml
says '7 cached'

# The target runs by itself only where somebody wants it.
cat >both.yaml <<'Y'
recipe: raywf/v1
tasks:
  f:
    run: |
      echo '{"loss": ${trial.x ?? "7"}}' >&$RAYWF_REPORT
      echo ${trial.x ?? "7"} > o
    outputs: {o: o}
  g: {run: "cat ${tasks.f.outputs.o} ${tune.s.outputs.o}"}
tune:
  s: {target: tasks.f, metric: loss, mode: min, space: {x: {type: grid, values: [3, 1, 2]}}, algorithm: grid}
Y
run 0 raywf run both.yaml
says '6 succeeded'
run 0 raywf logs last tasks.g
has '7
1'
finish
