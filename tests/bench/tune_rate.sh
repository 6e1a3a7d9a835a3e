#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Trials a second of searches over something that does nothing, and what reports cost; with a
# Python that has ray[tune], beside Ray Tune: tests/bench/tune_rate.sh [TRIALS [PYTHON]]
. "$(dirname "$0")/lib.sh"
trials=${1:-10000} python=${2:-}
few=$((trials / 5)) fewer=$((trials / 50))

cat >noop.c <<'END'
#include <raywf.h>
#include <string.h>
static int noop(struct raywf_call *call)
{
    const char *out = "{\"metrics\":{\"loss\":1}}";
    return raywf_return(call, 0, out, strlen(out));
}
static const struct raywf_function functions[] = {{"noop", noop, "nothing"}, {0}};
RAYWF_PLUGIN(.functions = functions);
END
cc -O2 -shared -fPIC -I"$top/src/native" -o noop.so noop.c
search='tune:
  s: {target: tasks.f, metric: loss, mode: min, num_samples: N,
      space: {x: {type: uniform, min: 0, max: 1}}}'
cat >native.yaml <<END
recipe: raywf/v1
tasks:
  f: {native: {plugin: ./noop.so, function: noop, args: {x: "\${trial.x}"}}, resources: {cpu: 0.1}, cache: false}
${search/N/$trials}
END
cat >process.yaml <<END
recipe: raywf/v1
tasks:
  f: {run: 'echo "{\"loss\": \${trial.x}}" >&\$RAYWF_REPORT', resources: {cpu: 0.1}, cache: false}
${search/N/$few}
END
rate() { awk -v n="$1" -v ms="$2" 'BEGIN { printf "%.0f", n / ms * 1000 }'; }
ours=$(rate "$trials" "$(ms "$RAYWF" run native.yaml --progress none)")
echo "$trials trials of a native function that does nothing: $ours trials/s"
echo "$few trials of a shell that reports once: $(rate $few "$(ms "$RAYWF" run process.yaml --progress none)") trials/s"
if [ -n "$python" ]; then
    ray=$("$python" "$top/tests/bench/tune_ray.py" $fewer 2>/dev/null | grep -E '^[0-9.]+$' | tail -n 1)
    echo "$fewer trials with Ray Tune: $ray trials/s, ratio $(awk -v a="$ours" -v b="$ray" 'BEGIN { printf "%.0f", a / b }') (bar: 20)"
fi

# 1,000 reports a second, by 10 trials at once, under a scheduler that looks at each.
cat >reports.c <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int main(void)
{
    struct timespec t;
    char line[100];
    clock_gettime(CLOCK_MONOTONIC, &t);
    for (int i = 1; i <= 2000; i++) {
        int n = snprintf(line, sizeof(line), "{\"step\": %d, \"loss\": %.6f}\n", i, 1.0 / i);
        if (write(atoi(getenv("RAYWF_REPORT")), line, n) != n)
            return 1;
        t.tv_nsec += 10000000;
        t.tv_sec += t.tv_nsec / 1000000000;
        t.tv_nsec %= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    }
    return 0;
}
END
cc -O2 -o reports reports.c
cat >reports.yaml <<END
recipe: raywf/v1
tasks:
  f: {argv: [./reports, "\${trial.x}"], resources: {cpu: 0.1}, cache: false}
tune:
  s: {target: tasks.f, metric: loss, mode: min, num_samples: 10, scheduler: {type: median, grace_period: 1900},
      space: {x: {type: uniform, min: 0, max: 1}}}
END
TIMEFORMAT='%R %U %S'
{ time "$RAYWF" run reports.yaml --progress none 2>/dev/null; } 2>cost
# Less what the trials themselves took.
theirs=$(sed -n 's/.*"step.succeeded".*"cpu":\([0-9.e-]*\).*/\1/p' .raywf/runs/last/events.ndjson |
    awk '{ s += $1 } END { print s + 0 }')
awk -v theirs="$theirs" '{ printf "20,000 reports in %.1f s: %.1f %% of a core (bar: 5)\n", $1, 100 * ($2 + $3 - theirs) / $1 }' cost
