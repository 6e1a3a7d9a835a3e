#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Native tasks and actors of recipes: results, the cache, failures with their causes, what is
# kept when a worker or the whole run is killed.
. "$abs_top_srcdir/tests/t/lib.sh"

if ! command -v cc >/dev/null; then
    skip native 'no C compiler (cc)'
    finish
fi

cat >p.c <<'C'
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <raywf.h>
static void note(const char *name, const char *text, size_t len)
{
    FILE *f = fopen(name, "a");
    fprintf(f, "%.*s\n", (int)len, text);
    fclose(f);
}
static int echo(struct raywf_call *c)
{
    size_t n;
    const char *a = raywf_arg(c, 0, &n);
    return raywf_return(c, 0, a, n);
}
static int size(struct raywf_call *c)
{
    size_t n;
    char out[64];
    raywf_arg(c, 0, &n);
    int len = snprintf(out, sizeof(out), "{\"metrics\": {\"size\": %zu}}", n);
    return raywf_return(c, 0, out, len);
}
static int bad(struct raywf_call *c) { return raywf_fail(c, "no luck today"); }
static int nojson(struct raywf_call *c) { return raywf_return(c, 0, "{a", 2); }
static int nothing(struct raywf_call *c) { (void)c; return 0; }
static int crash(struct raywf_call *c)
{
    if (raywf_attempt(c) > 0)
        abort();
    return 0;
}
static int file(struct raywf_call *c) /* "PATH" */
{
    size_t n;
    const char *a = raywf_arg(c, 0, &n);
    char *path = strndup(a + 1, n - 2);
    note(path, "written", 7);
    free(path);
    return raywf_return(c, 0, getenv("WORD"), strlen(getenv("WORD")));
}
/* Says that it began, then waits for the file "go" (in the folder of its argument). */
static int gate(struct raywf_call *c) /* "FOLDER" */
{
    size_t n;
    const char *a = raywf_arg(c, 0, &n);
    char dir[4096], path[5000];
    snprintf(dir, sizeof(dir), "%.*s", (int)n - 2, a + 1);
    snprintf(path, sizeof(path), "%s/begun", dir);
    char pid[32];
    note(path, pid, snprintf(pid, sizeof(pid), "%d", (int)getpid()));
    snprintf(path, sizeof(path), "%s/go", dir);
    while (access(path, F_OK) != 0 && !raywf_cancelled(c))
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    return raywf_return(c, 0, "1", 1);
}
/* One row: {"row":{"x":N,…},"dir":"FOLDER"}; notes it; row 7 waits for the file "go". */
static int row(struct raywf_call *c)
{
    size_t n;
    const char *a = raywf_arg(c, 0, &n);
    char *text = strndup(a, n), path[5000], out[64];
    int x = atoi(strstr(text, "\"x\":") + 4);
    char *dir = strstr(text, "\"dir\":\"") + 7;
    *strchr(dir, '"') = '\0';
    snprintf(path, sizeof(path), "%s/go", dir);
    while (x == 7 && access(path, F_OK) != 0)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    snprintf(path, sizeof(path), "%s/rows", dir);
    int len = snprintf(out, sizeof(out), "{\"y\":%d}", 2 * x);
    note(path, out, len);
    free(text);
    return raywf_return(c, 0, out, len);
}
static int batch(struct raywf_call *c) /* {"rows":[{"x":1},…]} -> [1,…] */
{
    size_t n, used = 1;
    const char *a = raywf_arg(c, 0, &n);
    char *text = strndup(a, n), *at = text;
    char *out = malloc(n + 16);
    out[0] = '[';
    while ((at = strstr(at, "\"x\":")) != NULL) {
        at += 4;
        used += sprintf(out + used, "%s%d", used > 1 ? "," : "", atoi(at));
    }
    out[used++] = ']';
    int rc = raywf_return(c, 0, out, used);
    free(out);
    free(text);
    return rc;
}
static const struct raywf_function functions[] = {
    {"echo", echo, 0}, {"size", size, 0},   {"bad", bad, 0},     {"nojson", nojson, 0},
    {"file", file, 0}, {"crash", crash, 0}, {"gate", gate, 0},   {"row", row, 0},
    {"batch", batch, 0}, {"nothing", nothing, 0}, {0}};

static int counter_create(struct raywf_call *c, void **ret)
{
    size_t n;
    const char *a = raywf_arg(c, 0, &n);
    if (memmem(a, n, "fail", 4))
        return raywf_fail(c, "this counter cannot be");
    *ret = calloc(1, sizeof(int));
    return 0;
}
static int count(struct raywf_call *c)
{
    char out[32];
    return raywf_return(c, 0, out, sprintf(out, "%d", ++*(int *)raywf_state(c)));
}
static int die(struct raywf_call *c) { (void)c; abort(); }
static const struct raywf_function methods[] = {{"count", count, 0}, {"die", die, 0}, {0}};
static const struct raywf_class classes[] = {{"counter", counter_create, free, methods, 0}, {0}};
RAYWF_PLUGIN(.functions = functions, .classes = classes);
C

