#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# bootstrap deps, with dpkg-query, apt-get, sudo and npm that only write down how they were
# called: nothing is installed that is there, and what cannot be installed is named.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/bin" "$dir/src"
cp "$abs_top_srcdir/bootstrap" "$dir/src/"
PATH=$dir/bin:/usr/bin:/bin
export PATH calls="$dir/calls" RAYWF_DUCKDB_DIR=no

fake()
{
    printf '#!/bin/sh\n%s\n' "$2" >"$dir/bin/$1"
    chmod +x "$dir/bin/$1"
}

fail()
{
    echo "FAILED: $1 (exit code $rc)"
    cat "$dir/out" "$calls"
    exit 1
}

deps()
{
    : >"$calls"
    rc=0
    "$dir/src/bootstrap" deps >"$dir/out" 2>&1 || rc=$?
}

# shellcheck disable=SC2016 # expanded by the fake
all_there='shift 2; for p; do echo "$p=installed"; done'
fake apt-get 'echo "apt-get $*" >>"$calls"'
fake sudo 'echo "sudo" >>"$calls"; [ "$1" != -n ] || shift; exec "$@"'
fake id 'echo 0'

fake dpkg-query "$all_there"
deps
[ $rc = 0 ] && [ ! -s "$calls" ] || fail "everything is there, yet something was installed"

fake dpkg-query "$all_there | grep -v -e libyaml -e valgrind"
deps
grep -q '^apt-get .*update' "$calls" || fail "no update before installing"
grep -q '^apt-get .*install .*libyaml-dev valgrind *$' "$calls" || fail "not just the missing ones"
! grep -q sudo "$calls" || fail "root needs no sudo"

fake id 'echo 1000'
deps
grep -q '^sudo' "$calls" && [ $rc = 0 ] || fail "others need sudo"

fake apt-get '[ "$1" = update ] || case "$*" in *install*) echo "E: no network"; exit 100 ;; esac'
deps
[ $rc = 7 ] && grep -q 'apt-get install .*libyaml-dev valgrind' "$dir/out" &&
    grep -q 'E: no network' "$dir/out" || fail "what cannot be installed is not named"

# A package that was removed but left its configuration is not installed.
# shellcheck disable=SC2016
fake dpkg-query 'shift 2; for p; do echo "$p=config-files"; done'
deps
[ $rc = 7 ] || fail "a removed package counts as installed"

# DuckDB that is not the one known here is not used, and the rest goes on.
unset RAYWF_DUCKDB_DIR
fake dpkg-query "$all_there"
fake npm 'echo npm >>"$calls"; : >duckdb-1.4.4.tgz; : >duckdb-node-bindings-linux-x64-1.4.4-r.4.tgz'
if [ "$(uname -sm)" = "Linux x86_64" ]; then
    deps
    [ $rc = 0 ] && grep -q 'not used' "$dir/out" || fail "another DuckDB was taken"
    [ -z "$(ls -A "$dir/src/.deps")" ] || fail "something was left of it"
fi
echo "bootstrap installs what is missing and nothing else"
