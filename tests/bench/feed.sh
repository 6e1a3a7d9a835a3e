#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# From a dataset to training: a CSV of 10 million rows (6 columns) and 4 million texts are
# prepared, then batches are taken: tests/bench/feed.sh [ROWS] [TEXTS] [CORES]
. "$(dirname "$0")/lib.sh"

rows=${1:-10000000} texts=${2:-4000000} cores=${3:-$(nproc)}
build=$(dirname "$RAYWF")
make -s -C "$build" tests/bench/duck_alone tests/bench/feed
alone=$build/tests/bench/duck_alone feed=$build/tests/bench/feed

"$alone" "COPY (SELECT range AS a, round((hash(range) % 1000000) / 1000.0, 3) AS b,
    sin(range) AS c, (hash(range, 1) % 1000)::INTEGER AS d, 'k' || hash(range, 2) % 20 AS e,
    range % 3 AS y FROM range($rows)) TO 'rows.csv' (HEADER true)"
echo "rows.csv: $rows rows, $(($(stat -c %s rows.csv) / 1000000)) MB"
echo '{"dataset": {"train": "rows.csv"}, "model": {"type": "mlp", "target": "y"}}' >rows.json
"$feed" prepare rows rows.json "$cores"
echo "  written: $(du -sm rows | cut -f 1) MB"

"$alone" "COPY (SELECT string_agg('word' || (hash(t.range, w.range) %
    (10 + (hash(w.range, t.range) % 50) * (hash(w.range, t.range) % 50)))::VARCHAR, ' ') AS text
    FROM range($texts) t, range(40) w GROUP BY t.range) TO 'texts.parquet'"
cat >texts.json <<'J'
{"dataset": {"train": "texts.parquet"}, "model": {"type": "transformer"},
 "tokenizer": {"type": "bpe", "vocab_size": 8192}}
J
"$feed" prepare texts texts.json "$cores"

echo "batches of 64 x 1024 tokens:"
"$feed" batches texts 64 64 1024
echo "batches of 64 x $(awk -F'[:,]' '/"features"/ { print $2 }' rows/data.json) features:"
"$feed" batches rows 64 64 1
