#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A run brings its cluster up and takes it down: nodes here, hosts behind a program that
# stands in for ssh; hosts that cannot be used; a run that is killed and goes on; Ctrl-C.
. "$abs_top_srcdir/tests/t/lib.sh"
unset RAYWF_ADDRESS RAYWF_CLUSTER_ADDRESS
export RAYWF_CLUSTER=$tmp/c RAYWF_DIR=$tmp/state
export RAYWF_SSH=$abs_top_srcdir/tests/t/ssh.sh RAYWF_TEST_SSH=$tmp/ssh
mkdir ssh
trap 'touch go; raywf shutdown -q --timeout 20s; rm -rf "$tmp"' EXIT

nothing_left()
{
    test -z "$(ls state/clusters 2>/dev/null)" && ! pgrep -f "raywf start.*$tmp" >/dev/null &&
        test -z "$(ls -d /tmp/raywf-????????-[01] 2>/dev/null | xargs -r -n1 sh -c 'grep -ls "$0" "$1"/nodes/*/address' "$tmp")"
}

# --- over ssh ---
cat >hosts.yaml <<END
recipe: raywf/v1
secrets: {PASS: {env: RAYWF_TEST_PASS}}
cluster:
  interface: lo
  resources: {cpu: 1, memory: 1GiB, store: 16MiB}
  env: {SHARED: all, PASS: "\${secrets.PASS}"}
  hosts:
    - one
    - {host: two, name: second, labels: {zone: b}, env: {OWN: "2"}}
tasks:
  where:
    matrix: {i: [1, 2]}
    resources: {placement: spread}
    run: echo "\${matrix.i} \$RAYWF_NODE \$SHARED \$NCCL_SOCKET_IFNAME" > where.txt
    outputs: {where: where.txt}
  labelled:
    resources: {labels: {zone: b}}
    run: |
      test "\$OWN" = 2 && test "\$(printf %s "\$PASS" | wc -c)" = 12
      cat \${tasks.where.outputs.where} > $tmp/where.txt
END
export RAYWF_TEST_PASS=canary-value
run 0 raywf check hosts.yaml
run 0 raywf run hosts.yaml
says 'cluster of 2 nodes at 127.0.0.1:'
gives 'both hosts work' 'one second' "$(cut -d' ' -f2 where.txt | sort | paste -sd' ')"
gives 'with the variables' 2 "$(grep -c ' all lo$' where.txt)"
ok 'nothing is left' until_ok nothing_left
ok 'no secret is an argument' test -z "$(grep canary ssh/log)"
ok 'nor kept' test -z "$(grep -rl canary state/clusters state/runs 2>/dev/null)"

# --- all of it is cached: no cluster is needed ---
cat >cached.yaml <<'END'
recipe: raywf/v1
cluster: {interface: lo, resources: {cpu: 1, memory: 1GiB, store: 16MiB}, hosts: [{host: one, labels: {zone: b}}]}
tasks: {a: {run: "raywf report-metric n=1", resources: {labels: {zone: b}}}}
checks: {c: {value: "${tasks.a.metrics.n}", op: "==", than: 1}}
END
run 0 raywf run cached.yaml
says 'cluster of 1 node at'
: >ssh/log
run 0 raywf run cached.yaml
says 'all of it is cached: no cluster is brought up'
gives 'no host is spoken to' '' "$(cat ssh/log)"
run 0 raywf run cached.yaml --set 'cluster.hosts=[down1]'
run 7 raywf run cached.yaml --set 'cluster.hosts=[down1]' --no-cache
says 'host down1: '
run 7 raywf run cached.yaml --set 'cluster.hosts=[down1]' --set tasks.a.run=true

for host in down none old; do
    run 7 raywf run hosts.yaml --no-cache --set "cluster.hosts=[one, ${host}1]"
    says "host ${host}1: "
done
ok 'nothing is left' until_ok nothing_left
run 3 raywf run hosts.yaml --set 'cluster.hosts=[one, one]'
says "two nodes would be named 'one'"

