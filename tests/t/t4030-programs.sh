#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Programs of others as gangs: their environment, reports, checkpoints, outputs and ends.
. "$abs_top_srcdir/tests/t/lib.sh"
if ! command -v mpirun >/dev/null; then
    skip 'gangs' 'there is no mpirun'
    finish
fi
log=.raywf/runs/last/events.ndjson

cat >train.sh <<'S'
#!/bin/sh
# Each rank tells what it sees; rank 0 reports, writes checkpoints and the model.
set -eu
echo "$RANK of $WORLD_SIZE, local $LOCAL_RANK of $LOCAL_WORLD_SIZE, group $GROUP_RANK, node $NODE_RANK"
echo "to $MASTER_ADDR, threads $OMP_NUM_THREADS, data $(wc -l <"$1") $(wc -l <"$RAYWF_DATASET_VAL") secret ${#TOKEN}"
echo "port $MASTER_PORT" >>"$SIDE"
first=1
[ -z "$RAYWF_RESUME_FROM" ] || first=$(($(cat "$RAYWF_RESUME_FROM/step") + 1))
echo "rank $RANK begins at $first" >&2
for step in $(seq "$first" 6); do
    if [ "$RANK" = 0 ]; then
        mkdir -p "$RAYWF_CHECKPOINT_DIR/c$step"
        echo "$step" >"$RAYWF_CHECKPOINT_DIR/c$step/step"
        printf '{"step":%d,"loss":%d,"checkpoint":"%s"}\n' "$step" $((10 - step)) \
            "$RAYWF_CHECKPOINT_DIR/c$step" >&"$RAYWF_REPORT"
    fi
    # One that is to be killed is where all others are, in the middle.
    if [ "${END:-}" ] && [ "$step $RAYWF_ATTEMPT" = "4 1" ]; then
        echo "$RANK" >>"$SIDE.met"
        until [ "$(wc -l <"$SIDE.met")" -ge "$WORLD_SIZE" ]; do sleep 0.05; done
        [ "$RANK" = 1 ] || exec sleep 600
        case $END in
        kill) kill -9 $$ ;;
        exit) echo "rank $RANK has had enough" >&2; exit 3 ;;
        esac
    fi
    sleep "${PAUSE:-0}"
done
[ "$RANK" != 0 ] || cat "$1" >model.txt
S
chmod +x train.sh
seq 5 >d.csv
seq 3 >v.csv
cat >r.yaml <<'Y'
recipe: raywf/v1
name: gang
secrets: {T: {env: SECRET}}
train:
  p:
    dataset: {train: d.csv, val: v.csv}
    command: [sh, train.sh, "${dataset.train}"]
    env: {TOKEN: "${secrets.T}"}
    workers: 3
    resources: {cpu: 0.5}
    outputs: {model: model.txt}
    retry: {max: 1, on: [signal], backoff: 0s}
tasks:
  use: {run: "cat ${train.p.outputs.model} > o", outputs: {o: o}}
checks:
  low: {value: "${train.p.metrics.loss}", op: "<=", than: 4}
Y
export SECRET=swordfish SIDE="$tmp/side"
run 0 raywf run r.yaml
run 0 raywf logs last train.p
for rank in 0 1 2; do
    has "[$rank] $rank of 3, local $rank of 3, group 0, node 0"
done
has '[2] to 127.0.0.1, threads 1, data 5 3 secret 9'
ok 'the secret is in no file' sh -c '! grep -r swordfish .raywf'
ok 'one port for all' test "$(sort -u side | wc -l)" -eq 1
ok 'its losses are events' test "$(grep -c '"type":"step.metric"' $log)" -ge 6
run 0 raywf run r.yaml
says 'train.p  cached'
echo '# changed' >>train.sh
run 0 raywf plan r.yaml
has 'train.sh changed'

# A rank is killed: the gang goes on from the newest checkpoint that was registered.
rm -f side.met
END=kill run 0 raywf run r.yaml --no-cache
says 'rank 1 of 3 was killed by signal 9 (SIGKILL)'
run 0 raywf logs last train.p
has 'goes on from the checkpoint'
ok 'all begin at the same step' test "$(grep -c 'rank [0-2] begins at [45]$' .out)" -eq 3

