#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# TLS between the machines of a cluster: links behave as without it; who has no certificate
# of the cluster's CA, or none at all, stays out and is told why; objects and calls between
# nodes go through it, too.
. "$abs_top_srcdir/tests/t/lib.sh"
. "$abs_top_srcdir/tests/certs.sh"
driver=$abs_top_builddir/tests/t/cluster_driver
plugin=$abs_top_builddir/tests/t/cluster_plugin.so
unset RAYWF_ADDRESS RAYWF_CLUSTER_ADDRESS RAYWF_CLUSTER_KEY RAYWF_TLS_CERT RAYWF_TLS_KEY RAYWF_TLS_CA
export RAYWF_CLUSTER=$tmp/c RAYWF_BIN=$RAYWF
trap 'raywf shutdown -q --timeout 20s; rm -rf "$tmp"' EXIT
if ! command -v openssl >/dev/null; then
    skip 'TLS' 'there is no openssl to make certificates with'
    finish
fi

ok 'certificates' eval 'ca ca && ca other && certificate a ca && certificate b ca && certificate x other'
# tls NAME [CA]: the options
tls() { echo "--tls-cert $1.pem --tls-key $1.key --tls-ca ${2:-ca}.pem"; }

# --- links ---
check_link=$abs_top_builddir/check_link
if [ -x "$check_link" ]; then
    RAYWF_TLS_CERT=a.pem RAYWF_TLS_KEY=a.key RAYWF_TLS_CA=ca.pem run 0 "$check_link"
    has '100%'
else
    skip 'links with TLS' 'check_link is not built'
fi

# --- what is wrong with files ---
# shellcheck disable=SC2046 # several options
start() { run "$1" raywf start "${@:4}" $(tls "$2" "$3"); }
start 7 missing ca --head --no-node --port 0
says 'missing.key'
run 2 raywf start --head --no-node --port 0 --tls-cert a.pem
says 'go together'
run 7 raywf start --head --no-node --port 0 --tls-cert a.pem --tls-key b.key --tls-ca ca.pem
says 'b.key is not the key of'
run 7 raywf start --head --no-node --port 0 --tls-cert a.pem --tls-key a.key --tls-ca a.key
says 'holds no certificate of a CA'
chmod 644 b.key
start 7 b ca --head --no-node --port 0
says 'chmod 600'
chmod 600 b.key

# --- a cluster ---
start 0 a ca --head --no-node --port 0 --format json
head=$(json head <.out)
start 0 a ca --address "$head" --name one --cpu 1 --store 64MiB
start 0 b ca --address "$head" --name two --cpu 1 --store 64MiB
start 7 x ca --address "$head" --name three
says 'TLS'
start 7 x other --address "$head" --name three
says 'certificate'
run 7 raywf start --address "$head" --name three
says 'use TLS'
ok 'the head says who was refused' grep -q 'TLS: .*certificate' c/head/log
# One that is of the CA, and was good once; a machine with the right time would not even try.
ok 'one that has expired' certificate old ca -1
start 7 old ca --address "$head" --name three
says 'certificate has expired'
says 'old.pem'
# Of several refusals at once the head names the first: again.
refused()
{
    openssl s_client -connect "$head" -cert old.pem -key old.key -CAfile ca.pem </dev/null >s_client.out 2>&1
    grep -q 'certificate has expired: give the machine there another' c/head/log
}
ok 'the head refuses it, and says what to do' until_ok refused

node() { echo "$RAYWF_CLUSTER/nodes/$1/node"; }
at()
{
    _node=$1
    shift
    printf '%s\n' "$@" | RAYWF_ADDRESS=$(node "$_node") "$driver" "$plugin" 2>&1 | paste -sd' '
}
gives 'tasks' '4 9' "$(at one 'square 2' 'square 3')"
gives 'an actor' 'made 1 2' "$(at one 'make keeper' 'call keeper next' 'call keeper next')"
gives 'is called from another node' '3' "$(at two 'call keeper next')"
run 7 raywf nodes --address "$head" --key c/head/key
RAYWF_TLS_CERT=a.pem RAYWF_TLS_KEY=a.key RAYWF_TLS_CA=ca.pem run 0 raywf nodes --address "$head" --key c/head/key
has 'one'
finish
