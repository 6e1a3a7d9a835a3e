#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The HTTP server beside a bare libmicrohttpd handler and nginx `return 200`, one process
# each, wrk in the same run: tests/bench/http.sh [SECONDS] [ROUNDS]. The rounds alternate, so
# that another load on the machine meets all of them; the best of them is printed. CPU time of
# the server per request is what compares best where the machine is shared.
. "$(dirname "$0")/lib.sh"

seconds=${1:-3} rounds=${2:-3}
for tool in wrk nginx curl; do
    command -v "$tool" >/dev/null || [ -x "/usr/sbin/$tool" ] || {
        echo "SKIP: no $tool (Debian: apt-get install wrk nginx-light curl)"
        exit 77
    }
done
build=$(dirname "$RAYWF")
make -s -C "$build" tests/bench/http_server
program=$build/tests/bench/http_server
pids=
trap 'kill $pids 2>/dev/null || true; wait; rm -rf "$dir"' EXIT

port=$((20000 + $$ % 10000))
declare -A ports process
for mode in bare now later log; do
    ports[$mode]=$port
    "$program" "$mode" "$port" &
    pids="$pids $!" process[$mode]=$!
    port=$((port + 1))
done
ports[nginx]=$port
mkdir -p logs
cat >nginx.conf <<N
worker_processes 1; daemon off; pid $dir/nginx.pid; error_log $dir/logs/error.log;
master_process off;
events { worker_connections 2048; }
http {
    access_log off; keepalive_requests 1000000000;
    client_body_temp_path $dir/t1; proxy_temp_path $dir/t2; fastcgi_temp_path $dir/t3;
    uwsgi_temp_path $dir/t4; scgi_temp_path $dir/t5;
    server { listen 127.0.0.1:$port; location / { return 200 "hello, world\n"; } }
}
N
PATH=$PATH:/usr/sbin nginx -p "$dir" -c "$dir/nginx.conf" &
pids="$pids $!" process[nginx]=$!
for mode in "${!ports[@]}"; do
    curl -s --retry 20 --retry-connrefused --retry-delay 1 -o /dev/null "http://127.0.0.1:${ports[$mode]}/"
done

# Clock ticks that a process has used.
ticks()
{
    awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}

# measure MODE CONNECTIONS: requests/s, p50 and p99 in us, CPU time per request in us
measure()
{
    local from to
    from=$(ticks "${process[$1]}")
    wrk -t1 -c"$2" -d"${seconds}s" --latency "http://127.0.0.1:${ports[$1]}/x" >wrk.out
    to=$(ticks "${process[$1]}")
    ! grep -q 'Non-2xx\|Socket errors' wrk.out || { cat wrk.out >&2; exit 1; }
    awk -v cpu=$((to - from)) -v hz="$(getconf CLK_TCK)" 'function us(t) { return t ~ /us$/ ? t + 0 : t ~ /ms$/ ? t * 1000 : t * 1000000 }
        /50%/ { p50 = us($2) } /99%/ { p99 = us($2) } /^Requests/ { n = $2 }
        /requests in/ { all = $1 }
        END { print n, p50, p99, cpu / hz * 1000000 / all }' wrk.out
}

for connections in 1 16 64; do
    for ((i = 0; i < rounds; i++)); do
        for mode in bare nginx now later log; do
            measure "$mode" "$connections" >>"$mode.$connections"
        done
    done
    for mode in bare nginx now later log; do
        sort -rn "$mode.$connections" | awk -v m="$mode" -v c="$connections" 'NR == 1 {
            printf "%2d connections, %-6s %8.0f requests/s, p50 %4.0f us, p99 %5.0f us", c, m ":", $1, $2, $3 }'
        awk '{ print $4 }' "$mode.$connections" | median | awk '{ printf ", %5.2f us of CPU\n", $1 }'
    done
done
