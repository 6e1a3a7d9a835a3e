#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Help, version, wrong usage, and the form of what is printed.
. "$abs_top_srcdir/tests/t/lib.sh"

# --- help ---
run 0 raywf --help
has 'Usage: raywf COMMAND'
has 'exit-codes'
for c in init check render schema explain plan graph simulate run stop resume retry ps status logs \
    events why diff report cache doctor help completion man version report-metric; do
    run 0 raywf --help
    has "  $c "
    run 0 raywf "$c" --help
    has "Usage: raywf $c"
    cp .out one.txt
    run 0 raywf help "$c"
    ok "help $c is $c --help" cmp one.txt .out
done
run 0 raywf --help
hasnt 'run-step'
run 0 raywf help exit-codes
for code in 0 1 2 3 4 5 6 7 8 9 10 11 12 70; do has " $code  "; done
run 0 raywf explain exit-codes
has ' 11  '
run 0 raywf help --format json
has '"command":"help","ok":true,"exit_code":0'
has '"name":"run"'
run 2 raywf help rnu
says 'did you mean run?'
if command -v python3 >/dev/null; then
    raywf help --format json >help.json
    ok 'every option of the JSON has a help' python3 - <<'PY'
import json
d = json.load(open("help.json"))["data"]
for c in d["commands"]:
    assert c["summary"] and c["usage"].startswith("raywf " + c["name"]), c
    for o in c["options"] + d["common_options"]:
        assert o["help"], (c["name"], o)
PY
else
    skip 'JSON of the help' 'no python3'
fi

# --- version ---
run 0 raywf version
has 'raywf '
cp .out v1
run 0 raywf --version
ok '--version is version' cmp v1 .out
run 0 raywf version --format json
has '"v":"1.0","command":"version","ok":true,"exit_code":0'
has '"diagnostics":[]'

# --- wrong usage: exit 2, one line that helps ---
run 2 raywf
says 'no command given'
run 2 raywf chekc x.yaml
says 'did you mean check?'
run 2 raywf recipe.yaml
says 'raywf run recipe.yaml'
run 2 raywf check
says 'FILE is missing; usage: raywf check'
run 2 raywf check --fromat=json x
says 'did you mean --format?'
run 2 raywf check --format jsn x
says 'did you mean json?'
run 2 raywf check --format
says '--format needs a value'
run 2 raywf version --color=sometimes
says 'auto|always|never'
run 2 raywf version extra
says '"extra" is too much'
run 2 raywf ps --last -1
says 'whole number'
run 2 raywf run --timeout 10 x.yaml
says '--timeout'
run 2 raywf run --param lr x.yaml
says 'NAME=VALUE'
run 2 raywf run --profile a --profile b x.yaml
says 'given twice'
run 2 raywf plan --exit-code=yes x.yaml
says 'takes no value'
run 2 raywf ps -qv
says 'contradict'
run 2 raywf ps -Z
says 'unknown option -Z'
run 2 raywf cache ls --older-than 3d
says 'no effect'
run 2 raywf man --format json
says 'no effect'
run 2 raywf run --events - --format json x.yaml
has '"ok":false,"exit_code":2'
run 2 raywf retry last
says '--failed'
run 2 raywf chekc --format json
has '"code":"USAGE"'
has 'did you mean check?'
run 2 raywf -C /nowhere/at/all version
says 'cannot enter'
run 2 raywf cache lss
says 'did you mean ls?'
run 2 raywf explain taskz.x
says 'did you mean tasks'
run 2 raywf schema --field tasks.x.retrie
says 'did you mean'

# --- options may stand anywhere; -- ends them ---
run 0 raywf --format json version
has '"command":"version"'
run 0 raywf version --format=json
has '"command":"version"'
run 6 raywf check -- --odd.yaml
printf 'recipe: raywf/v1\ntasks: {a: {run: "true"}}\n' >--odd.yaml
run 0 raywf check -- --odd.yaml
run 0 raywf init -o here.yaml -q
mkdir sub
run 0 raywf -C sub check ../here.yaml
run 0 raywf check ../here.yaml -Csub

# --- colours ---
run 0 raywf --help
hasnt "$(printf '\033')"
run 0 raywf --help --color always
has "$(printf '\033[36m')"
run 0 raywf --color=never --help
hasnt "$(printf '\033')"

# --- where output cannot go ---
if [ -c /dev/full ]; then
    raywf schema >/dev/full 2>.err
    ok 'a full stdout is exit 7' test $? -eq 7
    ok 'and is told' grep -q 'standard output' .err
fi
raywf schema 2>.err | head -c 10 >/dev/null
ok 'a reader that went away is no error' test ! -s .err

# --- other products ---
run 0 raywf man
has '.TH RAYWF 1'
run 0 raywf schema
has '"$schema"'
run 0 raywf schema --field 'tasks.*.retry.max'
has '"integer"'
run 0 raywf explain tasks.x.retry
has 'backoff'
run 0 raywf explain e0101
has 'unknown key'
run 0 raywf explain 11
has 'check of the recipe'
run 0 raywf explain tasks
has 'outputs'
# Of several forms all keys are told, and required is what each form asks for.
run 0 raywf explain 'serve.*.native'
has 'plugin         text, number, boolean, required'
has 'function       text'
has 'class          text'
has 'method         text'
hasnt 'function       text, number, boolean, required'
run 0 raywf explain 'serve.*'
hasnt ', required'
run 0 raywf doctor
has 'cpu'
has 'graphviz'
run 0 raywf doctor --format json
has '"name":"duckdb"'

# --- init never overwrites ---
run 2 raywf init -o here.yaml
says 'never overwrites'
for t in start matrix dataset; do
    run 0 raywf init "$t" -o "$t.yaml"
    run 0 raywf check "$t.yaml"
done
run 0 raywf init --ci github -o ci.yaml
ok 'the workflow names the recipe' grep -q 'raywf run ci.yaml' .github/workflows/raywf.yml
run 2 raywf init --ci github -o ci2.yaml
ok 'nothing is written then' test ! -e ci2.yaml
run 2 raywf init strat
says 'did you mean start?'

# --- report-metric outside of a task ---
run 2 raywf report-metric a=1
says 'RAYWF_REPORT'
run 2 raywf report-metric a=x
says 'not a number'
RAYWF_REPORT=9 run 0 sh -c 'raywf report-metric acc=0.5 n=3 --step 2 9>metrics'
ok 'the line' grep -qx '{"acc":0.5,"n":3,"step":2}' metrics
RAYWF_REPORT=77 run 7 raywf report-metric a=1
says 'no open file descriptor'
finish
