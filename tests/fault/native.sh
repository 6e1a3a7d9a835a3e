# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the fault tests of the native runtime share: their programs are built here, as a
# user would, against raywf.h and libraywf.so.
export RAYWF_BIN=$RAYWF
unset RAYWF_ADDRESS
faults=$abs_top_srcdir/tests/fault

native_cc()
{
    ${CC:-cc} -O1 -g -Wall -D_GNU_SOURCE -I"$abs_top_srcdir/src/native" -I"$faults" "$@"
}

build_native()
{
    local program
    native_cc -shared -fPIC "$faults/native_plugin.c" -o "$dir/plugin.so" || exit 99
    for program in native_kill native_bad native_clients; do
        native_cc "$faults/$program.c" -o "$dir/$program" -L"$abs_top_builddir" -lraywf \
            -Wl,-rpath,"$abs_top_builddir" -lpthread || exit 99
    done
}
