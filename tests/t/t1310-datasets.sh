#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Datasets from recipe to file: the shipped recipe, what runs again after a change, and
# what a user is told when something is wrong.
. "$abs_top_srcdir/tests/t/lib.sh"

cat >probe.yaml <<'Y'
recipe: raywf/v1
datasets: {probe: {read: {sql: "SELECT 1 AS one"}}}
Y
raywf run probe.yaml >/dev/null 2>probe.err
if grep -q 'need DuckDB' probe.err; then
    skip datasets 'DuckDB is not here'
    finish
fi

# --- the shipped recipe, smaller ---
cp -r "$abs_top_srcdir/recipes/datasets" "$abs_top_srcdir/recipes/datasets.yaml" .
chmod -R u+w datasets datasets.yaml
run 0 raywf run datasets.yaml --param rows=50000
says '5 succeeded'
ok 'the copy is there' test -s datasets/out/summary.csv
run 0 raywf run datasets.yaml --param rows=50000
says '4 cached'
# the program is a part of the key
sed -i 's/< 100 /< 101 /' datasets/band.awk
run 0 raywf run datasets.yaml --param rows=50000
says '2 cached'
echo '# no column is touched by a remark' >>datasets.yaml
run 0 raywf run datasets.yaml --param rows=50000
says '4 cached'

# --- a file's content is a part of the key, its name in a pattern too ---
mkdir data
printf 'id,price\n1,2.5\n2,3.5\n' >data/a.csv
cat >files.yaml <<'Y'
recipe: raywf/v1
datasets:
  all:
    read: {path: "data/*.csv"}
    steps: [{where: price > 3}]
    write: {format: csv, path: all.csv}
Y
run 0 raywf run files.yaml
ok 'one row' sh -c 'test "$(cat all.csv)" = "id,price
2,3.5"'
run 0 raywf run files.yaml
says '1 cached'
printf 'id,price\n3,4.5\n' >data/b.csv
run 0 raywf run files.yaml
says_not 'cached'
ok 'two rows, in order of names' sh -c 'test "$(tail -n 2 all.csv)" = "2,3.5
3,4.5"'

# --- the order of new columns is a result, so it is a part of the key ---
for order in 'a: id, b: price' 'b: price, a: id'; do
    cat >order.yaml <<Y
recipe: raywf/v1
datasets:
  d:
    read: {path: data/a.csv}
    steps: [{select: {$order}}]
    write: {format: csv, path: order.csv}
Y
    run 0 raywf run order.yaml
done
ok 'b before a' grep -qx 'id,price,b,a' order.csv

# --- what is wrong: which line, what, and the exit code ---
# wrong CODE LINE TEXT: bad.yaml, whose line LINE is to blame
wrong()
{
    run "$1" raywf run bad.yaml
    says "bad.yaml:$2:"
    says "$3"
}
recipe_with() { printf 'recipe: raywf/v1\ndatasets:\n  d:\n%s\n' "$1" >bad.yaml; }

recipe_with '    read: {path: nosuch.csv}'
wrong 6 4 'nosuch.csv'
recipe_with '    read: {path: data/a.csv}
    steps:
      - where: id > 0
      - where: prise > 1'
wrong 1 7 'Candidate bindings: "price"'
recipe_with '    read: {path: data/a.csv}
    steps:
      - where: id > 0; DROP TABLE x'
wrong 1 6 'one SQL expression'
recipe_with '    read: {path: data/a.csv}
    steps:
      - sql: COPY input TO evil'
wrong 1 6 'one SELECT'
recipe_with '    read: {path: data/a.csv}
    steps:
      - run: {argv: [./no-such-program]}'
wrong 1 6 'there is no program ./no-such-program'
recipe_with '    read: {path: data/a.csv}
    steps:
      - run: {run: "echo broken >&2; kill -KILL $$"}'
wrong 1 6 'killed by signal 9'
says 'it said: broken'
recipe_with '    read: {path: data/a.csv}
    expect:
      rows: 5
      columns: {price: {min: 3}}'
wrong 1 5 'rows: 5, but there are 2'
says 'columns.price.min: 3, but 1 row breaks it'
says '1    2.5    1'
recipe_with '    read: {path: data/a.csv, types: {price: DATE}}'
wrong 1 4 'Line: 2'
recipe_with '    read: {path: data/a.csv}
    split: {train: 0.8, test: 0.1}'
run 3 raywf check bad.yaml
says 'add up to 0.9'
says 'E0305'
recipe_with '    read: {url: "http://127.0.0.1:1/x.csv"}'
wrong 7 4 'http://127.0.0.1:1/x.csv'

finish
