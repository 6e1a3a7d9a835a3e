#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A recipe brings up its cluster on other hosts, with TLS: of commands, files, objects, what
# ranks of a gang get and say, and requests that are relayed to programs there, nothing is on
# the wire in the clear. The same without TLS shows that it would be seen.
. "${abs_top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}/tests/net/net.sh"
net_enter "$0" "$@"
. "$abs_top_srcdir/tests/fault/lib.sh"
. "$abs_top_srcdir/tests/certs.sh"
driver=$abs_top_builddir/tests/t/remote_driver
plugin=$abs_top_builddir/tests/t/remote_plugin.so
for tool in openssl curl python3; do
    command -v $tool >/dev/null && continue
    skip "there is no $tool"
    net_finish
done
unset RAYWF_ADDRESS RAYWF_CLUSTER_ADDRESS RAYWF_CLUSTER RAYWF_CLUSTER_KEY RAYWF_TLS_CERT RAYWF_TLS_KEY RAYWF_TLS_CA

check 'hosts' net_up 4 || net_finish
work=$net/h1/work
mkdir -p "$work"
for h in h2 h3 h4; do
    net_private $h "$net/h1"
    echo "${net_pids[$h]}" >"$net/$h.pid"
done
# In place of ssh; its arguments are kept.
cat >"$net/ssh" <<END
#!/bin/sh
printf '%s\n' "\$*" >>$net/ssh.log
while [ "\$1" != -- ]; do shift || exit 255; done
host=\$2
shift 2
exec nsenter -t "\$(cat $net/\$host.pid)" -n -m -u -- env -u RAYWF_TLS_CERT -u RAYWF_TLS_KEY -u RAYWF_TLS_CA \
    HOME=/nonexistent PATH="$(dirname "$RAYWF"):\$PATH" sh -c "\$*"
END
chmod +x "$net/ssh"
export RAYWF_SSH=$net/ssh

certificates() { (cd "$work" && ca ca && certificate raywf ca); }
check 'certificates' certificates

# A program that says what it was told, often.
cat >"$work/prog.py" <<'END'
import http.server, os, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        n = int(self.headers.get('Content-Length', 0))
        self.rfile.read(n)
        body = b'marker-reply ' * 1000
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
END
gang=''
! command -v mpirun >/dev/null || gang='
  gang:
    gang:
      ranks: 2
      run: for i in $(seq 100); do echo "marker-said $RANK"; done; test -n "$SAY"
    env: {SAY: marker-variable}
    resources: {cpu: 1, placement: different_nodes}'
[ -n "$gang" ] || skip 'a gang: there is no mpirun (Debian: openmpi-bin)'

# recipe TLS
recipe()
{
    cat >"$work/r.yaml" <<END
recipe: raywf/v1
cluster:
  resources: {cpu: 2, memory: 1GiB, store: 64MiB}
  hosts:
    - {host: h2, labels: {zone: a}}
    - {host: h3, labels: {zone: b}}
    - {host: h4, resources: {cpu: 0, memory: 1GiB, store: 64MiB}}
$1
tasks:
  word:
    resources: {labels: {zone: a}}
    run: |
      # marker-command marker-command
      for i in \$(seq 1000); do echo marker-file; done >word
    outputs: {word: word}
  far:
    resources: {labels: {zone: b}}
    run: grep -c marker-file \${tasks.word.outputs.word} >far
    outputs: {far: far}
$gang
  hold:
    needs: [tasks.far, serve.prog$([ -z "$gang" ] || echo ', tasks.gang')]
    run: touch $net/ready; while ! test -e $net/go; do sleep 0.1; done
serve:
  prog:
    http: {port: 8000}
    command: [python3, "\${recipe.dir}/prog.py"]
    dir: \${recipe.dir}
    replicas: 2
END
}

sniff_start()
{
    rm -f "$net/sniff.in"
    mkfifo "$net/sniff.in"
    "$abs_top_builddir/tests/net/sniff" marker-command marker-file marker-request marker-reply marker-said marker-variable \
        hex:0726456483a2c1e0ff1e3d5c7b9ab9d8 <>"$net/sniff.in" >"$net/sniff.out" &
    sniff_pid=$!
    until_ok grep -q sniffing "$net/sniff.out"
}
# seen MARKER: in so many packets
seen() { tail -n 1 "$net/sniff.out" | sed -n "s/.* $1 \([0-9]*\).*/\1/p"; }
objects='hex:0726456483a2c1e0ff1e3d5c7b9ab9d8'

run_start()
{
    rm -f "$net/ready" "$net/go"
    (cd "$work" && net_exec h1 sh -c 'cd work && exec "$@"' - "$RAYWF" run r.yaml --no-cache --progress plain) \
        >"$net/run.out" 2>&1 &
    run_pid=$!
    until_ok eval "test -e $net/ready || ! kill -0 $run_pid"
    test -e "$net/ready"
}
# Between h4, which has no cores, and who has.
exchange()
{
    local at
    at=$(net_on h4 sh -c 'ls -d /tmp/raywf-*-2/nodes/h4/node' | head -n 1)
    test -n "$at" && echo 'big 3000000 2' | RAYWF_ADDRESS=$at net_on h4 timeout 60 "$driver" "$plugin" >"$net/objects.out" 2>&1 &&
        ! grep -qi error "$net/objects.out"
}
ask() { net_on h1 curl -sf -m 20 -d "$(yes marker-request | head -n 500)" http://127.0.0.1:8000/prog | grep -c marker-reply; }

# whole NAME: all of it
whole()
{
    check "$1: packets are seen" sniff_start
    check "$1: the run" run_start || tail -n 20 "$net/run.out"
    check "$1: objects" exchange || cat "$net/objects.out"
    for _ in 1 2 3 4; do
        check "$1: a request" test "$(ask)" = 1
    done
    touch "$net/go"
    check "$1: the run ends well" wait $run_pid || tail -n 20 "$net/run.out"
    echo >"$net/sniff.in"
    until_ok eval '[ "$(wc -l <"$net/sniff.out")" = 2 ]'
    kill $sniff_pid
    wait $sniff_pid 2>/dev/null
    check "$1: none was missed" eval 'grep -q " dropped 0 " "$net/sniff.out"'
}
kinds="marker-command marker-file marker-request marker-reply ${gang:+marker-said marker-variable} $objects"

recipe ''
whole 'plain'
for kind in $kinds; do
    check "in the clear $kind is seen" test "$(seen $kind)" -gt 0
done
recipe '  tls: {cert: raywf.pem, key: raywf.key, ca: ca.pem}'
whole 'TLS'
check 'there were packets' test "$(tail -n 1 "$net/sniff.out" | cut -d' ' -f2)" -gt 1000
for kind in $kinds; do
    check "with TLS $kind is not" test "$(seen $kind)" = 0
done
check 'the key was no argument' eval '! grep -q PRIVATE "$net/ssh.log"'
check 'and is not left' eval '! grep -rlsF "$(sed -n 2p "$work/raywf.key")" /tmp/raywf-????????-[012] "$work/.raywf"'
net_finish
