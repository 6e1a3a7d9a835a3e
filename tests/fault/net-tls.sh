#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What net-remote.sh does, with TLS between the hosts.
if ! command -v openssl >/dev/null; then
    echo 'skipped: there is no openssl to make a certificate with'
    echo '0 passed, 0 failed, 1 skipped'
    exit 77
fi
certs=$(mktemp -d "${TMPDIR:-/tmp}/raywf-certs.XXXXXX") || exit 99
trap 'rm -rf "$certs"' EXIT
. "$(dirname "$0")/../certs.sh"
(cd "$certs" && ca raywf) || exit 99 # one that is its own CA
export RAYWF_TLS_CERT=$certs/raywf.pem RAYWF_TLS_KEY=$certs/raywf.key RAYWF_TLS_CA=$certs/raywf.pem
"$(dirname "$0")/net-remote.sh"
