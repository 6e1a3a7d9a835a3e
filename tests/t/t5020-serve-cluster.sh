#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A server beside a node of a cluster, which is killed under it. (A run has one node, and
# actors live on the node of who makes them: this server is started by hand.)
. "$abs_top_srcdir/tests/t/lib.sh"
. "$abs_top_srcdir/tests/t/serve.sh"
command -v curl >/dev/null || { skip serve "there is no curl"; finish; }
control=$abs_top_builddir/tests/t/serve_control
unset RAYWF_ADDRESS
export RAYWF_CLUSTER=$tmp/c RAYWF_BIN=$RAYWF
server=0
trap '[ $server = 0 ] || { kill -9 "$server"; wait "$server"; } 2>/dev/null
    raywf shutdown -q --timeout 20s; rm -rf "$tmp"' EXIT
pid_of() { cat "$RAYWF_CLUSTER/nodes/$1/pid"; }
# under PID ANCESTOR
under()
{
    _p=$1
    while [ "${_p:-0}" -gt 1 ] && [ "$_p" != "$2" ]; do
        _p=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$_p/status" 2>/dev/null)
    done
    [ "$_p" = "$2" ]
}

cat >p.c <<'EOF'
#include <raywf.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static int pid(struct raywf_call *call)
{
    char text[32];
    for (size_t i = 0; i < raywf_arg_count(call); i++) {
        size_t size;
        const char *body = raywf_arg(call, i, &size);
        FILE *f = fopen("started", "a");
        if (size > 0 && body[0] == 'n' && f) {
            fprintf(f, "%.*s\n", (int)size, body);
            fflush(f);
            sleep(600);
        }
        if (f)
            fclose(f);
        int n = snprintf(text, sizeof(text), "%d", (int)getpid());
        if (raywf_return(call, i, text, (size_t)n) < 0)
            return -1;
    }
    return 0;
}
static const struct raywf_function functions[] = {{"pid", pid, ""}, {0}};
RAYWF_PLUGIN(.functions = functions);
EOF
sed -i "s#\"started\"#\"$tmp/started\"#" p.c
${CC:-cc} -O1 -shared -fPIC -I"$abs_top_srcdir/src/native" -o p.so p.c || exit 99

# --- a head and two nodes; the server and its replicas are at the second ---
run 0 raywf start --head --no-node --port 0 --format json
head=$(json head <.out)
run 0 raywf start --address "$head" --name one --cpu 1 --store 64MiB -q
run 0 raywf start --address "$head" --name two --cpu 4 --store 64MiB -q
here=$out

mkdir server
RAYWF_ADDRESS=$here RAYWF_SERVE_CONTROL=$tmp/server/control \
    "$RAYWF" serve-front "$tmp/server" >server.out 2>&1 &
server=$!
ok 'the server is there' until_ok test -S server/control
free_port
run 0 "$control" server/control api "{\"http\":{\"port\":$port},
    \"native\":{\"plugin\":\"$tmp/p.so\",\"function\":\"pid\"},\"replicas\":2,
    \"batching\":{\"max_batch_size\":1},
    \"resources\":{\"cpu\":2}}"
url=http://127.0.0.1:$port/api
run 0 curl -sSf -d x "$url"
ok 'a replica is on this node' under "$out" "$(pid_of two)"

# --- the node is killed while it works on two requests ---
for i in 1 2; do
    curl -sS -m 600 -o "nap$i" -w '%{http_code}\n' -d "nap$i" "$url" >"code$i" 2>&1 &
    eval "nap_$i=\$!"
done
ok 'both are worked on' until_ok sh -c '[ "$(sort -u started | wc -l)" = 2 ]'
old=$(pid_of two)
kill -9 "$old"
ok 'the node is gone' until_ok gone "$old"
wait "$nap_1" "$nap_2"
for i in 1 2; do
    ok "request $i is told that it failed" grep -qx '50[0-9]' "code$i"
    ok 'and why' grep -q '"message": *"..*"' "nap$i"
done
ok 'none was tried twice' test "$(sort started | uniq -d | wc -l)" = 0

run 0 raywf shutdown
finish