build='build: {run: "cc -shared -fPIC -I $RAYWF_INCLUDE -o p.so ${inputs.source}", inputs: {source: p.c}, outputs: {plugin: p.so}}'
plugin='plugin: "${tasks.build.outputs.plugin}"'

# lines FILE N: until FILE has N lines.
lines() { until_ok has_lines "$@"; }
# No process of this folder's workers is left.
none() { ! grep -l "$tmp" /proc/[0-9]*/maps 2>/dev/null | grep -q .; }
no_worker() { until_ok none; }

# --- results ---
cat >r.yaml <<Y
recipe: raywf/v1
name: results
tasks:
  $build
  echo: {native: {$plugin, function: echo, args: {text: a, whole: 1, list: [2.5, true]}}}
  each: {native: {$plugin, function: size, args: ["\${item}"]}, foreach: [x, yy]}
  file:
    native: {$plugin, function: file, args: "\${step.dir}/extra.txt"}
    env: {WORD: "[1]"}
    outputs: {extra: extra.txt}
  nothing: {native: {$plugin, function: nothing}}
  show:
    run: cat \${tasks.echo.outputs.result} \${tasks.each.outputs.result} \${tasks.file.outputs.extra} \${tasks.file.outputs.result} \${tasks.nothing.outputs.result}
checks:
  size: {value: "\${tasks.total.metrics.size}", op: "==", than: 2}
Y
sed -i '/^checks/i\  total: {native: {'"$plugin"', function: size}}' r.yaml
run 0 raywf check r.yaml
run 0 raywf run r.yaml
says '✓ size'
run 0 raywf logs last tasks.show
has '{"text":"a","whole":1,"list":[2.5,true]}{"metrics": {"size": 5}}{"metrics": {"size": 6}}written'
has '[1]null'
run 0 raywf run r.yaml
says '8 cached'
says_not '▶ tasks'
run 0 raywf events last --type step.started
hasnt '"step":"tasks.'
# Another argument: that step alone. Another plugin: all that use it.
run 0 raywf run r.yaml --set tasks.echo.native.args.whole=2
run 0 raywf events last --type step.started
has '"step":"tasks.echo"'
hasnt '"step":"tasks.each'
printf '/* changed */\nstatic const int changed = 1;\nconst int *raywf_test_changed(void) { return &changed; }\n' >>p.c
run 0 raywf run r.yaml
run 0 raywf events last --type step.started
has '"step":"tasks.build"'
has '"step":"tasks.each[x]"'
ok 'no worker is left' no_worker

# --- failures and their causes ---
run 0 raywf run r.yaml --only tasks.build
so=$(find .raywf/cache -name p.so | head -n 1)
cp "$so" p.so
cat >f.yaml <<'Y'
recipe: raywf/v1
name: failures
tasks:
  bad: {native: {plugin: p.so, function: bad}}
  nojson: {native: {plugin: p.so, function: nojson}}
  crash: {native: {plugin: p.so, function: crash}, retry: {max: 1, on: [signal], backoff: 10ms}}
  late: {native: {plugin: p.so, function: gate, args: "${recipe.dir}"}, timeout: 300ms}
  nosuch: {native: {plugin: p.so, function: nosuch}}
  noplugin: {native: {plugin: p.c, function: f}}
  output: {native: {plugin: p.so, function: nothing}, outputs: {extra: not-there}}
Y
run 1 raywf run f.yaml
says 'no luck today'
says 'what the function returned is no JSON'
says "SIGABRT"
says "has no function 'nosuch'"
says 'p.c: is not a shared object'
run 0 raywf events last
for want in 'tasks.bad","attempt":1,"cause":"exit"' 'tasks.nojson","attempt":1,"cause":"output"' \
    'tasks.crash","attempt":2,"cause":"signal"' 'tasks.late","attempt":1,"cause":"timeout"' \
    'tasks.nosuch","attempt":1,"cause":"start"' 'tasks.noplugin","attempt":1,"cause":"start"' \
    'tasks.output","attempt":1,"cause":"output"'; do
    has "\"step\":\"$want"
done
run 6 raywf run f.yaml --only tasks.bad --set tasks.bad.native.plugin=missing.so
says missing.so

# --- a worker that is killed; stop; a head that is killed ---
rm -f begun go
cat >g.yaml <<'Y'
recipe: raywf/v1
name: gate
tasks:
  gate:
    native: {plugin: p.so, function: gate, args: "${recipe.dir}"}
    retry: {max: 1, backoff: 10ms}
    grace: 200ms
  after: {run: "echo after", needs: [tasks.gate]}
