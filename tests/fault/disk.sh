# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A disk that fills up, for the tests that need one: sourced first, with the arguments of the
# test, which starts itself again where a file system may be mounted.
if [ "${1:-}" != inside ]; then
    if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
        exec unshare -m "$0" inside
    elif unshare -rm true 2>/dev/null; then
        exec unshare -rm "$0" inside
    fi
    echo "skipped: no file system may be mounted here"
    exit 77
fi
. "$(dirname "$0")/lib.sh" || exit 99

# small_disk SIZE: a tmpfs of that size at disk/, with raywf's folder on it.
small_disk()
{
    mkdir disk
    if ! mount -t tmpfs -o size="$1" tmpfs disk 2>err; then
        skip "cannot mount a tmpfs: $(cat err)"
        finish
    fi
    export RAYWF_DIR=$dir/disk/raywf
}
