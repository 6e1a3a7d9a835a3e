#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A recipe, and a gang, on hosts that share no file system with the run's: nodes are killed
# and cut off, the head and the run are killed, while steps go on. Each step has one result,
# and the right one; what was said to be done stays done; a gang is never half.
. "${abs_top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}/tests/net/net.sh"
net_enter "$0" "$@"
. "$abs_top_srcdir/tests/fault/lib.sh"
. "$abs_top_srcdir/tests/net/cluster.sh"
steps=${RAYWF_STEPS:-16}

check 'hosts' net_up 5
check 'a head' head_start || net_finish
work=$net/h2/work
mkdir -p "$work"
# What steps write down for the checker all see; the run's folder only h2 has.
ran=$net/ran
: >"$ran"
for h in h3 h4 h5; do
    net_private $h "$work"
    check "node $h" node_start $h
done
check 'all have joined' until_ok eval 'for h in h3 h4 h5; do has_node $h alive h3 || exit; done'

# All parts, then one that reads what each has made. Steps of a host do not end while there is
# hold.HOST, and the last part not while there is hold.last: what is broken is broken under them.
cat >"$work/many.yaml" <<END
recipe: raywf/v1
name: many
tasks:
$(for ((i = 1; i <= steps; i++)); do cat <<PART
  part$i:
    run: |
      n=\$(od -An -N8 -tx1 /dev/urandom | tr -d ' ')
      echo "ran $i \$n \$RAYWF_NODE" >>$ran
      sleep 0.4
      while test -e $net/hold.\$RAYWF_NODE$([ $i -lt $steps ] || echo " -o -e $net/hold.last"); do sleep 0.1; done
      echo "$i \$n \$RAYWF_NODE" >o
    outputs: {o: o}
    retry: {max: 5, backoff: 100ms}
PART
done)
  all:
    run: cat $(for ((i = 1; i <= steps; i++)); do printf '${tasks.part%d.outputs.o} ' "$i"; done)>o
    outputs: {o: o}
END

export RAYWF_CLUSTER_KEY=$net/h2/key
cp "$(state h1)/head/key" "$RAYWF_CLUSTER_KEY"
run_start()
{
    [ "$1" = resume ] || rm -f "$work/.raywf/runs/last" # what is there then is of this run
    (cd "$work" && net_exec h2 sh -c 'cd work && exec "$@"' - "$RAYWF" "$@" >"$net/run.out" 2>&1) &
    run_pid=$!
}
started() { [ "$(wc -l <"$ran")" -ge "$1" ]; }
runs_on() { grep -q " $1\$" "$ran"; }
some_are_done() { [ "$(grep -c '"type":"step.succeeded"' "$log")" -ge "$1" ]; }
hold() { touch "${@/#/$net/hold.}"; }
let_go() { rm -f "${@/#/$net/hold.}"; }
log=$work/.raywf/runs/last/events.ndjson
# What the log of the run, and what ran, say to the checker.
history_of_run()
{
    # What was kept and not said yet when the run was killed is found in the cache.
    sed -nE 's/.*"type":"step.(succeeded|cached)".*"step":"tasks.part([0-9]*)".*/\2/p' "$log" >"$net/done"
    for ((i = 1; i <= steps; i++)); do echo "submit $i"; echo "accepted $i"; done
    # A step that succeeds twice has two results.
    while read -r i; do echo "result $i $(awk -v i="$i" '$1 == i { print $2, $3 }' "$1")"; done <"$net/done"
    echo end
}
holds()
{
    local key
    key=$(grep '"step.succeeded"' "$log" | sed -n 's/.*"step":"tasks.all".*"key":"\([0-9a-f]*\)".*/\1/p')
    # shellcheck disable=SC2012 # the newest of that key
    history_of_run "$(ls -t "$work"/.raywf/cache/steps/*/"$key".*/o | head -n 1)" >"$net/run.history"
    "$net_tools/history_check" "$net/run.history" "$ran"
}

hold h4 h5 last
run_start run many.yaml --address "$head" --progress plain
check 'steps run, also on h4' until_ok runs_on h4
check 'and on h5' until_ok runs_on h5
check 'a node is killed' node_kill h5
let_go h5
check 'others go on' until_ok started 8
net_cut h4
check 'another is cut off: the rest goes on' until_ok started 12
net_heal
let_go h4
head_kill
check 'the head comes back' head_start
let_go last
check 'the run succeeds' wait $run_pid || tail -n 20 "$net/run.out"
check 'the history holds' holds
check 'a node that was lost is known as the cause' grep -q '"cause": *"node_lost"' "$log"
check 'the node starts again' until_ok node_start h5

# --- the run itself is killed, and resumed ---
: >"$ran"
sed 's/sleep 0.4/sleep 0.5/' "$work/many.yaml" >"$work/again.yaml"
hold last
run_start run again.yaml --address "$head" --progress plain
check 'again: steps run' until_ok started 6
check 'some are done' until_ok some_are_done 3
kill_pid "$run_pid"
let_go last
id=$(basename "$(readlink "$work/.raywf/runs/last")")
run_start resume "$id" --progress plain
check 'the run is resumed and succeeds' wait $run_pid || tail -n 20 "$net/run.out"
check 'its history holds' holds

# --- a gang ---
if ! command -v mpirun >/dev/null; then
    skip 'gangs: there is no mpirun (Debian: openmpi-bin)'
    net_finish
fi
cat >"$work/gang.yaml" <<END
recipe: raywf/v1
name: gang
tasks:
  g:
    gang:
      ranks: 4
      per_node: 2
      run: |
        echo "rank g \$RAYWF_ATTEMPT \$RANK \$WORLD_SIZE begin \$RAYWF_NODE" >>$ran
        while ! test -e $net/go.\$RAYWF_ATTEMPT; do sleep 0.1; done
        echo "rank g \$RAYWF_ATTEMPT \$RANK \$WORLD_SIZE end" >>$ran
    resources: {cpu: 1}
    retry: {max: 3, backoff: 100ms}
END
: >"$ran"
check 'three nodes' until_ok eval 'for h in h3 h4 h5; do has_node $h alive h3 || exit; done'
run_start run gang.yaml --address "$head" --progress plain
check 'four ranks begin' until_ok started 4 || tail -n 20 "$net/run.out"
victim=$(awk '/begin h[45]/ { print $7; exit }' "$ran")
check 'the host of one is lost' node_kill "${victim:-h5}"
check 'all begin anew, elsewhere' until_ok started 8 || tail -n 20 "$net/run.out"
last=$(awk '{ a = $3 } END { print a }' "$ran")
: >"$net/go.$last"
check 'the gang succeeds' wait $run_pid || tail -n 20 "$net/run.out"
grep -q '"type": *"step.succeeded"' "$log" && echo "gang g $last" >"$net/gang.history"
check 'it was never half' "$net_tools/history_check" "$net/gang.history" "$ran"
net_finish
