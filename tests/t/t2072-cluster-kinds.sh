#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The kinds of steps on nodes that do not see the run's files, and what a run says of a
# cluster that has no node yet, or whose head went away.
. "$abs_top_srcdir/tests/t/lib.sh"
. "$abs_top_srcdir/tests/t/serve.sh"
unset RAYWF_ADDRESS RAYWF_CLUSTER_ADDRESS RAYWF_CLUSTER_KEY
export RAYWF_CLUSTER=$tmp/c
if ! unshare -m true 2>/dev/null; then
    skip 'nodes apart' 'mount namespaces are not permitted here'
    finish
fi
trap 'raywf shutdown -q --timeout 20s; rm -rf "$tmp"' EXIT
mkdir w && cd w || exit 99
log=.raywf/runs/last/events.ndjson
# start_node NAME: it sees nothing of this folder
start_node()
{
    (cd / && exec unshare -m sh -c "mount -t tmpfs none '$tmp/w' && exec raywf start \
        --address $head --name $1 --cpu 2 --label zone=z${1#n} -q")
}

# --- a head, and no node yet ---
printf 'recipe: raywf/v1\nname: one\ntasks: {a: {run: "true", cache: false}}\n' >one.yaml
run 0 raywf start --head --no-node --port 0 --format json
head=$(json head <.out)
[ -n "$head" ] || finish
run 5 raywf run one.yaml --address "$head"
says "start one with raywf start --address $head"
says '--wait-for-nodes'
raywf run one.yaml --address "$head" --wait-for-nodes >.wait 2>&1 &
waiter=$!
ok 'who waits is told how to go on' until_ok grep -q "the cluster has none: raywf start --address $head" .wait
run 0 raywf why tasks.a
has 'waits for a node'
kill -INT $waiter
wait $waiter
ok 'Ctrl-C ends it' test $? = 9
raywf run one.yaml --address 127.0.0.1:1 --key ../c/head/key >.wait 2>&1 &
waiter=$!
ok 'no head there' until_ok grep -q 'no head at 127.0.0.1:1' .wait
kill -INT $waiter
wait $waiter
ok 'Ctrl-C ends that, too' test $? = 9
for n in n1 n2; do ok "$n starts" start_node $n; done


# --- what a step reads goes with it, also when an ignore file names it ---
printf 'data/\n' >.gitignore
mkdir data && echo payload >data/in && echo other >data/other
cat >read.yaml <<'Y'
recipe: raywf/v1
name: read
secrets: {word: {env: SESAME}}
tasks:
  read:
    run: cat ${inputs.f}; ls $RAYWF_RECIPE_DIR/data; echo "it is $WORD"
    inputs: {f: data/in}
    env: {WORD: "${secrets.word}"}
    cache: false
  late: {run: sleep 60, timeout: 300ms, cache: false}
  third: {run: "echo $RAYWF_NODE; test $RAYWF_ATTEMPT = 3", retry: {max: 2, backoff: 10ms}, cache: false}
Y
SESAME=open-12345 run 1 raywf run read.yaml --address "$head"
says 'timed out after 300ms on node n'
says '2 succeeded, 1 failed'
run 0 raywf status
has 'tasks.third  on n'
run 0 raywf why tasks.third
has 'node    n'
run 0 raywf logs last tasks.read
has 'payload'
hasnt 'other'
has 'it is [secret:word]'
ok 'a secret is on no disk' sh -c "! grep -rq open-12345 '$tmp/c' ."
printf 'recipe: raywf/v1\nname: far\ndatasets: {a: {read: {path: %s/w2/x.csv}}}\n' "$tmp" >far.yaml
if raywf doctor --format json | grep -q '"name":"duckdb","level":"ok"'; then
    mkdir -p "$tmp/w/out" && printf 'a\n1\n' >out/x.csv
    sed -i "s|/w2/|/w/out/|; s|path: $tmp/w/|path: $tmp/w/../w/|" far.yaml
    run 6 raywf run far.yaml --address "$head"
    says 'there is no file'
    says ', which does not see the files here'
