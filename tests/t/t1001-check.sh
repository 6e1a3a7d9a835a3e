#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Diagnostics as people, machines and workflows see them.
. "$abs_top_srcdir/tests/t/lib.sh"

cat >good.yaml <<'Y'
recipe: raywf/v1
tasks:
  a: {run: "echo a > a.txt", outputs: {a: a.txt}}
  b: {run: "cat ${tasks.a.outputs.a}"}
Y
cat >bad.yaml <<'Y'
recipe: raywf/v1
tasks:
  a:
    rnu: echo a
  b:
    run: cat ${tasks.aa.outputs.a}
    timeout: 10
    retry: {on: [exti]}
Y
run 0 raywf check good.yaml
says 'good.yaml: 2 steps'
run 0 raywf validate -q good.yaml
says_not good.yaml

# All errors at once, each with place, code, the line, a caret and what to do.
run 3 raywf check bad.yaml
says 'bad.yaml:4:5: error[E0101]'
says 'did you mean'
says 'rnu: echo a'
says '^'
says 'bad.yaml:7:'
says 'bad.yaml:8:'
ok 'at least three errors' test "$(grep -c 'error\[E' .err)" -ge 3

# JSON: one envelope, nothing else on either stream.
run 3 raywf check bad.yaml --format json
has '"v":"1.0","command":"check","ok":false,"exit_code":3'
has '"code":"E0101"'
has '"line":4'
has '"col":5'
ok 'one line' test "$(wc -l <.out)" -eq 1
ok 'stderr is empty' test ! -s .err
run 0 raywf check good.yaml --format json
has '"ok":true'
has '"steps":2'
if command -v python3 >/dev/null; then
    ok 'valid JSON' python3 -m json.tool .out
fi

# GitHub: annotations at the line.
run 3 raywf check bad.yaml --format github
has '::error file=bad.yaml,line=4,col=5,title=E0101'
GITHUB_ACTIONS=true run 3 raywf check bad.yaml
has '::error file=bad.yaml,line=4'

# Standard input, several files, files that are not there.
raywf check - <good.yaml 2>.err
ok 'stdin' test $? -eq 0
run 3 raywf check good.yaml bad.yaml
says 'good.yaml: 2 steps'
run 6 raywf check missing.yaml good.yaml
says 'missing.yaml'
says 'good.yaml: 2 steps'
run 3 raywf check missing.yaml bad.yaml
says 'missing.yaml'
says 'E0101'

# A missing input is exit 6, but only when nothing else is wrong.
printf 'recipe: raywf/v1\ninclude: [gone.yaml]\ntasks: {a: {run: "true"}}\n' >inc.yaml
run 6 raywf check inc.yaml
says gone.yaml

# What is there, but says nothing.
printf 'recipe: raywf/v1\ncluster: {}\n' >cluster.yaml
run 3 raywf check cluster.yaml
says 'E0108'
says 'cluster.yaml:2:'

# A cycle is a path with lines.
cat >cycle.yaml <<'Y'
recipe: raywf/v1
tasks:
  a: {run: "true", needs: [tasks.c]}
  b: {run: "true", needs: [tasks.a]}
  c: {run: "true", needs: [tasks.b]}
Y
run 3 raywf check cycle.yaml
says E0301
says tasks.a

# Parameters and settings from the command line.
cat >param.yaml <<'Y'
recipe: raywf/v1
params: {lr: {type: float, min: 0}}
profiles: {ci: {params: {lr: 0.5}}}
tasks: {a: {run: "echo ${params.lr}"}}
Y
run 3 raywf check param.yaml
says lr
run 0 raywf check param.yaml -p lr=0.1
run 0 raywf check param.yaml --profile ci
run 3 raywf check param.yaml --profile cj
says 'did you mean'
run 3 raywf check param.yaml --param lr=-1
run 3 raywf check param.yaml --param rl=1
says 'did you mean'
run 0 raywf check param.yaml --param lr=1 --set tasks.a.timeout=5s
run 3 raywf check param.yaml --param lr=1 --set tasks.a.timeuot=5s

# render: what it means, and again the same.
run 0 raywf render param.yaml -p lr=0.25 --show-origin
has 'lr: 0.25  # command line'
has 'echo 0.25'
has '# param.yaml:4'
raywf render param.yaml -p lr=0.25 >once.yaml
raywf render once.yaml >twice.yaml
ok 'render is idempotent' cmp once.yaml twice.yaml
run 0 raywf render param.yaml -p lr=0.25 --format json
has '"lr":'
finish
