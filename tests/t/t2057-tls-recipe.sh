#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A recipe's cluster with TLS: nodes over ssh get the certificate with the key, keep it for
# themselves and leave nothing; files that are no use are named before anything starts.
. "$abs_top_srcdir/tests/t/lib.sh"
. "$abs_top_srcdir/tests/certs.sh"
unset RAYWF_ADDRESS RAYWF_CLUSTER_ADDRESS RAYWF_CLUSTER_KEY RAYWF_TLS_CERT RAYWF_TLS_KEY RAYWF_TLS_CA
export RAYWF_CLUSTER=$tmp/c RAYWF_DIR=$tmp/state
export RAYWF_SSH=$abs_top_srcdir/tests/t/ssh.sh RAYWF_TEST_SSH=$tmp/ssh
mkdir ssh
trap 'raywf shutdown -q --timeout 20s; raywf shutdown --all --dir up -q --timeout 20s; rm -rf "$tmp"' EXIT
if ! command -v openssl >/dev/null; then
    skip 'TLS' 'there is no openssl to make certificates with'
    finish
fi
ok 'certificates' eval 'ca ca && ca other && certificate a ca && certificate x other && certificate old ca -1'

# recipe CERT KEY CA: each of two hosts says what it has
recipe()
{
    cat >r.yaml <<END
recipe: raywf/v1
cluster:
  interface: lo
  resources: {cpu: 1, memory: 1GiB, store: 16MiB}
  hosts: [{host: one, labels: {zone: one}}, {host: two, labels: {zone: two}}]
  tls: {cert: $1, key: $2, ca: $3}
tasks:
$(for host in one two; do cat <<TASK
  $host:
    resources: {labels: {zone: $host}}
    run: |
      stat -c %a "\$RAYWF_TLS_CERT" "\$RAYWF_TLS_KEY" "\$RAYWF_TLS_CA" | paste -sd' ' >has
      : $host
      cmp -s "\$RAYWF_TLS_KEY" $tmp/a.key && echo "\$RAYWF_NODE \$RAYWF_TLS_KEY" >>has
    outputs: {has: has}
TASK
done)
  both: {run: "cat \${tasks.one.outputs.has} \${tasks.two.outputs.has} >$tmp/has.txt"}
END
}
on_both() { gives "$1" 'one two' "$(sed -n 's/ .*tls-key$//p' has.txt | paste -sd' ')"; }
nothing_left()
{
    test -z "$(ls state/clusters 2>/dev/null)" &&
        ! grep -rlsF "$(sed -n 2p a.key)" state ssh c /tmp/raywf-????????-[01] 2>/dev/null
}

# --- over ssh ---
recipe a.pem a.key ca.pem
run 0 raywf check r.yaml
run 0 raywf run r.yaml
says 'cluster of 2 nodes at 127.0.0.1:'
gives 'files for the node alone' '600 600 600' "$(grep '^[0-9]' has.txt | sort -u)"
on_both 'the key of the recipe'
ok 'the key is no argument, in no log, and not left' until_ok nothing_left
gives 'nor a part of it' '' "$(grep -l 'PRIVATE' ssh/log)"

# --- the same from the environment ---
sed '/^  tls:/d' r.yaml >e.yaml
RAYWF_TLS_CERT=$tmp/a.pem RAYWF_TLS_KEY=$tmp/a.key RAYWF_TLS_CA=$tmp/ca.pem run 0 raywf run e.yaml --no-cache
on_both 'from the environment'

# --- one that runs is joined ---
run 0 raywf start --head --port 0 --cpu 2 --memory 1GiB --store 16MiB --tls-cert a.pem --tls-key a.key --tls-ca ca.pem --format json
head=$(json head <.out)
# join TLS
join()
{
    printf 'recipe: raywf/v1\ncluster: {address: "%s", key: c/head/key%s}\ntasks: {a: {run: "true", cache: false}}\n' \
        "$head" "$1" >j.yaml
}
join ', tls: {cert: a.pem, key: a.key, ca: ca.pem}'
run 0 raywf run j.yaml
join ''
run 7 raywf run j.yaml
says "$head"
says 'use TLS'
join ', tls: {cert: x.pem, key: x.key, ca: other.pem}'
run 7 raywf run j.yaml
says "$head"
says '--tls-ca'
# Commands on its machine find its files as they find its key.
run 0 raywf nodes
run 0 raywf shutdown --all -q --timeout 20s

# --- a recipe's, that stays ---
run 0 raywf up r.yaml --dir up
has "tls: {cert: $tmp/a.pem, key: $tmp/a.key, ca: $tmp/ca.pem}"
run 0 raywf nodes --dir up
has 'one'
has 'two'
run 0 raywf status --cluster --dir up
run 0 raywf job list --dir up
RAYWF_TLS_CERT=$tmp/x.pem RAYWF_TLS_KEY=$tmp/x.key RAYWF_TLS_CA=$tmp/other.pem run 7 raywf nodes --dir up
says '--tls-ca'
run 0 raywf shutdown --all --dir up -q --timeout 20s
ok 'its nodes leave nothing' until_ok nothing_left
# One after it, in the same folder and without TLS, has nothing of it.
run 0 raywf up --test-size=1 --dir up --cpu 1 --memory 1GiB --store 16MiB
run 0 raywf nodes --dir up
run 0 raywf shutdown --all --dir up -q --timeout 20s

# --- the way to a replica on another machine: whole, and its end, too ---
check_relay=$abs_top_builddir/check_serve_relay
if [ -x "$check_relay" ]; then
    CK_RUN_CASE=through RAYWF_TLS_CERT=a.pem RAYWF_TLS_KEY=a.key RAYWF_TLS_CA=ca.pem run 0 "$check_relay"
    has '100%: Checks: 1'
else
    skip 'relays with TLS' 'check_serve_relay is not built'
fi

# --- what is wrong with files ---
# wrong CODE CERT KEY CA
wrong() { recipe "${@:2}"; run "$1" raywf run r.yaml; }
wrong 3 none.pem a.key ca.pem
says "cannot read $tmp/none.pem"
chmod 644 x.key
wrong 3 x.pem x.key other.pem
says "chmod 600 $tmp/x.key"
chmod 600 x.key
wrong 7 x.pem x.key ca.pem
says 'cluster.tls: '
says 'not of the CA in'
wrong 7 old.pem old.key ca.pem
says 'certificate has expired'
says 'make another one'
wrong 7 a.pem x.key ca.pem
says 'is not the key of'
sed -i 's/, ca: ca.pem//' r.yaml
run 3 raywf check r.yaml
says 'ca'
ok 'nothing was started' test -z "$(ls state/clusters)"
finish
