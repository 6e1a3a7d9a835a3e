#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Native tasks from a program in C: over a session of its own, with real workers.
. "$abs_top_srcdir/tests/t/lib.sh"
RAYWF_BIN=$RAYWF
export RAYWF_BIN
unset RAYWF_ADDRESS RAYWF_SPIN
driver=$abs_top_builddir/tests/t/native_driver plugin=$abs_top_builddir/tests/t/native_plugin.so
[ -x "$driver" ] || { skip tasks "no $driver: make check builds it"; finish; }

# squares: a thousand results; objects: in place, and one that is overrun; deaths: a
# worker killed once, and always; cancel, timeout: what runs is ended; nested: tasks that
# wait for tasks, more than there are cores; lend: a value of a worker; wrong: plugins,
# functions, arguments, needs that cannot be met; shapes: environments, fresh workers;
# reserve: within a group; crash: the session is killed, and nothing is lost.
for case in squares objects deaths cancel timeout nested lend wrong shapes reserve crash; do
    run 0 "$driver" "$plugin" $case
    has ok
done
# Blocking at once, too.
RAYWF_SPIN=0
export RAYWF_SPIN
for case in squares nested; do
    run 0 "$driver" "$plugin" $case
    has ok
done
# A plugin is a path as dlopen takes it: relative ones are of the driver's folder.
cp "$plugin" mine.so
run 0 "$driver" ./mine.so squares
has ok
# No runtime: said, with what to do.
run 1 env RAYWF_BIN=/does/not/exist "$driver" "$plugin" squares
says 'set RAYWF_BIN'
run 1 env RAYWF_ADDRESS=/does/not/exist "$driver" "$plugin" squares
says 'RAYWF_ADDRESS'
finish
