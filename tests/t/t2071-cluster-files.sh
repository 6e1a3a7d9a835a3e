#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A run on nodes that do not see its files: each node has a mount namespace in which the
# work folder is empty. The recipe's folder and the outputs of earlier steps go there, what
# steps make and print comes back.
. "$abs_top_srcdir/tests/t/lib.sh"
unset RAYWF_ADDRESS RAYWF_CLUSTER_ADDRESS RAYWF_CLUSTER_KEY
export RAYWF_CLUSTER=$tmp/c
if ! unshare -m true 2>/dev/null; then
    skip 'files of nodes apart' 'mount namespaces are not permitted here'
    finish
fi
trap 'raywf shutdown -q --timeout 20s; rm -rf "$tmp"' EXIT
mkdir w
run 0 raywf start --head --no-node --port 0 --format json
head=$(json head <.out)
[ -n "$head" ] || finish
for n in n1 n2; do
    ok "$n starts" unshare -m sh -c "mount -t tmpfs none '$tmp/w' && exec raywf start \
        --address $head --name $n --cpu 2 --label zone=z${n#n} -q"
done
cd w || exit 99
log=.raywf/runs/last/events.ndjson

printf 'a,b\n1,2\n3,4\n-1,0\n' >in.csv
# .out and .err are this test's own and change while the folder is sent
printf 'junk*\n.out\n.err\n' >.raywfignore
printf 'not for others\n' >junk1
printf 'echo "prog $1 in $PWD"; cat "$RAYWF_RECIPE_DIR/in.csv"; ls "$RAYWF_RECIPE_DIR"\n' >prog.sh
cat >apart.yaml <<'Y'
recipe: raywf/v1
name: apart
datasets:
  rows:
    read: {path: in.csv}
    steps: [{where: "a > 0"}]
tasks:
  first:
    matrix: {i: [1, 2]}
    run: |
      sh ${recipe.dir}/prog.sh ${matrix.i}
      mkdir sub; echo "${matrix.i} $RAYWF_NODE" >sub/o; echo scratch >left
      test ! -e "$RAYWF_RECIPE_DIR/.raywf"
      echo '{"i":${matrix.i}}' >&$RAYWF_REPORT
    outputs: {o: sub/o, d: sub}
    resources: {labels: {zone: "z${matrix.i}"}}
  second:
    needs: [tasks.first]
    run: |
      wc -c <${datasets.rows.outputs.data}
      cat ${tasks.named.outputs.o} >o
    outputs: {o: o}
    resources: {labels: {zone: z2}}
  named:
    run: echo named on $RAYWF_NODE >n; echo said; echo wrong >&2
    outputs: {o: n}
    resources: {labels: {zone: z1}}
  last:
    run: cat ${tasks.second.outputs.o} >o; echo "and $RAYWF_NODE" >>o
    outputs: {o: o}
    resources: {labels: {zone: z1}}
Y
# What is written into the folder meanwhile is waited for: until the run is there, and a moment
# longer. (Without a process for each pause: it is to be over soon on a slow machine, too.)
mkfifo "$tmp/never"
(
    exec 7<>"$tmp/never"
    for ((i = 0; i < 20; i += 1)); do
        echo $i >>growing
        read -rt 0.01 -u 7
        [ -e $log ] || i=0
    done
) &
steps=6
if ! raywf doctor --format json | grep -q '"name":"duckdb","level":"ok"'; then
    skip 'a dataset' 'DuckDB is not here'
    sed -i '/^datasets:/,/where:/d; /datasets.rows/d' apart.yaml
    steps=5
fi
run 0 raywf run apart.yaml --address "$head"
says "$steps succeeded"
ok 'its output came back' grep -q '^1 n1$' .raywf/cache/steps/*/*/sub/o
ok 'through both nodes' grep -q '^and n1$' .raywf/cache/steps/*/*/o
run 0 raywf logs last 'tasks.first[i=2]'
has 'prog 2 in '
has '3,4'
hasnt 'junk1'
run 0 raywf logs last tasks.named
has 'said'
has 'wrong'
ok 'a metric came' grep -q '"metrics":{"i":1}' $log
ok 'the record is here' test -s .raywf/runs/last/steps/tasks.named/exit.json
run 0 raywf run apart.yaml --address "$head"
says "$steps cached"

