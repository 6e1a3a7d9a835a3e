#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Jobs are submitted while their head is killed (SIGKILL) at random moments and started
# again. What was acknowledged is never lost: in the end each such job has succeeded, once,
# and its step was recorded as done once. A bundle that was cut leaves nothing.
. "$(dirname "$0")/lib.sh" || exit 99
unset RAYWF_CLUSTER_ADDRESS RAYWF_CLUSTER_KEY RAYWF_ADDRESS
export RAYWF_CLUSTER=$dir/c
kills=${RAYWF_KILLS:-8}
most=${RAYWF_JOBS:-24}
stop_all() { "$RAYWF" shutdown -q --timeout 20s; }
trap stop_all EXIT

mkdir r
cat >r/r.yaml <<'Y'
recipe: raywf/v1
name: counted
tasks: {a: {run: "sleep 0.2; echo $RAYWF_JOB_ID >>$SIDE", resources: {cpu: 0.5}}}
Y
head -c 3000000 /dev/urandom >r/blob
: >side
: >acknowledged

acknowledged() { wc -l <acknowledged; }
more_than() { [ "$(acknowledged)" -gt "$1" ] || ! kill -0 $submitter; }
head_pid() { cat c/head/pid; }
start_head() { "$RAYWF" start --head --no-node --jobs 4 --port "$1" -q >/dev/null 2>&1; }
start_head 0 || exit 99
address=$(cat c/head/address) port=${address##*:}
"$RAYWF" start --address "$address" --key c/head/key --name one --cpu 8 --store 16MiB -q >/dev/null || exit 99

# Until all kills are done; another content for every fourth, so that bundles travel while the
# head dies.
submit_all()
{
    local i id
    for ((i = 0; ; i++)); do
        [ $i -lt "$most" ] || [ ! -e killed ] || break
        [ $((i % 4)) -ne 0 ] || echo "$i" >r/number
        until id=$("$RAYWF" job submit r/r.yaml -q -d --name "n$i" --env SIDE="$dir/side" 2>>submit.err); do
            sleep 0.1
        done
        echo "$id" >>acknowledged
        sleep 0.1
    done
    touch submitted
}
submit_all &
submitter=$!

killed=0
while [ $killed -lt "$kills" ]; do
    # Every other one as soon as it may be, also before a job is taken.
    [ $((killed % 2)) = 1 ] || until_ok more_than "$(acknowledged)"
    sleep "$(moment 700)"
    kill -9 "$(head_pid)"
    killed=$((killed + 1))
    sleep "$(moment 300)"
    # The port may be held by a connection that still ends.
    until_ok start_head "$port" || { fail "the head starts again"; kill $submitter; stop_all; finish; }
done
touch killed
wait $submitter
check "all were acknowledged in the end ($killed kills)" test -e submitted

list_jobs() { "$RAYWF" job list --format json >list && tr '{' '\n' <list | grep '"job":' >rows; }
all_done() { list_jobs && ! grep -qE '"state":"(queued|running|stopping)"' rows; }
check "all come to an end" until_ok 900 all_done
lost=0 bad=0
while read -r id; do
    [ "$(grep -c "\"job\":\"$id\"" rows)" = 1 ] || { lost=$((lost + 1)); continue; }
    grep "\"job\":\"$id\"" rows | grep -q '"state":"succeeded"' || { bad=$((bad + 1)); grep "\"job\":\"$id\"" rows; }
done <acknowledged
check "none of $(wc -l <acknowledged) is lost" test $lost = 0
check "each has succeeded" test $bad = 0
check "no id was given twice" test -z "$(sort acknowledged | uniq -d)"

twice=0
while read -r id; do
    done_steps=$(cat c/head/jobs/"$id"/work/.raywf/runs/2*/events.ndjson | grep -c '"type":"step.succeeded"')
    cached=$(cat c/head/jobs/"$id"/work/.raywf/runs/2*/events.ndjson | grep -c '"type":"step.cached"')
    [ $((done_steps + cached)) = 1 ] || { twice=$((twice + 1)); echo "$id: $done_steps and $cached"; }
done <acknowledged
check "each step was done once" test $twice = 0
check "and has left its line" test -z "$(sort acknowledged | comm -23 - <(sort -u side))"
check "no half bundle is left" test -z "$(find c/head/jobs/bundles -maxdepth 1 -name '*.part.*' -o -maxdepth 1 -name '*.gone.*')"
stop_all
finish
