#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A CSV of 10 million rows, filtered, mapped and written as Parquet, by `raywf run` and by
# the same SQL in DuckDB alone, in turns: tests/bench/dataset.sh [ROWS]
. "$(dirname "$0")/lib.sh"

rows=${1:-10000000}
alone=${DUCK_ALONE:-$(dirname "$RAYWF")/tests/bench/duck_alone}
if [ ! -x "$alone" ]; then
    make -s -C "$(dirname "$RAYWF")" tests/bench/duck_alone
fi

"$alone" "COPY (SELECT range AS id, round((hash(range) % 1000000) / 1000.0, 3) AS price,
    'name-' || (hash(range) % 100000) AS name, range % 3 = 0 AS flag FROM range($rows))
    TO 'in.csv' (HEADER true)"
echo "in.csv: $rows rows, $(($(stat -c %s in.csv) / 1000000)) MB"

cat >big.yaml <<'Y'
recipe: raywf/v1
name: big
datasets:
  big:
    cache: false
    read: {path: in.csv}
    steps:
      - where: flag AND price > 100
      - select: [id, "price * 1.2 AS gross", "upper(name) AS name"]
Y
sql="COPY (SELECT id, price * 1.2 AS gross, upper(name) AS name FROM read_csv('in.csv')
    WHERE flag AND price > 100) TO 'alone.parquet' (FORMAT parquet, COMPRESSION snappy)"

# Once untimed: the file is in memory from now on, and its digest is known.
ms "$alone" "$sql" >/dev/null
sleep 3
ms "$RAYWF" run big.yaml >/dev/null
: >raywf.ms
: >alone.ms
for ((i = 0; i < 5; i++)); do
    ms "$RAYWF" run big.yaml >>raywf.ms
    ms "$alone" "$sql" >>alone.ms
done
a=$(median <raywf.ms) b=$(median <alone.ms)
echo "raywf run: median $a ms"
echo "DuckDB alone: median $b ms"
echo "ratio: $(awk -v a="$a" -v b="$b" 'BEGIN { printf "%.3f", a / b }') (bar: 1.1)"
