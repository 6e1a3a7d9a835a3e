#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Plugins that are wrong in every way: each is named in an error, and neither the runtime
# nor anybody else's tasks and objects suffer.
. "$(dirname "$0")/lib.sh" || exit 99
. "$abs_top_srcdir/tests/fault/native.sh"
build_native

# bad NAME CODE PATTERN PLUGIN FUNCTION: that call fails with CODE and a text like PATTERN.
bad()
{
    local name=$1 code=$2 pattern=$3
    if ! "$dir/native_bad" "$dir/plugin.so" "$4" "$5" >out 2>err; then
        fail "$name: $(tail -n 2 out err)"
    elif ! grep -qE "^$code: .*$pattern" out; then
        fail "$name: said: $(cat out)"
    else
        pass "$name: $(cut -c1-160 out)"
    fi
}

# plugin NAME SOURCE: builds a plugin from C.
plugin()
{
    printf '#include <stdlib.h>\n#include <unistd.h>\n#include "raywf.h"\n%s\n' "$2" >"$1.c"
    native_cc -shared -fPIC "$1.c" -o "$1.so"
}
head='static int f(struct raywf_call *c) { return raywf_return(c, 0, "x", 1); }
static const struct raywf_function fs[] = {{"f", f, NULL}, {0}};'

# As in raywf.h.
failed_code=4 worker=5 timeout=3 no_plugin=7 overrun=12

bad missing $no_plugin "$dir/nothing.so" "$dir/nothing.so" f
echo "no shared object" >text.so
bad 'no shared object' $no_plugin "text.so" "$dir/text.so" f
plugin empty 'int x;'
bad 'no plugin' $no_plugin "empty.so" "$dir/empty.so" f
plugin version "$head
RAYWF_API const struct raywf_plugin raywf_plugin = {
    .abi = 99, .size = sizeof(struct raywf_plugin), .functions = fs};"
bad 'another version' $no_plugin "version.so" "$dir/version.so" f
plugin undefined "extern int is_nowhere(void);
static int f(struct raywf_call *c) { (void)c; return is_nowhere(); }
static const struct raywf_function fs[] = {{\"f\", f, NULL}, {0}};
RAYWF_PLUGIN(.functions = fs);"
bad 'needs what is nowhere' $no_plugin "is_nowhere" "$dir/undefined.so" f
bad 'no such function' $no_plugin "nofunction" "$dir/plugin.so" nofunction
plugin crashes "$head
__attribute__((constructor)) static void start(void) { abort(); }
RAYWF_PLUGIN(.functions = fs);"
bad 'crashes when loaded' "($worker|$no_plugin)" "" "$dir/crashes.so" f
plugin sleeps "$head
__attribute__((constructor)) static void start(void) { for (;;) pause(); }
RAYWF_PLUGIN(.functions = fs);"
bad 'never loaded' $no_plugin "sleeps.so .*not ready within" "$dir/sleeps.so" f
bad 'never returns' $timeout "" "$dir/plugin.so" never_returns
bad 'exits' $worker "42" "$dir/plugin.so" crash
bad 'writes past its object' $overrun "" "$dir/plugin.so" overrun
plugin null "static int f(struct raywf_call *c) { (void)c; *(volatile int *)8 = 1; return 0; }
static const struct raywf_function fs[] = {{\"f\", f, NULL}, {0}};
RAYWF_PLUGIN(.functions = fs);"
bad 'crashes' $worker "([Ss]egmentation|signal 11|SIGSEGV)" "$dir/null.so" f
plugin says "static int f(struct raywf_call *c) { return raywf_fail(c, \"no %s\", \"luck\"); }
static const struct raywf_function fs[] = {{\"f\", f, NULL}, {0}};
RAYWF_PLUGIN(.functions = fs);"
bad 'says so' $failed_code "no luck" "$dir/says.so" f
plugin silent "static int f(struct raywf_call *c) { (void)c; return -1; }
static const struct raywf_function fs[] = {{\"f\", f, NULL}, {0}};
RAYWF_PLUGIN(.functions = fs);"
bad 'fails and says nothing' $failed_code "" "$dir/silent.so" f
finish