Y
raywf run g.yaml >run.out 2>run.err &
pid=$!
ok 'the call begins' lines begun 1
kill -9 "$(tail -n 1 begun)"
ok 'it begins again after its worker was killed' lines begun 2
run 0 raywf ps --tasks
has p.so
run 0 raywf stop last
wait "$pid"
ok 'a stopped run ends with 9' test $? -eq 9
ok 'no worker is left' no_worker
raywf resume >run.out 2>run.err &
pid=$!
ok 'it goes on' lines begun 3
kill -9 "$pid"
wait "$pid" 2>/dev/null
ok 'workers end with their head' no_worker
touch go
run 0 raywf resume
says '✓ tasks.gate'
says '✓ tasks.after'
ok 'it was called once more' test "$(wc -l <begun)" -eq 4

# --- rows ---
rm -f go rows
i=0
while [ $i -lt 20 ]; do echo "{\"x\":$i}" && i=$((i + 1)); done >x.jsonl
cat >w.yaml <<'Y'
recipe: raywf/v1
name: rows
tasks:
  row:
    native: {plugin: p.so, function: row, args: {dir: "${recipe.dir}"}}
    foreach: {rows: x.jsonl, max_parallel: 1}
  show: {run: "cat ${tasks.row.outputs.result}"}
Y
raywf run w.yaml >run.out 2>run.err &
pid=$!
ok 'the rows before the one that waits are done' lines rows 7
# What is done is in the spool soon, though not at once.
spooled() { lines "$(echo .raywf/runs/last/rows/*)" 7; }
ok 'and kept' spooled
kill -9 "$pid"
wait "$pid" 2>/dev/null
ok 'nothing is left running' no_worker
touch go
run 0 raywf resume
run 0 raywf logs last tasks.show
ok 'results are in the order of rows' sh -c 'i=0; while read -r line; do [ "$line" = "{\"y\":$((2 * i))}" ] || exit 1; i=$((i + 1)); done <.out; [ $i -eq 20 ]'
ok 'finished rows were not repeated' test "$(sort rows | uniq -d | wc -l)" -eq 0
ok 'each row was called' test "$(wc -l <rows)" -eq 20
run 0 raywf run w.yaml --set tasks.row.native.function=batch --set tasks.row.foreach.batch=6 --set tasks.row.native.args={}
run 0 raywf logs last tasks.show
has '6
7'
ok 'a line for each row of a batch' test "$(wc -l <.out)" -eq 20
run 1 raywf run w.yaml --set tasks.row.native.function=echo --set tasks.row.foreach.batch=6
says 'one result for each row'
run 1 raywf run w.yaml --set tasks.row.native.function=bad
says ' of 20: '
says 'no luck today'
echo 'no json' >>x.jsonl
run 1 raywf run w.yaml
says 'row 21 of 21: it is no JSON'

# --- actors ---
cat >a.yaml <<'Y'
recipe: raywf/v1
name: actors
actors:
  counter: {plugin: p.so, class: counter, resources: {cpu: 0.1}, restart: {max: 1, backoff: 10ms}}
tasks:
  one: {native: {actor: "${actors.counter}", method: count}, cache: false}
  two: {native: {actor: "${actors.counter}", method: count, args: [1]}, cache: false, needs: [tasks.one]}
  show: {run: "cat ${tasks.one.outputs.result} ${tasks.two.outputs.result}", cache: false}
Y
run 0 raywf run a.yaml
run 0 raywf logs last tasks.show
has 12
# It dies once and is started again, with a new state.
cat >d.yaml <<'Y'
recipe: raywf/v1
name: dies
actors:
  counter: {plugin: p.so, class: counter, resources: {cpu: 0.1}, restart: {max: 1, backoff: 10ms}}
tasks:
  die: {native: {actor: "${actors.counter}", method: die}}
  count: {native: {actor: "${actors.counter}", method: count}}
Y
run 1 raywf run d.yaml --only tasks.die
says 'SIGABRT'
run 1 raywf run d.yaml --only tasks.die --set tasks.die.retry.max=1 --set tasks.die.retry.backoff=10ms
says 'tasks.die again'
run 1 raywf run a.yaml --set actors.counter.args=fail
says 'this counter cannot be'
run 1 raywf run a.yaml --set actors.counter.class=nosuch
says nosuch
# All calls are in the cache: nothing is started.
run 0 raywf run d.yaml --only tasks.count
run 0 raywf run d.yaml --only tasks.count
run 0 raywf events last --type step.started
hasnt step.started
ok 'no worker is left' no_worker
finish