# A rank ends with an exit code: not retried here; all end, the message says who and what.
rm -f side.met
END=exit run 1 raywf run r.yaml --no-cache
says 'train.p: rank 1 of 3 ended with exit code 3: rank 1 has had enough'
run 1 raywf run r.yaml --no-cache --set 'train.p.command=[./none]'
says 'No such file'

# One rank, a shell text, a folder of its own choice, an output that is missing, a time-out.
cat >one.yaml <<'Y'
recipe: raywf/v1
train:
  p:
    run: |
      echo "$RANK $WORLD_SIZE $LOCAL_RANK [$RAYWF_RESUME_FROM]"
      echo '{"loss": 2}' >&"$RAYWF_REPORT"
      raywf report-metric accuracy=0.5
      pwd > where
    dir: work
    outputs: {where: where}
  slow: {run: sleep 60, workers: 2, resources: {cpu: 0.5}, timeout: 1s, grace: 1s}
Y
mkdir work
run 0 raywf run one.yaml --only train.p
run 0 raywf logs last train.p
has '0 1 0 []'
run 0 raywf status --format json
has '"accuracy":0.5'
has '"loss":2'
rm work/where
run 1 raywf run one.yaml --only train.p --no-cache --set train.p.run=true
says "where"
run 1 raywf run one.yaml --only train.slow
says 'timeout'

# The cards of all ranks, in order, are what each rank sees; memory is per rank.
cat >gpu.yaml <<'Y'
recipe: raywf/v1
train:
  p: {run: 'echo "$RANK sees $CUDA_VISIBLE_DEVICES"', workers: 2, resources: {cpu: 0.5, gpu: 1}}
Y
RAYWF_FAKE_GPUS=3x24GiB run 0 raywf run gpu.yaml
run 0 raywf logs last train.p
has '[0] 0 sees 0,1'
has '[1] 1 sees 0,1'
ok 'the record has both' grep -q '"gpus":\[0,1\]' $log
RAYWF_FAKE_GPUS=3x24GiB run 5 raywf plan gpu.yaml --set train.p.workers=4 --set train.p.resources.cpu=0
says 'holds 3'

# TERM is passed on to the ranks, and their last words are kept.
cat >term.yaml <<'Y'
recipe: raywf/v1
train:
  p:
    run: |
      trap 'echo "saved $RANK"; exit 0' TERM
      echo >"$RAYWF_RECIPE_DIR/armed.$RANK"
      while :; do sleep 0.1; done
    workers: 2
    resources: {cpu: 0.5}
    timeout: 1s
Y
# The time is longer where one was still beginning when it was over.
for time in 1 4 16 64 256; do
    rm -f armed.*
    run 1 raywf run term.yaml --set train.p.timeout=${time}s
    [ "$(ls armed.* 2>/dev/null | wc -l)" != 2 ] || break
done
says 'timed out'
run 0 raywf logs last train.p
has '[0] saved 0'
has '[1] saved 1'

# raywf is killed: nothing outlives it.
rm side
PAUSE=600 raywf run r.yaml --no-cache >/dev/null 2>&1 &
head=$!
ok 'all ranks run' until_ok has_lines side 3
kill -9 $head
wait $head 2>/dev/null
ok 'nothing outlives it' until_ok sh -c "! pgrep -f '[t]rain.sh $tmp'"

# A real PyTorch program, two workers over gloo, of which one is killed.
if [ "${RAYWF_TEST_PYTHON:-}" ] && "$RAYWF_TEST_PYTHON" -c 'import torch' 2>/dev/null; then
    cp -R "$abs_top_srcdir/recipes" . && chmod -R u+w recipes
    CRASH_AT_EPOCH=12 run 0 raywf run recipes/train-pytorch.yaml --param python="$RAYWF_TEST_PYTHON"
    says 'rank 1 of 2 was killed'
    run 0 env RAYWF_DIR=recipes/.raywf raywf logs last train.ddp
    has 'begins at epoch 10'
else
    skip 'PyTorch' 'RAYWF_TEST_PYTHON names no Python with torch'
fi
finish
