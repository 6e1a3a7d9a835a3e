#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Stands in for ssh (RAYWF_SSH): runs the command here, in another folder, with another HOME
# and nothing but that program in PATH. The host's name says what becomes of it:
#   down… refuses the connection    none… has no raywf    old… has another version
#   slow… does not answer           else: RAYWF is there
# Each call is noted in $RAYWF_TEST_SSH/log, arguments only.
folder=${RAYWF_TEST_SSH:?}
printf '%s\n' "$*" >>"$folder/log"
while [ "$1" != -- ]; do
    shift || exit 255
done
host=$2
shift 2
case $host in
down*)
    echo "ssh: connect to host $host port 22: Connection refused" >&2
    exit 255
    ;;
slow*) exec sleep 600 ;;
esac
home=$folder/$host
mkdir -p "$home/bin" && cd "$home" || exit 255
case $host in
none*) ;;
old*)
    printf '#!/bin/sh\necho "raywf 0.0.1"\n' >bin/raywf
    chmod +x bin/raywf
    ;;
*) ln -sf "${RAYWF:?}" bin/raywf ;;
esac
HOME=$home PATH=$home/bin:/usr/bin:/bin exec sh -c "$*"
