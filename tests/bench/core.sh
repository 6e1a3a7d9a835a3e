#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Tasks, actors and objects: what this machine allows, raywf, and Ray, one after the other
# in the same run; then one table with ratios and bars, and metg.svg.
#
#   make tests/bench/core tests/bench/core_floor tests/bench/core_plugin.so
#   RAY_PYTHON=/path/to/venv/bin/python tests/bench/core.sh BUILD_DIR [RESULT_DIR]
#
# Ray comes from PyPI, outside of this folder:
#   python3 -m venv ~/venv-ray && ~/venv-ray/bin/pip install ray numpy
# Without RAY_PYTHON its columns stay empty. RESULT_DIR (default: ./core-results) gets
# the figures as JSON; RAY_JSON=FILE takes Ray's from an earlier run instead, and says so.
# CPUS (default 2) is what both may use; SECONDS_EACH (default 2) is for each rate; of tasks
# that wait in a queue Ray gets RAY_QUEUED (default 100000), raywf a million.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { sed -n '3,16s/^# \{0,1\}//p' "$0"; exit 2; }
build=$(cd "$1" && pwd)
out=${2:-core-results}
cpus=${CPUS:-2}
seconds=${SECONDS_EACH:-2}
for program in core core_floor core_plugin.so; do
    [ -e "$build/tests/bench/$program" ] || {
        echo "no $build/tests/bench/$program: make -C $build tests/bench/$program" >&2
        exit 1
    }
done
mkdir -p "$out"
rm -f "$out"/*.json
# The client starts the runtime by this name.
export RAYWF_BIN=$build/raywf
core()
{
    local name=$1
    shift
    "$build/tests/bench/core" --plugin "$build/tests/bench/core_plugin.so" --cpus "$cpus" \
        --seconds "$seconds" "$@" >"$out/$name.json"
}

echo "== what the machine allows" >&2
"$build/tests/bench/core_floor" >"$out/floor.json"
echo "== raywf, blocking at once" >&2
RAYWF_SPIN=0 core blocking --only tasks_sync,actor_sync
echo "== raywf, spinning long" >&2
RAYWF_SPIN=1000 core spinning --only tasks_sync,actor_sync
echo "== raywf" >&2
core raywf
if [ -n "${RAY_JSON:-}" ]; then
    cp "$RAY_JSON" "$out/ray.json"
    echo "== Ray's figures are of an earlier run: $RAY_JSON" >&2
elif [ -n "${RAY_PYTHON:-}" ]; then
    echo "== Ray" >&2
    "$RAY_PYTHON" "$here/core_ray.py" --cpus "$cpus" --seconds "$seconds" \
        --queued "${RAY_QUEUED:-100000}" >"$out/ray.json"
else
    echo "== no Ray: RAY_PYTHON names no python (see the head of $0)" >&2
fi
python3 "$here/metg.py" "$out" >"$out/metg.svg"
python3 "$here/core_table.py" "$out"