# --- a real sshd, with keys that live as long as this test ---
sshd_start()
{
    why=
    for _p in sshd ssh ssh-keygen; do
        PATH=$PATH:/usr/sbin command -v $_p >/dev/null || why="$_p is not installed (openssh-server)"
    done
    [ "$(id -u)" = 0 ] || why='only root can start one of its own'
    [ -z "$why" ] || return 1
    mkdir -p sshd /run/sshd && chmod 700 sshd
    ssh-keygen -q -t ed25519 -N '' -f sshd/host && ssh-keygen -q -t ed25519 -N '' -f sshd/mine
    cp sshd/mine.pub sshd/authorized
    free_port
    cat >sshd/conf <<END
ListenAddress 127.0.0.1
Port $port
HostKey $tmp/sshd/host
AuthorizedKeysFile $tmp/sshd/authorized
PidFile $tmp/sshd/pid
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitRootLogin yes
END
    echo "[127.0.0.1]:$port $(cat sshd/host.pub)" >sshd/known
    cat >sshd/ssh <<END
#!/bin/sh
exec ssh -F none -i $tmp/sshd/mine -o UserKnownHostsFile=$tmp/sshd/known -o IdentitiesOnly=yes "\$@"
END
    chmod +x sshd/ssh
    "$(PATH=$PATH:/usr/sbin command -v sshd)" -D -f "$tmp/sshd/conf" >sshd/log 2>&1 &
    sshd_pid=$!
    until_ok bash -c "exec 3<>/dev/tcp/127.0.0.1/$port"
}
if sshd_start; then
    cat >real.yaml <<END
recipe: raywf/v1
cluster:
  resources: {cpu: 1, memory: 1GiB, store: 16MiB}
  hosts:
    - {host: 127.0.0.1, port: $port, user: $(id -un), name: real, raywf: $RAYWF}
tasks:
  a: {run: "echo \$RAYWF_NODE > $tmp/real.txt"}
END
    RAYWF_SSH=$tmp/sshd/ssh run 0 raywf run real.yaml
    gives 'over a real ssh' real "$(cat real.txt)"
    mv sshd/authorized sshd/nobody
    RAYWF_SSH=$tmp/sshd/ssh run 7 raywf run real.yaml --no-cache
    says 'host 127.0.0.1: '
    says 'Permission denied'
    ok 'nothing is left' until_ok nothing_left
    kill "$sshd_pid"
    wait "$sshd_pid" 2>/dev/null
else
    skip 'a real sshd' "$why"
fi

# --- killed, and gone on with ---
cat >size.yaml <<END
recipe: raywf/v1
cluster: {size: 2, resources: {cpu: 1, memory: 1GiB, store: 16MiB}}
tasks:
  first: {run: "echo 1 >> $tmp/first"}
  work:
    needs: [tasks.first]
    run: |
      touch $tmp/works
      until [ -e $tmp/go ]; do sleep 0.05; done
END
raywf run size.yaml >killed.out 2>&1 &
pid=$!
ok 'it works' until_ok test -e works
was=$(cat state/clusters/*/head/address)
kill -9 $pid
wait $pid 2>/dev/null
ok 'its nodes are still there' test "$(raywf nodes --address "$was" --key state/clusters/*/head/key |
    grep -c '^local-[12] *alive')" = 2
touch go
run 0 raywf resume
says "the cluster at $was is there already"
gives 'what was finished is not done again' 1 "$(wc -l <first)"
ok 'nothing is left' until_ok nothing_left

# --- its head is killed under it: it is started again ---
rm -f go works
raywf run size.yaml --no-cache >head.out 2>&1 &
pid=$!
ok 'it works' until_ok test -e works
was=$(cat state/clusters/*/head/address)
old=$(cat state/clusters/*/head/pid)
kill -9 "$old"
alive_again() { [ "$(cat state/clusters/*/head/pid)" != "$old" ] && raywf nodes --address "$was" \
    --key state/clusters/*/head/key -q | grep -c '^local-[12] *alive' | grep -q 2; }
ok 'it is back, and its nodes' until_ok alive_again
touch go
wait $pid
gives 'the run succeeds' 0 $?
ok 'nothing is left' until_ok nothing_left

# --- another run takes down what was left ---
rm -f go works
raywf run size.yaml --no-cache >killed.out 2>&1 &
pid=$!
ok 'it works' until_ok test -e works
kill -9 $pid
wait $pid 2>/dev/null
touch go
run 0 raywf run hosts.yaml
ok 'nothing is left' until_ok nothing_left

# --- Ctrl-C, while it works and while it is brought up ---
rm -f go works
raywf run size.yaml --no-cache >stopped.out 2>&1 &
pid=$!
ok 'it works' until_ok test -e works
kill -TERM $pid
wait $pid
gives 'it is stopped' 9 $?
ok 'nothing is left' until_ok nothing_left
: >ssh/log
raywf run hosts.yaml --no-cache --set 'cluster.hosts=[one, slow1]' >stopped.out 2>&1 &
pid=$!
ok 'it waits for a host' until_ok grep -q slow1 ssh/log
kill -TERM $pid
wait $pid
gives 'it is stopped' 9 $?
ok 'nothing is left' until_ok nothing_left
finish
