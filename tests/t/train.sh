# SPDX-License-Identifier: Apache-2.0
# What the tests of training share, after lib.sh.
if ! raywf doctor --format json | grep -q '"name":"duckdb","level":"ok"'; then
    skip "training" "DuckDB is not here"
    finish
fi
cp "$abs_top_srcdir/recipes/quickstart/iris.csv" .
log=.raywf/runs/last/events.ndjson

# The path of an output of the last run: output STEP NAME
output()
{
    sed -n 's/.*"type": *"step\.\(succeeded\|cached\)".*"step": *"'"$1"'".*"'"$2"'": *{"path": *"\([^"]*\)".*/\2/p' "$log" |
        tail -n 1
}
# "step loss" of metrics.jsonl
losses() { sed -n 's/.*"step": *\([0-9]*\),.*"loss": *\([0-9.e-]*\).*/\1 \2/p' "$1"; }
# near A B PART: the losses of two files differ by less than that part of them.
near()
{
    [ "$(wc -l <"$1")" -gt 1 ] && [ "$(wc -l <"$1")" -eq "$(wc -l <"$2")" ] &&
        paste "$1" "$2" | awk -v part="$3" '{ d = $2 - $4; if (d < 0) d = -d
            if ($1 != $3 || d > part * $4) { print "step " $1 ": " $2 " and " $4; bad = 1 } }
            END { exit bad }'
}
# The process of a rank of this test: rank_pid NUMBER; raywf-rank itself, not what holds it. Few
# processes are looked into, for the rank may soon be done.
rank_pid()
{
    for pid in $(grep -lasz "raywf-rank" /proc/[0-9]*/cmdline | tr -dc '0-9\n'); do
        tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q "raywf-rank train $tmp/" &&
            tr '\0' '\n' <"/proc/$pid/environ" | grep -qx "RANK=$1" && echo "$pid"
    done 2>/dev/null | head -n 1
}
has_checkpoint() { ls .raywf/runs/last/train/*/checkpoints/step-*/manifest.json; }
no_ranks() { ! pgrep -f "raywf-rank [a-z]* $tmp/"; }
