#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The disk is full while a training writes checkpoints. Either training goes on and says that a
# checkpoint could not be written, or the run ends with exit code 7 and says that there is no
# space, and goes on when there is room again. The losses are those of an undisturbed run. Needs
# a small tmpfs, as full-disk.sh does.
. "$(dirname "$0")/disk.sh"
small_disk 16m
. "$abs_top_srcdir/tests/fault/train.sh"

fill()
{
    local room
    room=$(($(df -k --output=avail disk | tail -n 1) - $1))
    [ $room -le 0 ] || dd if=/dev/zero of=disk/ballast bs=1k count=$room status=none 2>/dev/null
}
# A model of 270 KiB, with its optimizer 800 KiB.
undisturbed()
{
    run="run train.yaml --param workers=1 --param steps=$1 --set train.t.model.hidden=[256,256]"
    rm -rf disk/*
    "$RAYWF" $run >out 2>err || fail "undisturbed: $(tail -n 3 err)"
    metrics >want
}
steps=6000
undisturbed $steps

# A training that is over before it was seen to go on was too short for this machine.
begin_and_see()
{
    rm -rf disk/*
    begin $run
    until_ok enough 2
    kill -0 $pid 2>/dev/null && return
    steps=$((steps * 3))
    [ $steps -lt 1000000 ] || { echo "never 2 checkpoints of a run that goes on: $(tail -n 3 err)"; return 1; }
    undisturbed $steps
    begin_and_see
}

one_level()
{
    local kib=$1 rc=0
    begin_and_see || return 1
    fill "$kib"
    wait $pid || rc=$?
    rm -f disk/ballast
    all_gone || { echo "$kib KiB free: something is left"; return 1; }
    case $rc in
    0) "$RAYWF" logs last train.t 2>/dev/null | grep -ci 'could not be written' ;;
    1 | 7) grep -i space err | head -n 1 | grep . || { echo "$kib KiB free: no word about space"; return 1; } ;;
    *) echo "$kib KiB free: exit code $rc"; return 1 ;;
    esac
    if [ $rc != 0 ]; then
        # The run itself had no space, or its training had none.
        "$RAYWF" resume >out 2>err || "$RAYWF" retry last --failed >out 2>err ||
            { echo "again: $(grep -m 1 ✗ err)"; return 1; }
    fi
    metrics >got
    cmp got want
}

for kib in 0 40 300 600 1000; do
    check "$kib KiB left: nothing is lost" one_level $kib
done
cd "$dir" && umount disk 2>/dev/null
finish
