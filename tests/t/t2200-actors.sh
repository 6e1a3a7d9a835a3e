#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Native tasks and actors as their users meet them: a plugin and a program, built against
# raywf.h and libraywf.so with nothing else, in C and in C++.
. "$abs_top_srcdir/tests/t/lib.sh"

: "${CC:=cc}" "${CXX:=c++}"
if ! command -v "$CC" >/dev/null; then
    skip 'all of it' 'no C compiler'
    finish
fi
lib=$abs_top_builddir
if nm -D "$lib/libraywf.so" 2>/dev/null | grep -q '__asan\|__tsan'; then
    skip 'all of it' 'programs of others cannot link a library that is sanitized'
    finish
fi
mkdir include && cp "$abs_top_srcdir/src/native/raywf.h" include/
cp "$abs_top_srcdir"/recipes/plugin/* .
LD_LIBRARY_PATH=$lib RAYWF_BIN=$RAYWF
export LD_LIBRARY_PATH RAYWF_BIN
unset RAYWF_ADDRESS
strict='-Wall -Wextra -Wno-missing-field-initializers -Werror -pedantic -Iinclude'

# --- the example ---
# shellcheck disable=SC2086
{
    run 0 "$CC" -std=c99 $strict -O2 -shared -fPIC -o stats.so stats.c
    run 0 "$CC" -std=c99 $strict -O2 -o driver driver.c -L"$lib" -lraywf -lm
}
run 0 ./driver ./stats.so
has 'merged : 1600000 numbers, mean 0.49969'
has 'running: 1600000 numbers, mean 0.49969'
has 'deviation 0.288'
ok 'both ways give the same' test "$(echo "$out" | sed 's/^[a-z ]*: //' | sort -u | wc -l)" -eq 1

# --- a plugin that was linked with the library finds the worker's functions ---
# shellcheck disable=SC2086
run 0 "$CC" -std=c99 $strict -O2 -shared -fPIC -o linked.so stats.c -L"$lib" -lraywf -Wl,-z,defs
run 0 ./driver ./linked.so
has 'running: 1600000 numbers'

# --- what is wrong with a plugin is said to who calls it ---
run 1 ./driver ./missing.so
says 'missing.so'
says 'no such file'
echo 'int x;' >x.c
run 0 "$CC" -shared -fPIC -o other.so x.c
run 1 ./driver ./other.so
says 'not a plugin'
run 1 ./driver ./stats.c
says 'not a shared object'
sed 's/"summary", summary/"sumary", summary/' stats.c >typo.c
# shellcheck disable=SC2086
run 0 "$CC" -std=c99 $strict -shared -fPIC -o typo.so typo.c
run 1 ./driver ./typo.so
says "did you mean 'sumary'?"
sed 's/= calloc(1, sizeof(\*s))/= (abort(), NULL)/' stats.c >crash.c
# shellcheck disable=SC2086
run 0 "$CC" -std=c99 $strict -shared -fPIC -o crash.so crash.c
run 1 ./driver ./crash.so
says 'SIGABRT'

# --- C++ ---
cat >plugin.cc <<'C'
#include <raywf.h>
static int twice(struct raywf_call *call)
{
    size_t size;
    const double *x = static_cast<const double *>(raywf_arg(call, 0, &size));
    double y = 2 * *x;
    return raywf_return(call, 0, &y, sizeof(y));
}
static const raywf_function functions[] = {{"twice", twice, "2*x"}, {0, 0, 0}};
RAYWF_PLUGIN(functions, 0);
C
cat >program.cc <<'C'
#include <raywf.h>
#include <cstdio>
int main()
{
    raywf_error err;
    raywf_ref once, again;
    double x = 21, y = 0;
    if (raywf_init(0, &err) < 0)
        return std::printf("%s\n", err.text), 1;
    struct raywf_task *twice = raywf_task("./plugin.so", "twice", 0, &err);
    if (!twice || raywf_submit(twice, RAYWF_ARGS(RAYWF_BYTES(&x, sizeof(x))), &once, &err) < 0 ||
        raywf_submit(twice, RAYWF_ARGS(RAYWF_REF(once)), &again, &err) < 0 ||
        raywf_get_copy(again, RAYWF_FOREVER, &y, sizeof(y), &err) < 0)
        return std::printf("%s\n", err.text), 1;
    std::printf("four times is %g\n", y);
    raywf_shutdown();
    return 0;
}
C
if command -v "$CXX" >/dev/null; then
    # shellcheck disable=SC2086
    {
        run 0 "$CXX" -std=c++11 $strict -shared -fPIC -o plugin.so plugin.cc
        run 0 "$CXX" -std=c++11 $strict -o program program.cc -L"$lib" -lraywf
    }
    run 0 ./program
    has 'four times is 84'
else
    skip 'C++' 'no C++ compiler'
fi

# --- only what the header declares is visible ---
nm -D --defined-only "$lib/libraywf.so" | awk '$2 != "A" { print $3 }' | grep -v '^raywf_' >odd
ok 'the library exports raywf_ only' test ! -s odd
nm -D --defined-only "$RAYWF" 2>/dev/null | awk '{ print $3 }' | sed 's/@.*//' | sort -u >program
sed -n 's/^RAYWF_API .*[ *]\(raywf_[a-z_]*\)(.*/\1/p' include/raywf.h | sort -u >header
ok 'the header declares something' test "$(wc -l <header)" -gt 20
ok 'the program exports all of it' sh -c '! comm -23 header program | grep .'
finish
