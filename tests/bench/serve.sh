#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Serving from end to end: tests/bench/serve.sh [SECONDS] [ROUNDS] [PART...], parts: noop ray
# model batch load over zero (all of them). All on one machine, over loopback, one wrk thread;
# rounds alternate between those that are compared, and the best of each is printed, so that
# another load on the machine meets all of them.
#
#   noop   a native function that does nothing, one replica, batches of 1 (raywf's default)
#          and of up to 64, and one that scales by itself; nginx `return 200`, one worker; bare
#          libmicrohttpd, its own epoll thread; at 1, 16, 64 connections, with the CPU time per
#          request of front and replica
#   ray    Ray Serve's no-op at 64 connections, one replica: by default, and with
#          RAY_SERVE_THROUGHPUT_OPTIMIZED=1 and RAY_SERVE_ENABLE_HA_PROXY=1 (its documented best).
#          PEER_PYTHON: a Python with ray[serve]
#   model  a row as JSON -> MLP that serve-model.yaml trains -> JSON, one replica, 64 connections
#   batch  a model of 1 ms a call, 1.2 ms a batch of 16: without batching and with it
#   load   latencies of the no-op at half of its peak (http_load: a fixed rate)
#   over   three times its peak at the batched model: what is answered, and how fast the rest
#          is refused
#   zero   the first answer of a native replica from zero
. "$(dirname "$0")/lib.sh"

