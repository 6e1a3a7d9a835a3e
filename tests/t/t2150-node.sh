#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A driver's own runtime, and how it tells of the ends of workers.
. "${srcdir:-.}/tests/t/lib.sh"
bin=$abs_top_builddir/tests/t
plugin=$bin/node_plugin.so
export RAYWF_BIN="$RAYWF"
export TMPDIR="$tmp" XDG_RUNTIME_DIR="$tmp"
# A sanitizer would turn the signals that are tested here into exits.
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:handle_segv=0:handle_abort=0"

drive() { _code=$1; shift; run "$_code" timeout 1000 "$bin/node_driver" "$@"; }
left() { find "$tmp" -maxdepth 1 -name 'raywf-session-*' | wc -l; }
# Processes of the session that had this folder as its own (who counts is none of them).
mine() { (unset TMPDIR && grep -lsza "TMPDIR=$tmp" /proc/[0-9]*/environ 2>/dev/null) | (unset TMPDIR && wc -l); }
none() { [ "$(mine)" -eq 0 ]; }

# A value
drive 0 "$plugin" square
has 'value 144'

# Ends
drive 1 "$plugin" leave
has 'code 5'
has 'exited with code 3'
has 'my last words'
drive 1 "$plugin" segfault
has 'code 5'
has 'SIGSEGV'
drive 1 "$plugin" deaf timeout=200
has 'code 3'
has '0.2 s'
drive 1 "$plugin" hog memory=52428800
has 'code 6'
has 'memory limit of 50 MiB'
drive 1 "$plugin" hog retries=1 memory=52428800
has 'code 6'

# Pressure: what may run again is ended, what may not is left to its time-out
RAYWF_PRESSURE=0.000001 drive 1 "$plugin" hog retries=1
has 'code 6'
has 'memory ran low'
RAYWF_PRESSURE=0.000001 drive 1 "$plugin" deaf timeout=1500
has 'code 3'

# Plugins
drive 1 "$tmp/nothing.so" square
has 'code 7'
has "$tmp/nothing.so"
echo text >plain.so
drive 1 "$tmp/plain.so" square
has 'code 7'
drive 1 "$plugin" nosuch
has 'code 7'
has nosuch
drive 1 "$bin/node_crash.so" square
has 'code 7'
has 'three times'
has 'SIGABRT'
has 'not even loaded'

# Actors
drive 1 "$plugin" square class=Refuses
has 'code 4'
has 'no licence for this'
drive 1 "$plugin" square class=Crashes
has 'code 8'
has 'SIGABRT'
has 'half built'
drive 1 "$plugin" square class=Hangs start=300
has 'code 8'
has 'not ready within 300ms'
drive 1 "$plugin" square class=Nosuch
has Nosuch

# Nothing stays: not when a function left a child behind, not when the driver is killed
drive 0 "$plugin" spawn
ok 'no process is left' until_ok none
"$bin/node_driver" "$plugin" square hold=1000 >held 2>&1 &
driver=$!
ok 'a result of a driver that stays' until_ok grep value held
kill -9 $driver
wait $driver 2>/dev/null
ok 'no process is left by a killed driver' until_ok none
ok 'no folder is left' [ "$(left)" -eq 0 ]
finish
