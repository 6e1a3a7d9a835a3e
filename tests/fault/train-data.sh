#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Data that is not what the recipe says: named with file, column and row; exit code 6. A dataset
# that changes between two attempts is trained on anew, not from a checkpoint of other rows.
. "$(dirname "$0")/lib.sh" || exit 99
. "$abs_top_srcdir/tests/fault/train.sh"

# refused NAME TEXT ARGUMENT...
refused()
{
    local name=$1 text=$2 rc=0
    shift 2
    "$RAYWF" run train.yaml --param workers=1 --param steps=5 "$@" >out 2>err || rc=$?
    check "$name: exit code ${code:-6}" test $rc = ${code:-6}
    check "$name: $text" grep -qF -- "$text" err
}

sed '1s/species/kind/' iris.csv >column.csv
refused "a column is missing" "dataset.train has no column 'species'" --set train.t.dataset.train=column.csv
(cat iris.csv; echo 1,2,3,4,tulip) >label.csv
refused "a label that training never saw" "row 151: the training split has no class 'tulip'" \
    --set train.t.dataset.val=label.csv
head -n 1 iris.csv >empty.csv
refused "no rows" "has no rows" --set train.t.dataset.train=empty.csv
refused "no file" "does not exist" --set train.t.dataset.train=gone.csv
(cat iris.csv; echo 5.1,3.5,1.4,0.2,) >null.csv
refused "a target without a value" "the target is null" --set train.t.dataset.train=null.csv
head -c 4096 /dev/urandom >bytes.parquet
code=1 refused "no Parquet" "bytes.parquet" --set train.t.dataset.train=bytes.parquet

# The dataset shrinks while raywf is dead: what was learned from the old rows is not used.
cp iris.csv data.csv
begin run train.yaml --param workers=1 --set train.t.dataset.train=data.csv
await_checkpoints 1
kill -KILL $pid
wait $pid 2>/dev/null
all_gone
awk "NR % 3 != 0" iris.csv >data.csv
"$RAYWF" resume >out 2>err
check "a dataset that shrank: it trains" test $? = 0
metrics >got
check "a dataset that shrank: from the first step" test "$(head -n 1 got | cut -d' ' -f1)" = 1
"$RAYWF" run train.yaml --param workers=1 --set train.t.dataset.train=data.csv >out 2>err
metrics >want
check "a dataset that shrank: as if it had always been so" cmp got want
# It shrinks while it is read by nobody any more: the prepared rows are what counts.
begin run train.yaml --param workers=1 --set train.t.dataset.train=data.csv
await_checkpoints 1
: >data.csv
wait $pid
check "a dataset that vanished while training: no harm" test $? = 0
same "a dataset that vanished while training: the same losses"
finish
