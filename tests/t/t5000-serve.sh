#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a recipe serves while it runs: replicas of each kind, answers, errors, graphs.
. "${srcdir:-.}/tests/t/lib.sh"
. "$abs_top_srcdir/tests/t/serve.sh"
command -v curl >/dev/null || { skip serve "there is no curl"; finish; }
build_serve

# --- functions, classes, statuses, ids ---
free_port
cat >native.yaml <<EOF
recipe: raywf/v1
name: native
serve:
  echo:
    http: {port: $port}
    native: {plugin: plugin.so, function: echo}
    resources: {cpu: 0.1}
    batching: {max_batch_size: 8}
  typed:
    http: {port: $port}
    native: {plugin: plugin.so, function: typed}
    resources: {cpu: 0.1}
  fails:
    http: {port: $port}
    native: {plugin: plugin.so, function: fail}
    resources: {cpu: 0.1}
  twice:
    http: {port: $port}
    native: {plugin: plugin.so, function: twice, stream: true}
    resources: {cpu: 0.1}
  torn:
    http: {port: $port}
    native: {plugin: plugin.so, function: torn, stream: true}
    resources: {cpu: 0.1}
  counter:
    http: {port: $port}
    route_prefix: /count/up
    native: {plugin: plugin.so, class: counter, method: next, args: {from: 41}}
    resources: {cpu: 0.1}
tasks:
  ask:
    run: |
      test "\$(curl -sSf -d '{"id":"x"}' \${serve.echo.url})" = '{"id":"x"}'
      curl -sS -D head.txt -o body.txt -H 'X-Request-Id: abc-1' -d x \${serve.typed.url}
      grep -q '404' head.txt
      grep -qi 'content-type: text/html' head.txt
      grep -qi 'x-request-id: abc-1' head.txt
      grep -q 'no such thing' body.txt
      curl -sS -o failed.txt -w '%{http_code}' -d x \${serve.fails.url} | grep -q 500
      grep -q 'as it was told' failed.txt
      test "\$(curl -sSf -D streamed.txt -d ab \${serve.twice.url})" = abab
      grep -qi 'content-type: text/event-stream' streamed.txt
      grep -qi 'transfer-encoding: chunked' streamed.txt
      test "\$(curl -sS -w ' %{http_code}' \${serve.twice.url})" = 'twice nothing 422'
      if curl -sS -o half.txt -d x \${serve.torn.url}; then exit 1; fi
      test "\$(cat half.txt)" = half
      curl -sSf http://127.0.0.1:$port/metrics |
          grep 'raywf_serve_cut_total{application="torn",deployment="main"} 1\$'
      test "\$(curl -sSf \${serve.counter.url})" = '{"count":42}'
      test "\$(curl -sSf \${serve.counter.url})" = '{"count":43}'
      curl -sS -o none.txt -w '%{http_code}' http://127.0.0.1:$port/nothing | grep -q 404
      curl -sSf http://127.0.0.1:$port/-/healthz
      curl -sSf http://127.0.0.1:$port/-/routes >routes.txt
      curl -sSf http://127.0.0.1:$port/metrics >metrics.txt
    outputs: {routes: routes.txt, metrics: metrics.txt}
EOF
run 0 "$RAYWF" check native.yaml
run 0 "$RAYWF" run native.yaml
says 'native succeeded'
run 0 "$RAYWF" events last --type serve
has 'serve.up'
has 'serve.down'
run 0 "$RAYWF" status last --format json
has '"succeeded"'
# The client of an answer that is cut sees only that: why is said here.
has_cause() { ok "$1" grep -q "$2" ".raywf/runs/last/serve/$3"; }
has_cause 'the access log says why' '"status": 200.*"bytes_out": 4.*"reason": "replica torn.main.1: ' "access-$port.log"
has_cause 'the log says why' 'warn: serve: an answer was cut short: deployment=torn.main request=.* bytes=4 cause=replica torn' stderr
# What was asked is cached, for as long as what is served is the same.
run 0 "$RAYWF" run native.yaml
run 0 "$RAYWF" events last --type step.cached
has tasks.ask
run 1 "$RAYWF" run native.yaml --set serve.counter.native.args.from=1
run 0 "$RAYWF" events last --type step.cached
hasnt tasks.ask

# --- what cannot be served ---
cat >bad.yaml <<EOF
recipe: raywf/v1
name: bad
serve:
  missing: {http: {port: $port}, native: {plugin: plugin.so, function: ecko}, resources: {cpu: 0.1}}
EOF
run 1 "$RAYWF" run bad.yaml
says "did you mean 'echo'?"
cat >bad.yaml <<EOF
recipe: raywf/v1
name: bad
serve:
  below:
    http: {port: $port}
    native: {plugin: plugin.so, class: counter, method: next, args: {from: -1}}
    resources: {cpu: 0.1}
EOF
run 1 "$RAYWF" run bad.yaml
says 'cannot count from below zero'
cat >bad.yaml <<EOF
recipe: raywf/v1
name: bad
serve:
  never:
    http: {port: $port}
    run: echo one; echo two; echo these are my last words; exit 3
    health_check: {initial_delay: 5s}
    resources: {cpu: 0.1}
EOF
run 1 "$RAYWF" run bad.yaml
says 'serve.never: the program ended with exit code 3'
says 'its last lines: … these are my last words'
says 'serve.never  failed: '
says_not 'is failed'
# All that its replicas printed is in the logs of its step.
run 0 "$RAYWF" logs last serve.never
has '==> serve.never replica never.main.1 <=='
has 'these are my last words'
run 0 "$RAYWF" logs last serve.never --format json
has '"stream":"replica"'
run 0 "$RAYWF" logs last serve.never --stdout
hasnt 'these are my last words'
cat >bad.yaml <<EOF
recipe: raywf/v1
name: bad
serve:
  a: {http: {port: $port}, route_prefix: /x, native: {plugin: plugin.so, function: echo}}
  b: {http: {port: $port}, route_prefix: /x, native: {plugin: plugin.so, function: echo}}
EOF
run 3 "$RAYWF" check bad.yaml
says '/x'
cat >bad.yaml <<EOF
recipe: raywf/v1
name: bad
serve:
  a:
    http: {port: $port}
    deployments: {one: {native: {plugin: plugin.so, function: echo}}}
    graph: {sequence: [one, two]}
EOF
run 3 "$RAYWF" check bad.yaml
says two
cat >bad.yaml <<EOF
recipe: raywf/v1
name: bad
serve:
  a:
    http: {port: $port}
    native: {plugin: plugin.so, function: twice, stream: true}
    batching: {max_batch_size: 4}
EOF
run 3 "$RAYWF" check bad.yaml
says 'batching and native.stream exclude each other'
# What is served would hold more than there is, or leave nothing for who asks.
cat >bad.yaml <<EOF
recipe: raywf/v1
name: bad
serve:
  api:
    http: {port: $port}
    native: {plugin: plugin.so, function: echo}
    replicas: 2
    resources: {cpu: "\${params.cpu}"}
params: {cpu: {type: float, default: 9000}}
tasks:
  ask: {run: "true", needs: [serve.api], resources: {cpu: 0.5}}
EOF
run 5 "$RAYWF" run bad.yaml
says serve.api
half=$("$RAYWF" plan bad.yaml --param cpu=0.1 |
    awk '/this machine has/ { for (i = 2; i <= NF; i++) if ($i == "cpu,") print $(i - 1) / 2 }')
run 5 "$RAYWF" run bad.yaml --param cpu="$half"
says 'tasks.ask would wait for ever'
run 0 "$RAYWF" run bad.yaml --param cpu=0.1
finish
