#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# tune_quality.sh BUILDDIR: the samplers beside Optuna, same functions, budgets and seeds, then the
# time of a suggestion and of a report. OPTUNA_PYTHON names a Python with Optuna (pip install optuna); without
# it only raywf's side is shown. SEEDS (50) and TRIALS (100) may be set. Exit 1 when raywf is worse
# in the median of some function.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
seeds=${SEEDS:-50} trials=${TRIALS:-100}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
make -s -C "$build" tests/bench/tune_quality
"$build/tests/bench/tune_quality" best tpe "$seeds" "$trials" >"$work/raywf"
if [ -n "${OPTUNA_PYTHON:-}" ]; then
    "$OPTUNA_PYTHON" "$here/tune_quality.py" optuna "$seeds" "$trials" >"$work/optuna"
fi
rc=0
"${OPTUNA_PYTHON:-python3}" "$here/tune_quality.py" table "$work"/* || rc=1
for n in 100 1000 10000; do
    printf 'tpe, '
    "$build/tests/bench/tune_quality" suggest tpe $n
    printf 'tpe, multivariate: false, '
    "$build/tests/bench/tune_quality" suggest '{"type":"tpe","multivariate":false}' $n
done
for scheduler in asha '{"type":"asha","variant":"promote"}' hyperband median \
    '{"type":"pbt","perturbation_interval":5}'; do
    printf '%s: ' "$scheduler"
    "$build/tests/bench/tune_quality" report "$scheduler" 1000
done
exit $rc