fi

# --- a model stays where it is, and steps on nodes find it ---
printf 'weights/\n' >>.gitignore
cat >models.yaml <<'Y'
recipe: raywf/v1
name: models
models: {m: {path: weights}}
tasks: {use: {run: "ls ${models.m}"}}
Y
if "$abs_top_builddir/tests/bench/llm" random weights '{"type":"transformer","family":"qwen3",
    "layers":1,"hidden_size":64,"heads":2,"kv_heads":1,"head_dim":32,"intermediate_size":64,
    "vocab_size":300,"context":64,"tie_embeddings":true}' >/dev/null; then
    run 0 raywf run models.yaml --address "$head"
    run 0 raywf logs last tasks.use
    has 'model.safetensors'
else
    skip 'a model' 'tests/bench/llm is not built'
fi

# --- served: a program whose files are only here, and what a step on a node made ---
free_port
cat >prog.py <<'Y'
import http.server, os, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        n = int(self.headers.get('Content-Length', 0))
        self.rfile.read(n)
        body = (open(sys.argv[1]).read() + ' ' + os.getcwd()).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST
    def address_string(self):
        return 'front'
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass
Server(os.environ['RAYWF_SOCKET'], Handler).serve_forever()
Y
cat >serve.yaml <<'Y'
recipe: raywf/v1
name: serve
tasks:
  word:
    run: printf "the word from $RAYWF_NODE" >word
    outputs: {word: word}
    resources: {labels: {zone: z2}}
  ask:
    needs: [serve.prog]
    run: |
      curl -sf -d '{}' ${serve.prog.url} >said
      cat said
      grep -q '^the word from n2 .*/runs/plugins-' said
    outputs: {said: said}
    cache: false
serve:
  prog:
    http: {port: PORT}
    command: [python3, "${recipe.dir}/prog.py", "${tasks.word.outputs.word}"]
    dir: ${recipe.dir}
    replicas: 2
Y
sed -i "s/PORT/$port/" serve.yaml
if command -v curl >/dev/null && command -v python3 >/dev/null; then
    run 0 raywf run serve.yaml --address "$head"
    says 'serve.prog'
    run 0 raywf logs last tasks.ask
    has 'the word from n2'
    ok 'nothing of it is left there' sh -c "! pgrep -f '$tmp/c/.*[p]rog.py' >/dev/null"
else
    skip 'a program that serves' 'no curl or python3'
fi

# --- the head dies and stays away: what runs goes on, what waits says so, then it ends ---
cat >gone.yaml <<'Y'
recipe: raywf/v1
name: gone
tasks:
  a:
    run: touch began; while ! test -e "$GO"; do sleep 0.1; done
    env: {GO: GOFILE}
    cache: false
  b: {needs: [tasks.a], run: "true", cache: false}
Y
sed -i "s|GOFILE|$tmp/go|" gone.yaml
(trap - INT && RAYWF_HEAD_PATIENCE=3s exec raywf run gone.yaml --address "$head") >.gone 2>&1 &
runner=$!
ok 'the first runs' until_ok grep -q 'tasks.a  on n' .gone
kill -9 "$(cat "$RAYWF_CLUSTER/head/pid")"
ok 'it is told' until_ok grep -q 'no head at' .gone
touch "$tmp/go"
ok 'the second waits, and for what' until_ok grep -q 'tasks.b  waits for the head at' .gone
wait $runner
ok 'it is given up' test $? = 7
ok 'and says how to go on' grep -q 'nothing runs any more.*raywf resume' .gone
run 0 raywf start --head --no-node --port "${head##*:}" -q
run 0 raywf resume --wait-for-nodes
says '2 succeeded'

cd "$tmp" || exit 99
run 0 raywf shutdown
finish
