#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A canary in a secret must not be found anywhere: files, streams, reports, process list.
. "$abs_top_srcdir/tests/t/lib.sh"

canary=sesame-$$-opens-$(od -An -N6 -tx1 /dev/urandom | tr -d ' \n')
cat >r.yaml <<'Y'
recipe: raywf/v1
name: secret
secrets:
  KEY: {env: CANARY}
  FROM_FILE: {file: key.txt}
  FROM_COMMAND: {command: [sh, -c, "cat key.txt; printf x"]}
env: {SHARED: "${secrets.FROM_COMMAND}"}
tasks:
  show:
    env: {TOKEN: "${secrets.KEY}", FILE: "pre-${secrets.FROM_FILE}-post"}
    run: |
      echo "token $TOKEN file $FILE shared $SHARED"
      echo "token $TOKEN" >&2
      printf '%s' "$TOKEN" | cut -c1-9 | tr -d '\n'; printf '%s\n' "$TOKEN" | cut -c10-
      echo "{\"message\": \"using $TOKEN\", \"progress\": 0.5}" >&"$RAYWF_REPORT" || :
      [ "$(echo "$TOKEN" | wc -c)" -gt 20 ] && echo long enough
      until [ -e "$RAYWF_RECIPE_DIR/go" ]; do sleep 0.05; done
  fails:
    env: {TOKEN: "${secrets.KEY}"}
    run: echo "failing with $TOKEN" >&2; exit 4
Y
printf '%s' "$canary" >key.txt
run 0 raywf check r.yaml
CANARY=$canary raywf plan r.yaml -o plan.json >plan.out 2>&1
ok 'plan' test $? -eq 0
CANARY=$canary raywf run r.yaml --progress plain --events events.out --junit junit.out \
    --summary summary.out --report report.out >run.out 2>run.err &
pid=$!
until_ok grep -q 'long enough' .raywf/runs/last/steps/tasks.show/stdout
# While it runs: command lines of all processes.
cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' >cmdlines
ok 'the process list is clean' sh -c "! grep -qF '$canary' cmdlines"
touch go
wait "$pid"
ok 'the run failed, as one step does' test $? -eq 1
for c in 'status' 'logs' 'events' 'why tasks.fails' 'report -o page.out' 'render r.yaml' \
    'status --format json' 'logs --format json' 'events --format json' 'cache ls'; do
    # Run without the secret at hand: what was logged must already be clean.
    # shellcheck disable=SC2086
    raywf $c >"look.$(echo "$c" | tr -c 'a-z\n' _)" 2>&1
done
ok 'the step saw the secret' grep -q 'long enough' .raywf/runs/last/steps/tasks.show/stdout
ok 'logs say which secret it was' grep -q '\[secret:KEY\]' .raywf/runs/last/steps/tasks.show/stdout
rm -f key.txt
found=$(grep -rlF -- "$canary" . 2>/dev/null)
if [ -z "$found" ]; then pass; else fail 'the canary is in' "$found"; fi

# --- where a secret may stand ---
cat >argv.yaml <<'Y'
recipe: raywf/v1
secrets: {KEY: {env: CANARY}}
tasks: {a: {run: "echo ${secrets.KEY}"}}
Y
run 3 raywf check argv.yaml
says E0205
says env
run 7 env -u CANARY raywf run r.yaml
says CANARY
says_not "$canary"
CANARY=ab run 6 raywf run r.yaml
says_not ' ab '
finish
