#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Each allocation and each system call of `raywf check` and `raywf plan` fails in turn. Every
# time the program must end with a documented exit code and, unless it is 0, say why on
# stderr; what succeeds all the same must print what it prints undisturbed. No signal, and
# no temporary file left behind. At most $RAYWF_NTH of each, evenly spread and at random.
. "$(dirname "$0")/lib.sh" || exit 99
most=${RAYWF_NTH:-300}

cat >base.yaml <<'END'
recipe: raywf/v1
env: {MODE: fast}
defaults: {retry: 1, timeout: 10m}
END
cat >recipe.yaml <<'END'
recipe: raywf/v1
name: mid-sized
include: [base.yaml]
params:
  lr: {type: float, default: 0.1, min: 0, max: 1}
  sizes: {type: string, default: small, choices: [small, large]}
datasets:
  rows:
    read: {path: rows.csv}
    steps: [{where: "a > 1"}, {select: [a, b]}]
    split: {train: 0.8, test: 0.2, seed: 7}
tasks:
  prepare:
    run: "cat ${inputs.rows} > out.txt"
    inputs: {rows: rows.csv}
    outputs: {text: out.txt}
  train:
    run: "echo lr=${matrix.lr} seed=${matrix.seed} ${tasks.prepare.outputs.text} > model"
    matrix: {lr: [0.1, 0.2, 0.3], seed: [1, 2, 3, 4]}
    outputs: {model: model}
    when: "${params.sizes} == 'small'"
  join:
    argv: [cat, "${tasks.train.outputs.model}", "${datasets.rows.outputs.train}"]
    needs: [tasks.prepare]
    resources: {cpu: 2, memory: 64MiB}
checks:
  good: {value: "${tasks.join.metrics.acc}", op: ">=", than: 0.9}
END
printf 'a,b\n1,x\n2,y\n3,z\n' >rows.csv
sed 's/^  train:/  trian:/; s/lr: {type/lr: {typo/' recipe.yaml >bad.yaml

shim=$abs_top_builddir/failn.so
[ -f "$shim" ] || { skip "no failn.so (make check-fault makes it)"; finish; }

# raywf with the n-th call of a kind failing; out, err and count are its files.
with_failure()
{
    timeout -k 1 300 env RAYWF_FAIL_KIND="$1" RAYWF_FAIL_AT="$2" RAYWF_FAIL_COUNT="$dir/count" \
        LD_PRELOAD="$shim" "$RAYWF" "${@:3}" >out 2>err
}

# The numbers to try: all of them, or half evenly spread and half at random.
numbers()
{
    if [ "$1" -le "$most" ]; then seq "$1"; return; fi
    seq 1 $((2 * $1 / most)) "$1"
    for ((i = 0; i < most / 2; i++)); do
        echo $((1 + (RANDOM * 32768 + RANDOM) % $1))
    done
}

# What stderr says, or the envelope, must be a sentence, not nothing.
one_failure()
{
    local rc=0
    with_failure "$@" || rc=$?
    if ! is_documented $rc; then
        fail "$1 call $2 of '${*:3}': exit code $rc: $(tail -n 1 err)"
    elif [ $rc = 70 ]; then
        fail "$1 call $2 of '${*:3}': called an internal bug: $(tail -n 1 err)"
    elif [ $rc != "$want_rc" ] && ! grep -q '[a-z]' err && ! grep -q '"message":"[^"]' out; then
        fail "$1 call $2 of '${*:3}': exit code $rc without a word"
    elif [ $rc = "$want_rc" ] && ! cmp -s out want.out; then
        fail "$1 call $2 of '${*:3}': exit code $rc, but other output"
    fi
    [ $failed -lt $((before + 5)) ]
}

each_failure()
{
    local kind=$1 calls before=$failed n
    shift
    want_rc=0
    rm -f count
    with_failure "$kind" 0 "$@" || want_rc=$?
    cp out want.out
    calls=$(cat count 2>/dev/null)
    ls -A >files.before
    if [ "${calls:-0}" -lt 10 ]; then
        fail "$kind calls of '$*' were not counted (exit code $want_rc: $(tail -n 1 err))"
        return
    fi
    for n in $(numbers "$calls" | sort -nu); do
        one_failure "$kind" "$n" "$@" || { echo "... and so on"; break; }
    done
    ls -A >files.after
    diff files.before files.after || fail "'$*' left files behind"
    [ $failed != "$before" ] || pass "$kind: $calls calls of '$*', $(numbers "$calls" | wc -l) made to fail"
}

touch files.before files.after count
"$RAYWF" check recipe.yaml >/dev/null || fail "the recipe is not valid"
for kind in memory system; do
    each_failure $kind check recipe.yaml
    each_failure $kind check bad.yaml
    each_failure $kind check --format json recipe.yaml
    each_failure $kind plan recipe.yaml
    each_failure $kind plan --format json recipe.yaml
done
finish
