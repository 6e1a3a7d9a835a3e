#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# How much later the ranks of a gang start than those of bare mpirun, from the command to the
# first line of the last rank: tests/bench/gang.sh [TIMES]. On this machine, and over two nodes
# of a cluster (both here), against mpirun that starts its daemon of the second one by itself.
# They take turns, so that what else the machine does hits all of them.
. "$(dirname "$0")/lib.sh"
times=${1:-11}
unset RAYWF_CLUSTER RAYWF_ADDRESS
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
trap 'for d in a b; do "$RAYWF" shutdown -q --dir "$dir/$d" || :; done; rm -rf "$dir"' EXIT

cat >rank.sh <<'S'
#!/bin/bash
echo "$EPOCHREALTIME" >"$MARKS/$OMPI_COMM_WORLD_RANK"
S
cat >agent.sh <<'S'
#!/bin/sh
host=$1
shift
exec env TMPDIR="$MARKS" sh -c "$*"
S
chmod +x rank.sh agent.sh
export MARKS=$dir/marks
mkdir marks
cat >gang.yaml <<Y
recipe: raywf/v1
name: gang
tasks:
  g:
    gang: {ranks: 4, per_node: 2, command: [$dir/rank.sh]}
    resources: {cpu: 0.5}
    env: {MARKS: $dir/marks}
    cache: false
Y
printf 'localhost slots=2\nother slots=2\n' >hosts

"$RAYWF" start --head --port 0 --dir "$dir/a" --name a --cpu 1 >a.out
address=$(sed -n 's/^head *//p' a.out)
"$RAYWF" start --address "$address" --key "$dir/a/head/key" --dir "$dir/b" --name b --cpu 1 >/dev/null

# Milliseconds until the last rank has begun: started COMMAND...
started()
{
    rm -f marks/[0-9]*
    local from=$EPOCHREALTIME
    "$@" >/dev/null 2>stderr || { tail -n 5 stderr >&2; exit 1; }
    [ "$(ls marks/[0-9]* | wc -l)" = 4 ] || { echo "not all of 4 ranks began: $*" >&2; exit 1; }
    cat marks/[0-9]* | sort -n | tail -n 1 | awk -v a="$from" '{ printf "%.3f\n", ($1 - a) * 1000 }'
}
bare() { started mpirun -n 4 --oversubscribe --bind-to none "$dir/rank.sh"; }
bare_far()
{
    started mpirun -n 4 --hostfile hosts --bind-to none --mca plm rsh --leave-session-attached \
        --mca plm_rsh_agent "$dir/agent.sh" --mca oob_tcp_if_include lo \
        --mca if_base_do_not_resolve 1 "$dir/rank.sh"
}
ours() { started "$RAYWF" run gang.yaml; }
ours_far() { started "$RAYWF" run gang.yaml --address "$address" --key "$dir/a/head/key"; }

for ((i = 0; i < times; i++)); do
    for way in bare ours bare_far ours_far; do $way >>"$way"; done
done
# report BARE OURS WHERE
report()
{
    awk -v a="$(median <"$1")" -v b="$(median <"$2")" -v where="$3" 'BEGIN {
        printf "a gang of 4 ranks %s: %.0f ms; bare mpirun: %.0f ms; later: %.0f ms (bar: 300), %.1f times\n",
            where, b, a, b - a, b / a }'
}
report bare ours 'on this machine'
report bare_far ours_far 'on two nodes'
