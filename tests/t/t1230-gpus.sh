#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# GPUs granted to steps: which card, under which name, and how much of its memory. On
# stand-ins, so that it runs everywhere.
. "$abs_top_srcdir/tests/t/lib.sh"
unset CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER RAYWF_NVML

# Shares of different sizes, so that where each lies follows: 0.5 and 0.5 fill a card.
cat >g.yaml <<'Y'
recipe: raywf/v1
name: gpus
defaults: {cache: false}
tasks:
  none: {run: &show 'set +u; echo "on $CUDA_VISIBLE_DEVICES, $RAYWF_GPU_MEMORY, $RAYWF_GPU_FRACTION."'}
  one: {run: *show, resources: {gpu: 1}}
  share: {run: *show, resources: {gpu: 0.25}, needs: [tasks.one]}
  two: {run: *show, resources: {gpu: 2}, needs: [tasks.share]}
Y
RAYWF_FAKE_GPUS=2x24GiB
export RAYWF_FAKE_GPUS
run 0 raywf plan g.yaml
has '2 gpu'
run 0 raywf run g.yaml
run 0 raywf logs last tasks.none
has 'on , , .'
run 0 raywf logs last tasks.one
has 'on 0, 25769803776, 1.'
run 0 raywf logs last tasks.share
has 'on 0, 6442450944, 0.25.'
run 0 raywf logs last tasks.two
has 'on 0,1, 25769803776, 1.'

# --- what is visible is what there is, under the names it has ---
CUDA_VISIBLE_DEVICES=2,1
RAYWF_FAKE_GPUS=1x24GiB,1x40GiB,1x80GiB
export CUDA_VISIBLE_DEVICES
run 0 raywf run g.yaml
run 0 raywf logs last tasks.none
has 'on 2,1, , .'
run 0 raywf logs last tasks.one
has 'on 2, 85899345920, 1.'
run 0 raywf logs last tasks.two
has 'on 2,1, 42949672960, 1.'
CUDA_VISIBLE_DEVICES=GPU-00000002
run 0 raywf run g.yaml --only tasks.share
run 0 raywf logs last tasks.share
has 'on GPU-00000002, 21474836480, 0.25.'
run 5 raywf plan g.yaml
says 'asks for 2 gpu, this machine has 1'
CUDA_VISIBLE_DEVICES=0,9,1
run 5 raywf plan g.yaml
says 'this machine has 1'
says "'9' is no GPU of this machine"
CUDA_VISIBLE_DEVICES=
run 5 raywf plan g.yaml
says 'this machine has 0'
unset CUDA_VISIBLE_DEVICES

# --- two halves and a whole: never more on a card than it has ---
cat >halves.yaml <<'Y'
recipe: raywf/v1
name: halves
tasks:
  a: {run: &meet 'echo "on $CUDA_VISIBLE_DEVICES."; touch "$RAYWF_RECIPE_DIR/$RAYWF_STEP"; until [ -e "$RAYWF_RECIPE_DIR/$OTHER" ]; do sleep 0.01; done', resources: {gpu: 0.5, cpu: 0.1}, env: {OTHER: tasks.b}, timeout: 5m}
  b: {run: *meet, resources: {gpu: 0.5, cpu: 0.1}, env: {OTHER: tasks.a}, timeout: 5m}
Y
RAYWF_FAKE_GPUS=2x24GiB
run 0 raywf run halves.yaml
run 0 raywf logs last tasks.a
has 'on 0.'
run 0 raywf logs last tasks.b
has 'on 0.'

# --- doctor shows each; the double says what it cannot read ---
RAYWF_FAKE_GPUS=1x24GiB,1x80
run 0 raywf doctor
has '1 (stand-ins from RAYWF_FAKE_GPUS)'
has 'gpu 0     stand-in of 24 GiB, 24 GiB, 0 B used'
has "'1x80' is no COUNTxSIZE"
run 0 raywf doctor --format json
has '"gpu 0"'

# --- who asks for no GPU does not open the driver's library ---
unset RAYWF_FAKE_GPUS
grep -v -e share -e two -e one g.yaml >none.yaml
export LD_DEBUG=files
LD_DEBUG_OUTPUT=ld.none run 0 raywf plan none.yaml
LD_DEBUG_OUTPUT=ld.some raywf plan g.yaml >/dev/null 2>&1
unset LD_DEBUG
ok 'the library was looked for' grep -q nvidia-ml ld.some.*
ok 'and not for this' sh -c '! grep -q nvidia-ml ld.none.*'
finish
