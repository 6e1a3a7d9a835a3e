# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Certificates for tests of TLS, made with openssl, in the current folder; keys are 0600.
#
#   ca NAME                        NAME.pem and NAME.key
#   certificate NAME CA [DAYS]     the same, of that CA; DAYS -1: has expired
_ec='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'

# shellcheck disable=SC2086 # several options
ca() { (umask 077 && openssl req -x509 $_ec -keyout "$1.key" -out "$1.pem" -subj "/CN=$1" -days 2 2>/dev/null); }

# shellcheck disable=SC2086
certificate()
{
    (umask 077 && openssl req $_ec -keyout "$1.key" -out "$1.csr" -subj "/CN=$1" &&
        openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -out "$1.pem" \
            -days "${3:-2}") 2>/dev/null
}
