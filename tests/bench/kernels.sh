#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The CPU's kernels beside the FMA peak, OpenBLAS and PyTorch (PYTHON=python with torch), in
# one run, pinned to one core: kernels.sh [build folder]. Then with every core, and two of
# them at a time with a core each.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:-$top/build}" && pwd)
make -C "$build" -s tests/bench/kernels
kernels=$build/tests/bench/kernels
# What an environment says of the core's type holds for one machine only.
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
cores=$(nproc)
last=$((cores - 1))

echo "== one core =="
"$kernels" 1 $last
if [ -n "${PYTHON:-}" ]; then
    taskset -c $last "$PYTHON" "$top/tests/bench/kernels_torch.py" 1
fi
for variant in avx2 plain; do
    RAYWF_CPU=$variant "$kernels" 1 $last | sed -n 1,3p
done
[ "$cores" -gt 1 ] || exit 0
echo "== $cores threads =="
"$kernels" "$cores"
echo "== two processes of one thread =="
"$kernels" 1 0 >/dev/null &
"$kernels" 1 1
wait
