#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The disk below .raywf fills up: the run ends with exit code 7 and says so; when there is
# room again, resume finishes it, and no finished step is repeated. Needs a small tmpfs, so
# the right to mount one (or a user namespace): skipped without.
. "$(dirname "$0")/disk.sh"

small_disk 4m
export SIDE=$dir/side
log=$RAYWF_DIR/runs/last/events.ndjson

# The steps write nothing to that disk themselves, so that what fails is raywf.
{
    printf 'recipe: raywf/v1\nname: full\ndefaults: {resources: {cpu: 0.5}, cache: false}\ntasks:\n'
    printf '  s%d: {run: "echo s%d >> $SIDE"}\n' $(seq 40 | sed 's/.*/& &/')
} >recipe.yaml

# fill KIB: leaves that much room.
fill()
{
    local room
    room=$(($(df -k --output=avail disk | tail -n 1) - $1))
    [ $room -le 0 ] || dd if=/dev/zero of=disk/ballast bs=1k count=$room status=none
}

one_level()
{
    local kib=$1 rc=0 again
    rm -rf disk/* side
    : >side
    fill "$kib"
    timeout -k 1 900 "$RAYWF" run recipe.yaml >out 2>err || rc=$?
    rm -f disk/ballast
    if [ $rc = 0 ]; then
        echo "(all of it fits into $kib KiB)"
        return 0
    fi
    [ $rc = 7 ] || { echo "$kib KiB free: exit code $rc, not 7: $(tail -n 3 err)"; return 1; }
    grep -qi 'space' err || { echo "$kib KiB free: no word about space: $(tail -n 3 err)"; return 1; }
    if [ ! -s "$log" ]; then
        "$RAYWF" run recipe.yaml >out 2>err || { echo "run again: $(tail -n 3 err)"; return 1; }
    else
        events_of step.succeeded "$log" >final.steps
        local lines
        lines=$(wc -l <side)
        "$RAYWF" resume last >out 2>err || { echo "resume: exit code $?: $(tail -n 3 err)"; return 1; }
        again=$(tail -n +$((lines + 1)) side | sed 's/^/tasks./' | sort -u | comm -12 - final.steps)
        [ -z "$again" ] || { echo "executed again: $again"; return 1; }
    fi
    [ "$(events_of step.succeeded "$log" | sort -u | wc -l)" = 40 ] || { echo "steps are lost"; return 1; }
}

for kib in 0 4 16 32 64 96 128 192 256 320 384 448 512 1024; do
    check "$kib KiB free" one_level $kib
done
cd /
umount "$dir/disk"
finish