# --- what reads much runs where it is, and it is not sent back there ---
cat >near.yaml <<'Y'
recipe: raywf/v1
name: near
tasks:
  big1:
    run: mkdir d; head -c 3000000 /dev/zero >big; cp big d/f
    outputs: {d: d, big: big}
    resources: {labels: {zone: z1}}
  big2:
    run: mkdir d; head -c 3000000 /dev/urandom >big; cp big d/f
    outputs: {d: d, big: big}
    resources: {labels: {zone: z2}}
  one:
    run: echo ran on $RAYWF_NODE, $(stat -Lc %h:%s ${tasks.big1.outputs.big})
  two:
    run: echo ran on $RAYWF_NODE, $(stat -Lc %h:%s ${tasks.big2.outputs.big})
    needs: [tasks.one]
  all:
    run: echo ran on $RAYWF_NODE, $(wc -c <${tasks.big2.outputs.d}/f)
    needs: [tasks.two]
  label:
    run: echo ran on $RAYWF_NODE, $(stat -Lc %h::%s ${tasks.big2.outputs.big})
    needs: [tasks.all]
    resources: {labels: {zone: z1}}
Y
run 0 raywf run near.yaml --address "$head"
for step in 'one n1, 2:' 'two n2, 2:' 'all n2, ' 'label n1, 1::'; do
    run 0 raywf logs last "tasks.${step%% *}"
    has "ran on ${step#* }3000000"
done

# --- what fails says where ---
printf 'recipe: raywf/v1\nname: bad\ntasks: {a: {run: "cat /no/such/data", retry: {max: 0}}}\n' >bad.yaml
run 1 raywf run bad.yaml --address "$head"
says 'on node n'
says '/no/such/data'
printf 'recipe: raywf/v1\nname: none\ntasks: {a: {run: "true", outputs: {o: x/y}}}\n' >none.yaml
run 1 raywf run none.yaml --address "$head"
says "there is no 'x/y'"

# --- a changed recipe folder goes there anew ---
echo 'echo changed' >prog.sh
run 0 raywf run apart.yaml --address "$head"
run 0 raywf logs last 'tasks.first[i=1]'
has 'changed'

# --- a trial that is tried again goes on from its checkpoint, on another node ---
cat >tune.yaml <<'Y'
recipe: raywf/v1
name: tune
tasks:
  climb:
    run: |
      at=$(cat "$RAYWF_CHECKPOINT_DIR/at" 2>/dev/null || echo 0)
      echo $((at + 1)) >"$RAYWF_CHECKPOINT_DIR/at"
      test $at -gt 0
      printf '{"step": 1, "height": %s}\n' $at >&$RAYWF_REPORT
      echo ${trial.x} >o
    outputs: {o: o}
    retry: {max: 2, backoff: 10ms}
    resources: {placement: spread}
tune:
  climb:
    target: tasks.climb
    metric: height
    mode: max
    space: {x: {type: uniform, min: 0, max: 1}}
    algorithm: {type: random, seed: 1}
    num_samples: 1
Y
run 0 raywf run tune.yaml --address "$head"
ok 'it had what the first attempt left' grep -q '"height":1[.0]*}' $log

# --- a plugin that one node builds, and functions and actors on others ---
if command -v cc >/dev/null; then
    cp "$abs_top_srcdir/recipes/native/words.c" .
    cat >native.yaml <<'Y'
recipe: raywf/v1
name: native
actors:
  lexicon:
    plugin: ${tasks.build.outputs.plugin}
    class: lexicon
    args: {words: red green blue}
    resources: {cpu: 0.1}
tasks:
  build:
    run: cc -O2 -D_GNU_SOURCE -shared -fPIC -I "$RAYWF_INCLUDE" -o words.so ${inputs.source}
    inputs: {source: words.c}
    outputs: {plugin: words.so}
    resources: {labels: {zone: z1}}
  measure:
    foreach: [a tiny text, another]
    native: {plugin: "${tasks.build.outputs.plugin}", function: measure, args: {text: "${item}"}}
    resources: {labels: {zone: z2}}
  known:
    native: {actor: "${actors.lexicon}", method: knows, args: {word: red}}
Y
    run 0 raywf run native.yaml --address "$head"
    says '5 succeeded'
    ok 'its result is here' grep -q '"words": *3' .raywf/cache/steps/*/*/result.json
else
    skip 'native steps' 'no C compiler (cc)'
fi

cd "$tmp" || exit 99
run 0 raywf shutdown
finish
