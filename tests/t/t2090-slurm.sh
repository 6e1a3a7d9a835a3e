#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A recipe in an allocation of a real Slurm (slurmctld and two slurmd on this machine):
# the job is submitted, its nodes join, work; one is drained by Slurm under the run, one is
# lost; the allocation is given back, after a run that is killed, too.
. "$abs_top_srcdir/tests/t/lib.sh"
. "$abs_top_srcdir/tests/t/slurm.sh"
unset RAYWF_ADDRESS RAYWF_CLUSTER_ADDRESS SLURM_JOB_ID
export RAYWF_CLUSTER=$tmp/c RAYWF_DIR=$tmp/state

# --- without Slurm ---
cat >slurm.yaml <<END
recipe: raywf/v1
cluster:
  slurm: {partition: debug, nodes: 2, time: 5m}
  interface: lo
tasks:
  first:
    matrix: {i: [1, 2]}
    resources: {placement: spread}
    run: |
      echo "first \$RAYWF_NODE" > where.txt
      echo \${matrix.i} >> $tmp/first
      until [ -e $tmp/both ]; do sleep 0.05; done
    outputs: {where: where.txt}
  gate:
    needs: [tasks.first]
    resources: {labels: {node: n1}}
    run: |
      touch $tmp/waits
      until [ -e $tmp/go ]; do sleep 0.05; done
  second:
    needs: [tasks.gate]
    matrix: {i: [1, 2, 3]}
    resources: {placement: spread}
    run: echo "second \${matrix.i} \$RAYWF_NODE" > where.txt
    outputs: {where: where.txt}
  all:
    run: cat \${tasks.first.outputs.where} \${tasks.second.outputs.where} > $tmp/all.txt
END
mkdir none
run 7 env PATH="$tmp/none" "$RAYWF" run slurm.yaml
says 'cluster.slurm: there is no sbatch here'
ok 'nothing is left' test -z "$(ls state/clusters)"

if ! slurm_start; then
    slurm_stop
    skip 'a real Slurm' "$slurm_why"
    finish
fi
trap 'touch both go; slurm_stop; rm -rf "$tmp"' EXIT

jobs_left() { squeue -h -t pending,running -o %i | wc -l; }
no_jobs() { [ "$(jobs_left)" = 0 ]; }
node_is()
{
    _at=$(cat state/clusters/*/head/address) &&
        "$RAYWF" nodes --address "$_at" --key state/clusters/*/head/key | grep -q "^$1 *$2 "
}

# --- a job that Slurm refuses ---
run 7 "$RAYWF" run slurm.yaml --set cluster.slurm.partition=none
says 'cluster.slurm: the job was refused'
says 'nvalid partition'

# --- end to end; a machine is drained under it ---
"$RAYWF" run slurm.yaml >run.out 2>&1 &
pid=$!
ok 'both nodes work' until_ok has_lines first 2
gives 'one job' 1 "$(jobs_left)"
touch both
ok 'the gate is reached' until_ok test -e waits
scontrol update nodename=n2 state=drain reason=test
ok 'n2 is drained here, too' until_ok node_is n2 drained
touch go
wait $pid
gives 'the run succeeds' 0 $?
gives 'first on both nodes' 2 "$(grep '^first' all.txt | sort -u | wc -l)"
gives 'then on one' 3 "$(grep -c '^second . n1$' all.txt)"
ok 'it has said what it waits for' grep -q 'slurm: job [0-9]* is RUNNING' run.out
ok 'the allocation is given back' until_ok no_jobs
ok 'nothing is left' test -z "$(ls state/clusters)"
scontrol update nodename=n2 state=resume 2>/dev/null

# --- a machine is lost ---
cat >lost.yaml <<END
recipe: raywf/v1
cluster:
  slurm: {nodes: 2, time: 5m}
  interface: lo
tasks:
  work:
    matrix: {i: [1, 2]}
    resources: {placement: spread}
    retry: {max: 2}
    run: |
      echo \${matrix.i}
      case \$RAYWF_NODE in n2) touch $tmp/on-n2; sleep 60 ;; esac
END
until_ok slurm_idle
"$RAYWF" run lost.yaml >lost.out 2>&1 &
pid=$!
ok 'n2 works' until_ok test -e on-n2
scontrol update nodename=n2 state=down reason=test
wait $pid
gives 'the run succeeds' 0 $?
ok 'it was lost' grep -q 'node n2' lost.out
ok 'the allocation is given back' until_ok no_jobs
scontrol update nodename=n2 state=resume 2>/dev/null

# --- a run that is killed: the next command gives its allocation back ---
rm -f on-n2
until_ok slurm_idle
"$RAYWF" run lost.yaml --no-cache >killed.out 2>&1 &
pid=$!
ok 'it runs' until_ok test -e on-n2
kill -9 $pid
wait $pid 2>/dev/null
gives 'its job is still there' 1 "$(jobs_left)"
run 0 "$RAYWF" shutdown
ok 'it is given back' until_ok no_jobs
ok 'nothing is left' test -z "$(ls state/clusters)"

# --- within an allocation that is there: it is used, and not given back ---
cat >inside.yaml <<END
recipe: raywf/v1
cluster: {slurm: {nodes: 2}, interface: lo}
tasks:
  a:
    matrix: {i: [1, 2]}
    resources: {placement: spread}
    run: |
      echo "\${matrix.i} \$RAYWF_NODE" >> $tmp/inside
      until [ "\$(wc -l <$tmp/inside)" = 2 ]; do sleep 0.05; done
END
run 0 salloc --quiet -N2 "$RAYWF" run inside.yaml
gives 'both of its nodes work' 'n1 n2' "$(cut -d' ' -f2 inside | sort | paste -sd' ')"
ok 'no job of ours' grep -q 'job [0-9]* is RUNNING' .err
ok 'nothing is left' test -z "$(ls state/clusters)"
slurm_stop
finish
