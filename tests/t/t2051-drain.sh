#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Nodes are emptied under a run: what runs there ends by itself, or is ended in time and
# tried elsewhere; nothing new goes there; actors move; a node that is told to end lets its
# tasks end.
. "$abs_top_srcdir/tests/t/lib.sh"
driver=$abs_top_builddir/tests/t/cluster_driver
plugin=$abs_top_builddir/tests/t/cluster_plugin.so
unset RAYWF_ADDRESS RAYWF_CLUSTER_ADDRESS
export RAYWF_CLUSTER=$tmp/c RAYWF_BIN=$RAYWF
trap 'touch go go2; raywf shutdown -q --timeout 20s; rm -rf "$tmp"' EXIT

at()
{
    _node=$1
    shift
    printf '%s\n' "$@" | RAYWF_ADDRESS=$RAYWF_CLUSTER/nodes/$_node/node "$driver" "$plugin" 2>&1 |
        paste -sd' '
}
node_is() { raywf nodes --dir c | grep -q "^$1 *$2 "; }

run 0 raywf up --test-size=2 --cpu 2 --memory 1GiB --store 16MiB --format json
head=$(json head <.out)
export RAYWF_CLUSTER_ADDRESS=$head

# --- what runs there may end ---
cat >drain.yaml <<END
recipe: raywf/v1
tasks:
  long:
    resources: {labels: {node: local-1}}
    run: |
      touch $tmp/runs
      until [ -e $tmp/go ]; do sleep 0.05; done
  later:
    matrix: {i: [1, 2, 3, 4]}
    resources: {placement: spread}
    run: |
      until [ -e $tmp/drains ]; do sleep 0.05; done
      echo "\${matrix.i} \$RAYWF_NODE" >> $tmp/where
END
# The first two of `later` may be on local-1 already.
raywf run drain.yaml --only tasks.long >run.out 2>&1 &
pid=$!
ok 'the task runs' until_ok test -e runs
run 0 raywf nodes drain local-1 --timeout 10m
has 'local-1 drains'
ok 'it is not empty' node_is local-1 draining
touch drains
run 0 raywf run drain.yaml --only tasks.later
gives 'nothing new goes there' 4 "$(grep -c 'local-2$' where)"
ok 'what runs there is left alone' node_is local-1 draining
touch go
wait $pid
gives 'it ends well' 0 $?
run 0 raywf nodes drain local-1 --wait
has 'local-1 is empty'
ok 'it is empty' node_is local-1 drained
run 0 raywf nodes undrain local-1

# --- what does not end in time is tried elsewhere ---
cat >late.yaml <<END
recipe: raywf/v1
tasks:
  work:
    retry: {max: 1}
    run: |
      case \$RAYWF_NODE in local-1) touch $tmp/there; sleep 100 ;; esac
      echo "done on \$RAYWF_NODE" > $tmp/done
END
run 0 raywf nodes drain local-2
raywf run late.yaml >late.out 2>&1 &
pid=$!
ok 'the task runs on local-1' until_ok test -e there
run 0 raywf nodes undrain local-2
run 0 raywf nodes drain local-1 --timeout 500ms --wait
wait $pid
gives 'the run succeeds' 0 $?
gives 'on the other node' 'done on local-2' "$(cat done)"
ok 'it says why' grep -q 'node local-1 was drained' late.out
run 0 raywf nodes undrain local-1

# --- an actor moves, and loses no restart ---
gives 'an actor' 'made 1 2' "$(at local-1 'make keeper' 'call keeper next' 'call keeper next')"
run 0 raywf nodes drain local-1 --wait
ok 'it is elsewhere' until_ok eval 'raywf actors | grep -q "alive.*local-2"'
run 0 raywf nodes undrain local-1
gives 'it is new there' 1 "$(at local-2 'call keeper next')"
at local-2 'end keeper' >/dev/null

# --- a node that is told to end lets its tasks end ---
run 0 raywf shutdown --name local-2
run 0 raywf start --address "$head" --name third --cpu 1 --store 16MiB --drain 10m -q
cat >end.yaml <<END
recipe: raywf/v1
tasks:
  short:
    resources: {labels: {node: third}}
    run: |
      touch $tmp/short
      until [ -e $tmp/go2 ]; do sleep 0.05; done
      touch $tmp/ended
END
raywf run end.yaml >end.out 2>&1 &
pid=$!
ok 'the task runs' until_ok test -e short
raywf shutdown --name third --timeout 10m >shutdown.out 2>&1 &
ends=$!
ok 'the node is told' until_ok node_is third draining
touch go2
wait $ends
gives 'it has ended' 0 $?
ok 'its task has ended by itself' test -e ended
wait $pid
gives 'the run succeeds' 0 $?
left() { raywf nodes --dir c -q | cut -d' ' -f1 | paste -sd' '; }
ok 'the node is not away, it is gone' until_ok eval '[ "$(left)" = local-1 ]'
run 0 raywf shutdown
finish
