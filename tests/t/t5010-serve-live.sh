#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# raywf serve: what stays up is looked at, scaled, updated, taken down, stopped and resumed.
. "${srcdir:-.}/tests/t/lib.sh"
. "$abs_top_srcdir/tests/t/serve.sh"
command -v curl >/dev/null || { skip serve "there is no curl"; finish; }
build_serve
free_port
recipe()
{
    cat <<EOF
recipe: raywf/v1
name: live
serve:
  api:
    http: {port: $port}
    native: {plugin: plugin.so, function: ${1:-pid}}
    replicas: ${2:-1}
    resources: {cpu: 0.05}
EOF
}
recipe >live.yaml
url=http://127.0.0.1:$port/api

# What served has ended with its head, or soon after.
nobody() { curl -sS --retry 0 $url; [ $? = 7 ]; }

run 12 "$RAYWF" serve status
ok "it stays up" serve_up live.yaml
run 0 curl -sSf -d '{}' $url
has '"pid":'
first=$out
run 0 "$RAYWF" serve status
has 'api'
has 'main'
has '1/1'
run 0 "$RAYWF" serve status --format json
has '"applications"'
has '"wanted":1'

run 0 "$RAYWF" serve scale api 3
ok "three replicas" until_ok sh -c '"$RAYWF" serve status | grep -q 3/3'
run 0 "$RAYWF" events last --type serve.scaled
has '"to":3'
run 7 "$RAYWF" serve live.yaml
says 'in use by'
says 'raywf serve update live.yaml replaces'

run 12 "$RAYWF" serve scale nobody 3
run 2 "$RAYWF" serve scale api many
run 2 "$RAYWF" serve scale api 100000
says "at most 10000"
run 2 "$RAYWF" serve scale api

# An update: another function, and another count of replicas.
recipe echo 2 >live.yaml
run 0 "$RAYWF" serve update live.yaml
run 0 curl -sSf -d '{"id":"y"}' $url
has '{"id":"y"}'
ok "two replicas" until_ok sh -c '"$RAYWF" serve status | grep -q 2/2'
# One that does not come up: what was live stays.
recipe nosuch 2 >live.yaml
run 1 "$RAYWF" serve update live.yaml
says nosuch
run 0 curl -sSf -d '{"id":"z"}' $url
has '{"id":"z"}'

run 0 "$RAYWF" serve down
serve_end
ok "it has succeeded" test "$serve_code" -eq 0
ok "nobody answers" until_ok nobody
run 12 "$RAYWF" serve status

# A signal, and raywf stop.
recipe >live.yaml
ok "it stays up again" serve_up live.yaml
kill -TERM "$serve_pid"
serve_end
ok "told to end, it has succeeded" test "$serve_code" -eq 0
ok "it stays up for the third time" serve_up live.yaml
run 0 "$RAYWF" stop
serve_end
ok "stopped, it has succeeded" test "$serve_code" -eq 0

# The head is killed, and the run resumed.
ok "it stays up for the fourth time" serve_up live.yaml
kill -KILL "$serve_pid"
serve_end
ok "nobody answers" until_ok nobody
: >.serve.err
"$RAYWF" resume last >.serve.out 2>.serve.err &
serve_pid=$!
ok "it serves again" until_ok curl -sSf -d '{}' $url
ok "and is ready" until_ok grep -q 'serving; Ctrl-C' .serve.err
run 0 "$RAYWF" serve down
serve_end
ok "resumed, it has succeeded" test "$serve_code" -eq 0
ok "what is deployed again counts once" grep -qF '[1/1]' .serve.err
ok "and not twice" sh -c '! grep -qF "[2/1]" .serve.err'

# Somebody else's servers that do not answer: what is ours serves, and it is said why the rest does not.
recipe echo 1 >live.yaml
cat >>live.yaml <<EOF
  refused: {http: {port: $port}, url: "http://127.0.0.1:1", health_check: {initial_delay: 100ms}}
  unknown: {http: {port: $port}, url: "http://no.invalid/x", health_check: {initial_delay: 100ms}}
  no_tls: {http: {port: $port}, url: "https://127.0.0.1:$port", health_check: {initial_delay: 100ms}}
EOF
ok "it is up without them" serve_up live.yaml
run 0 curl -sSf -d '{"id":"z"}' $url
has '{"id":"z"}'
# without APP WORDS
without()
{
    run 0 curl -sS -w ' %{http_code}' "http://127.0.0.1:$port/$1"
    has ' 503'
    has "$2"
    ok "$1: raywf serve says it" grep -q "serve.$1.*is asked again.*$2" .serve.err
    run 0 "$RAYWF" serve status
    ok "$1: the status says it" grep -q "^$1.main: .*$2" .out
}
without refused 'cannot connect'
without unknown 'no.invalid'
without no_tls 'no TLS is agreed on'
run 0 "$RAYWF" events last --type serve.replica_waits
has 'cannot connect'
run 0 "$RAYWF" serve down
serve_end
ok "without them, it has succeeded" test "$serve_code" -eq 0
finish
