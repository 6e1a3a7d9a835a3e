#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Ranks are killed and stopped, raywf is killed, checkpoints are damaged: each training ends
# with the losses of an undisturbed one, and what goes wrong is named.
. "$(dirname "$0")/lib.sh" || exit 99
. "$abs_top_srcdir/tests/fault/train.sh"
command -v mpirun >/dev/null || { skip "there is no mpirun"; finish; }
kills=${RAYWF_KILLS:-6}

began=$(date +%s%N)
"$RAYWF" run train.yaml >out 2>err || { fail "undisturbed: $(tail -n 3 err)"; finish; }
span=$((($(date +%s%N) - began) / 1000000))
metrics >want
check "an undisturbed run has all steps" test "$(wc -l <want)" -gt 400

# kill_a_rank: a random one of those that live, once there is one; 1: the run has ended.
kill_a_rank()
{
    local victim
    while kill -0 $pid 2>/dev/null; do
        victim=$(ranks | shuf -n 1 --random-source=<(yes $RANDOM))
        [ -n "$victim" ] && kill -KILL "$victim" 2>/dev/null && return
        sleep 0.05
    done
    return 1
}

# Random ranks, several times within one run: the first once there is a checkpoint, which a run
# has early; the others at random moments of the time that a run takes here.
RAYWF_LOG=warn begin run train.yaml --param retry=50
await_checkpoints 1
done_kills=0
while [ $done_kills -lt "$kills" ] && kill_a_rank; do
    done_kills=$((done_kills + 1))
    sleep "$(moment $((span / 3 + 1)))"
done
wait $pid
check "$done_kills kills: it succeeds" test $? = 0
same "$done_kills kills: the same losses"
check "ranks were killed" test $done_kills -ge 1
check "each kill is told with rank and signal" \
    test "$(grep -c 'rank [01] of 2 was killed by signal 9 (SIGKILL)' err)" -ge 1

# A rank that hangs.
begin run train.yaml --param retry=5 --set train.t.heartbeat=3s
await_checkpoints 1
check "a rank is stopped" kill -STOP "$(ranks | tail -n 1)"
wait $pid
check "a stopped rank: it succeeds" test $? = 0
check "a stopped rank is named" grep -q 'rank 1 of 2 gave no sign of life for 3 s (heartbeat): its process is stopped' err
same "a stopped rank: the same losses"
check "nothing is left" all_gone

# What holds the ranks is killed: mpirun, the shim of a rank, the step itself.
for what in mpirun 'raywf-rank exec' 'raywf run-step'; do
    begin run train.yaml --param retry=1 --set 'train.t.retry.on=[signal, exit]'
    await_checkpoints 1
    check "$what: there is one" kill -KILL "$(pgrep -f "^[^ ]*/$what .*$dir/" | head -n 1)"
    wait $pid
    rc=$?
    if [ $rc = 7 ]; then # an environment that fails mpirun is no reason to try again
        "$RAYWF" resume >out 2>err
        rc=$?
    fi
    check "$what is killed: it goes on" test $rc = 0
    same "$what is killed: the same losses"
    check "$what is killed: nothing is left" all_gone
done

# raywf is killed, and the newest checkpoint is damaged: it is named, the one before is taken.
for damage in flip cut none; do
    begin run train.yaml --param workers=1
    await_checkpoints 2
    kill -KILL $pid
    wait $pid 2>/dev/null
    all_gone
    bad=$(newest)
    case $damage in
    flip) printf '\377' | dd of="$bad/model.safetensors" bs=1 seek=900 conv=notrunc status=none ;;
    cut) truncate -s -10 "$bad/optimizer.safetensors" ;;
    none) rm "$bad/manifest.json" ;;
    esac
    "$RAYWF" resume >out 2>err
    check "$damage: it goes on" test $? = 0
    "$RAYWF" logs last train.t >out 2>&1
    check "$damage: the damaged one is named" grep -q "$(basename "$bad")" out
    metrics | cut -d' ' -f1 >steps
    check "$damage: no step is missing" test "$(sort -un steps | wc -l)" = "$(wc -l <want)"
done
finish