seconds=${1:-3} rounds=${2:-3}
shift $(($# < 2 ? $# : 2))
parts=${*:-noop ray model batch load over zero}
PATH=$PATH:/usr/sbin
for tool in wrk nginx curl cc; do
    command -v $tool >/dev/null || {
        echo "SKIP: no $tool (Debian: apt-get install wrk nginx-light curl gcc)"
        exit 77
    }
done
build=$(dirname "$RAYWF")
make -s -C "$build" tests/bench/http_server tests/bench/http_load
load=$build/tests/bench/http_load
cc -O2 -shared -fPIC -I"$top/src/native" -o plugin.so "$top/tests/bench/serve_plugin.c"
cp -r "$top/recipes/quickstart" .

has()
{
    case " $parts " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

# --- who answers ---

pids=
trap 'kill $pids 2>/dev/null || true; wait 2>/dev/null; rm -rf "$dir"' EXIT
port=$((20000 + $$ % 10000))
bare=$((port + 1)) nginx=$((port + 2)) ray=$((port + 3))

cat >serve.yaml <<Y
recipe: raywf/v1
name: bench
Y
has model && cat >>serve.yaml <<Y
datasets:
  iris:
    read: {path: quickstart/iris.csv}
    split: {train: 0.8, test: 0.2, seed: 7}
train:
  classifier:
    dataset: {train: "\${datasets.iris.outputs.train}", val: "\${datasets.iris.outputs.test}"}
    model: {type: mlp, target: species, hidden: [16]}
    global_batch_size: 32
    max_length: {epochs: 10}
Y
cat >>serve.yaml <<Y
serve:
  noop:
    http: {port: $port, access_log: false}
    native: {plugin: plugin.so, function: noop}
    resources: {cpu: 0.1}
  many:
    http: {port: $port, access_log: false}
    native: {plugin: plugin.so, function: noop}
    resources: {cpu: 0.1}
    batching: {max_batch_size: 64}
  scales:
    http: {port: $port, access_log: false}
    native: {plugin: plugin.so, function: noop}
    resources: {cpu: 0.1}
    autoscaling: {min_replicas: 1, max_replicas: 1, target_ongoing_requests: 2}
Y
has model && cat >>serve.yaml <<Y
  model:
    http: {port: $port, access_log: false}
    model: "\${train.classifier}"
    resources: {cpu: 0.1}
    batching: {max_batch_size: 64}
Y
if has batch || has over; then
    cat >>serve.yaml <<Y
  single:
    http: {port: $port, access_log: false}
    native: {plugin: plugin.so, function: costly}
    resources: {cpu: 0.1}
  batched:
    http: {port: $port, access_log: false}
    native: {plugin: plugin.so, function: costly}
    resources: {cpu: 0.1}
    max_ongoing_requests: 32
    max_queued_requests: 64
    batching: {max_batch_size: 16, batch_wait_timeout: 1ms}
Y
fi
has zero && for i in 1 2 3 4 5 6 7 8 9; do
    cat >>serve.yaml <<Y
  zero$i:
    http: {port: $port, access_log: false}
    native: {plugin: plugin.so, function: noop}
    resources: {cpu: 0.1}
    autoscaling: {min_replicas: 0, max_replicas: 1, initial_replicas: 0}
Y
done

"$RAYWF" serve serve.yaml >serve.out 2>serve.err &
raywf=$!
pids=$raywf
until grep -q 'serving; Ctrl-C' serve.err; do
    kill -0 $raywf 2>/dev/null || { cat serve.err >&2; exit 1; }
    sleep 0.1
done
front=$(pgrep -f "serve-front $dir")
workers=$(pgrep -P $raywf -f worker | tr '\n' ' ')

"$build/tests/bench/http_server" bare $bare &
pids="$pids $!" bare_pid=$!
cat >nginx.conf <<N
worker_processes 1; daemon off; pid $dir/nginx.pid; error_log $dir/error.log;
master_process off;
events { worker_connections 2048; }
http {
    access_log off; keepalive_requests 1000000000;
    client_body_temp_path $dir/t1; proxy_temp_path $dir/t2; fastcgi_temp_path $dir/t3;
    uwsgi_temp_path $dir/t4; scgi_temp_path $dir/t5;
    server { listen 127.0.0.1:$nginx; location / { return 200 "hello, world\n"; } }
}
N
nginx -e "$dir/error.log" -p "$dir" -c "$dir/nginx.conf" 2>nginx.err &
pids="$pids $!" nginx_pid=$!
curl -sS --retry 20 --retry-connrefused --retry-delay 1 -o /dev/null -o /dev/null \
    "http://127.0.0.1:$bare/" "http://127.0.0.1:$nginx/" || { cat nginx.err >&2; exit 1; }

# --- measuring ---

# Clock ticks that processes have used.
ticks()
{
    local pid all=0
    for pid in "$@"; do
        all=$((all + $(awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$pid/stat")))
    done
    echo $all
}

lenient= # not empty: errors are told, and do not end it
# ask NAME URL CONNECTIONS PIDS [WRK OPTION...]: appends to NAME.CONNECTIONS a line of
# requests/s, p50 and p99 in us, CPU time of PIDS per request in us
ask()
{
    local name=$1 url=$2 connections=$3 from to
    # shellcheck disable=SC2086
    from=$(ticks $4) who=$4
    shift 4
    wrk -t1 -c"$connections" -d"${seconds}s" --latency "$@" "$url" >wrk.out
    # shellcheck disable=SC2086
    to=$(ticks $who)
    if grep 'Non-2xx\|Socket errors' wrk.out >&2; then
        echo "of $name" >&2
        [ -n "$lenient" ] || exit 1
    fi
    awk -v cpu=$((to - from)) -v hz="$(getconf CLK_TCK)" '
        function us(t) { return t ~ /us$/ ? t + 0 : t ~ /ms$/ ? t * 1000 : t * 1000000 }
        /50%/ { p50 = us($2) } /99%/ { p99 = us($2) } /^Requests/ { n = $2 }
        /requests in/ { all = $1 }
        END { print n, p50, p99, cpu / hz * 1000000 / all }' wrk.out >>"$name.$connections"
}

# best NAME.CONNECTIONS: its line
best()
{
    sort -rn "$1" | head -n 1
}

# tell NAME CONNECTIONS
tell()
{
    best "$1.$2" | awk -v m="$1" -v c="$2" '{
        printf "%2d connections, %-8s %8.0f requests/s, p50 %5.0f us, p99 %6.0f us", c, m ":", $1, $2, $3 }'
    awk '{ print $4 }' "$1.$2" | median | awk '{ printf ", %5.2f us of CPU\n", $1 }'
}

# ratio WHAT BAR FILE OTHER [COLUMN]: of the best of both
ratio()
{
    paste -d' ' <(best "$3") <(best "$4") | awk -v w="$1" -v bar="$2" '{
        printf "%s: %.2f (bar %s)\n", w, $1 / $5, bar }'
}

lua()
{
    cat >"$1" <<L
wrk.method = "POST"
wrk.body = '{"sepal_length":5.1,"sepal_width":3.5,"petal_length":1.4,"petal_width":0.2}'
wrk.headers["Content-Type"] = "application/json"
L
}

uname -srm
grep -m1 'model name' /proc/cpuinfo
echo "cores: $(nproc), load: $(cut -d' ' -f1-3 /proc/loadavg), $(date -u +%FT%TZ)"
us=http://127.0.0.1:$port

if has noop || has load; then
    for connections in 1 16 64; do
        for ((i = 0; i < rounds; i++)); do
            ask nginx http://127.0.0.1:$nginx/ $connections "$nginx_pid"
            ask noop $us/noop $connections "$front $workers"
            ask bare http://127.0.0.1:$bare/ $connections "$bare_pid"
            ask many $us/many $connections "$front $workers"
            [ $connections != 64 ] || ask scales $us/scales 64 "$front $workers"
        done
        for name in bare nginx noop many; do tell $name $connections; done
    done
    ratio "no-op over nginx at 64 connections" ">= 0.60" noop.64 nginx.64
    ratio "no-op in batches over nginx at 64 connections" ">= 0.60" many.64 nginx.64
    tell scales 64
    ratio "no-op that scales over one that does not" "1" scales.64 noop.64
    paste -d' ' <(sort -n -k2 noop.1 | head -n 1) <(sort -n -k2 bare.1 | head -n 1) |
        awk '{ printf "median latency added to bare libmicrohttpd at 1 connection: %d us (bar <= 100)\n", $2 - $6 }'
fi

if has load; then
    half=$(best noop.64 | awk '{ printf "%d", $1 / 2 }')
    for ((i = 0; i < rounds; i++)); do
        "$load" $port /noop 64 "$half" "$seconds" >>half.out
    done
    sort -n -k4 half.out | head -n 1 | awk '{
        printf "half load, %d requests/s: p50 %d us, p99 %d us (bar < 2000)\n", $2, $3, $4 }'
fi

if has model; then
    lua row.lua
    for ((i = 0; i < rounds; i++)); do
        ask model $us/model 64 "$front $workers" -s row.lua
    done
    tell model 64
    best model.64 | awk '{ printf "rows as JSON through the MLP: %d requests/s (bar >= 30000)\n", $1 }'
fi

if has batch || has over; then
    for ((i = 0; i < rounds; i++)); do
        ask single $us/single 64 "$front $workers"
        ask batched $us/batched 64 "$front $workers"
    done
    tell single 64
    tell batched 64
    ratio "batching over none, 1 ms a call, 1.2 ms for 16" ">= 3" batched.64 single.64
fi

if has over; then
    peak=$(best batched.64 | awk '{ printf "%d", $1 }')
    for ((i = 0; i < rounds; i++)); do
        "$load" $port /batched 256 $((peak * 3)) "$seconds" >>over.out
    done
    sort -rn -k2 over.out | head -n 1 | awk -v peak="$peak" '{
        printf "over-load of 3 times (%d requests/s): %d/s answered, %.2f of the peak (bar >= 0.90); %d/s refused, p99 of that %d us\n",
               $1, $2, $2 / peak, $5, $6 }'
fi

if has zero; then
    for i in 1 2 3 4 5 6 7 8 9; do
        curl -s -o /dev/null -w '%{time_total}\n' $us/zero$i | awk '{ print $1 * 1000 }' >>zero.out
    done
    median <zero.out | awk '{ printf "first answer from zero: median %.1f ms (bar <= 50)\n", $1 }'
fi

# --- Ray Serve ---

# ray_serve NAME [VARIABLE...]
ray_serve()
{
    local name=$1 pid
    shift
    : >"$name.out"
    env "$@" "$python" "$top/tests/bench/serve_ray.py" $ray >"$name.out" 2>"$name.err" &
    pid=$!
    pids="$pids $pid"
    for ((i = 0; i < 1200; i++)); do
        grep -q ready "$name.out" && break
        kill -0 $pid 2>/dev/null || break
        sleep 0.1
    done
    if grep -q ready "$name.out"; then
        for ((i = 0; i < rounds; i++)); do
            lenient=1 # it has time-outs under load
            ask "$name" http://127.0.0.1:$ray/ 64 $pid
            lenient=
            ask again $us/noop 64 "$front $workers"
        done
        best "$name.64" | awk -v m="$name" '{
            printf "64 connections, %s: %.0f requests/s, p50 %.0f us, p99 %.0f us\n", m, $1, $2, $3 }'
        ratio "no-op over $name" ">= 25" again.64 "$name.64"
    else
        tail -n 5 "$name.err"
        echo "SKIP: $name did not come up"
    fi
    kill -INT $pid 2>/dev/null || true
    wait $pid 2>/dev/null || true
}

if has ray; then
    python=${PEER_PYTHON:-python3}
    if "$python" -c 'import ray.serve' 2>/dev/null; then
        ray_serve "Ray Serve by default"
        ray_serve "Ray Serve at its best" RAY_SERVE_THROUGHPUT_OPTIMIZED=1 RAY_SERVE_ENABLE_HA_PROXY=1
    else
        echo "SKIP: no Ray Serve in $python (PEER_PYTHON names one; pip install ray[serve])"
    fi
fi
