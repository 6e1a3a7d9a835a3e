#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# raywf-rank under mpirun: groups of ranks agree to the bit, train as one does, go on from
# checkpoints on the same and another number of ranks, and stop together.
. "${abs_top_srcdir:?}/tests/t/lib.sh"
rank=$(dirname "$RAYWF")/raywf-rank
tools=$(dirname "$RAYWF")/tests/t
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
if ! command -v mpirun >/dev/null; then
    skip all "no mpirun: install openmpi-bin"
    finish
fi
# Seconds that nothing here takes, on a machine that does much else.
mpi() { timeout 1000 mpirun -n "$1" --oversubscribe --bind-to none "${@:2}"; }

# job FOLDER KIND COUNT JSON
job() { "$tools/rank_job" "$@" || fail "rank_job $*"; }

# The losses of FOLDER's steps, one a line.
losses() { sed 's/.*"loss":\([^,}]*\).*/\1/' "$1/work/metrics.jsonl"; }

# same A B TOLERANCE: as many losses, each within TOLERANCE of the other, relatively.
same()
{
    paste <(losses "$1") <(losses "$2") | awk -v most="$3" '
        NF != 2 { exit 1 }
        { d = $1 - $2; if (d < 0) d = -d; if (d > most * $1) { print $1, $2; exit 1 } n++ }
        END { if (n == 0) exit 1 }'
}

# --- operations of groups ---

for how in shared messages; do
    for n in 2 4; do
        run 0 env RAYWF_COMM=$how timeout 1000 mpirun -n $n --oversubscribe --bind-to none \
            "$tools/comm_ranks"
        for ((r = 0; r < n; r++)); do has "$how rank $r of $n: good"; done
    done
done

# --- the same curve for 1, 2 and 4 ranks, and every division ---

# 35 rows: the last global batch of an epoch leaves some ranks without any.
job one rows 35 '{"clip": 0.5, "steps": 30, "global_batch_size": 16}'
run 0 "$rank" train one/job.json
has 'after 30 steps'
for n in 2 4; do
    for shard in none optimizer full; do
        [ $n$shard != 4optimizer ] || continue
        job "m$n$shard" rows 35 '{"clip": 0.5, "steps": 30, "global_batch_size": 16,
            "micro_batch_size": 3, "shard": "'$shard'"}'
        run 0 mpi $n "$rank" train "m$n$shard/job.json"
        ok "$n ranks, shard $shard" same one "m$n$shard" 1e-5
    done
done
# Tied embeddings, gathered and scattered.
job text tokens 1500 '{"steps": 12}'
run 0 "$rank" train text/job.json
job textfull tokens 1500 '{"steps": 12, "shard": "full"}'
RAYWF_COMM=messages run 0 mpi 2 "$rank" train textfull/job.json
ok 'text, shard full, by messages' same text textfull 1e-4

# --- going on ---

every='"checkpoint": {"every": 10, "keep_best": 0, "keep_latest": 9}'
for shard in none full; do
    job "r$shard" rows 200 '{"steps": 20, "shard": "'$shard'", '"$every"'}'
    run 0 mpi 2 "$rank" train "r$shard/job.json"
    cp "r$shard/result/model.safetensors" straight
    rm -r "r$shard/checkpoints/step-00000020"
    run 0 mpi 2 "$rank" train "r$shard/job.json"
    ok "resumed with shard $shard, to the bit" cmp straight "r$shard/result/model.safetensors"
    cp "r$shard/work/metrics.jsonl" before.jsonl
    rm -r "r$shard/checkpoints/step-00000020"
    run 0 "$rank" train "r$shard/job.json" # alone
    mkdir -p before/work && mv before.jsonl before/work/metrics.jsonl
    ok "resumed alone after shard $shard" same before "r$shard" 1e-5
done

# --- ends ---

# begin NAME: two ranks that would go on for ever are at it.
begin()
{
    job "$1" rows 200 '{"steps": 100000000, "log_every": 1000, '"${2:-$every}"'}'
    mpirun -n 2 --oversubscribe --bind-to none "$rank" train "$1/job.json" >"$1.out" 2>"$1.err" &
    pid=$!
    until_ok test -s "$1/checkpoints/metrics.jsonl"
}

begin stop '"checkpoint": {"every": 0}'
kill -USR1 $pid # mpirun passes it on
wait $pid
ok 'stopped ranks exit with 143' test $? = 143
ok 'stopped ranks say so' grep -q 'stopped after step .* with a checkpoint' stop.err
ok 'and there is the checkpoint' ls stop/checkpoints/step-*/manifest.json

begin kill
until_ok eval 'ls kill/checkpoints/step-*0/manifest.json'
victim=$(pgrep -P $pid -x raywf-rank | tail -1)
kill -9 "$victim"
wait $pid
ok 'a killed rank ends the others' test $? != 0
steps=$(ls kill/checkpoints | sed -n 's/^step-0*//p' | sort -n | tail -1)
run 0 sed -i 's/"steps": 100000000/"steps": '$((steps + 5))'/' kill/job.json
run 0 mpi 2 "$rank" train kill/job.json
has "after $((steps + 5)) steps"

# --- errors ---

job bad rows 64 '{"optimizer": {"type": "sgd", "learning_rate": 1e39}}'
run 1 mpi 2 "$rank" train bad/job.json
says 'the loss of step 2 is not finite'
run 2 "$rank"
says 'usage: raywf-rank train JOB'
run 2 "$rank" train
run 7 "$rank" train nowhere.json
says nowhere.json
printf '{' >broken.json
run 6 "$rank" train broken.json
says 'broken.json:1:'

# The step that would hear of a rank is gone before the rank begins: it does not wait for it.
mkdir orphan
mkfifo orphan/report
printf '{"dir": "orphan", "workers": 2, "argv": ["true"]}' >orphan/gang.json
run 7 timeout -k 1 60 "$rank" exec orphan/gang.json
says 'rank 0 is heard by nobody: the step that started it is gone'
finish
