/* SPDX-License-Identifier: Apache-2.0
 *
 * What raywf does on this machine, for core.sh: the same work as core_ray.py, with the
 * same counts, by the public API alone. Prints one JSON object.
 *
 *     core --plugin core_plugin.so [--cpus N] [--seconds S] [--only NAME,…]
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "raywf.h"

#define BATCH 1000
#define ROUNDS_MAX 100000
#define GIB ((size_t)1 << 30)

static struct {
    const char *plugin, *only;
    int cpus;
    double seconds;
    struct raywf_task *noop;
    struct raywf_ref *refs; /* room for a million */
    bool more;              /* a result was printed before */
} b = {.cpus = 2, .seconds = 1, .only = ""};

static struct raywf_error err;

static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "core: ");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

#define TRY(call)                                                                      \
    do {                                                                               \
        if ((call) != 0)                                                               \
            die("%s: %s", #call, err.text);                                            \
    } while (0)

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare(const void *x, const void *y)
{
    double d = *(const double *)x - *(const double *)y;
    return (d > 0) - (d < 0);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare);
    return count % 2 ? values[count / 2]
                     : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void keep(const char *name, double value, size_t count, size_t rounds)
{
    printf("%s\n  \"%s\": {\"value\": %.9g, \"count\": %zu, \"rounds\": %zu}",
           b.more ? "," : "", name, value, count, rounds);
    fprintf(stderr, "raywf %s: %.6g (%zu rounds of %zu)\n", name, value, rounds, count);
    b.more = true;
}

/* Rounds of fn until the time is over; the median of their rates. */
static void rate(const char *name, void (*fn)(size_t count), size_t count)
{
    static double rates[ROUNDS_MAX];
    size_t rounds = 0;
    fn(count);
    for (double end = now() + b.seconds;
         (now() < end || rounds < 3) && rounds < ROUNDS_MAX; rounds++) {
        double start = now();
        fn(count);
        rates[rounds] = (double)count / (now() - start);
    }
    keep(name, median(rates, rounds), count, rounds);
}

/* The median time of fn, which does all of count things at once. */
static void seconds_of(const char *name, void (*fn)(size_t count), size_t count,
                       size_t rounds)
{
    double times[16];
    for (size_t i = 0; i < rounds; i++) {
        double start = now();
        fn(count);
        times[i] = now() - start;
    }
    keep(name, median(times, rounds), count, rounds);
}

static struct raywf_task *task_of(const char *function,
                                  const struct raywf_task_options *options)
{
    struct raywf_task *task = raywf_task(b.plugin, function, options, &err);
    if (task == NULL)
        die("%s: %s", function, err.text);
    return task;
}

static void get_all(size_t count)
{
    char ok[2];
    for (size_t i = 0; i < count; i++) {
        TRY(raywf_get_copy(b.refs[i], RAYWF_FOREVER, ok, 2, &err));
        raywf_drop(b.refs[i]);
    }
}

/* --- tasks --- */

static void sync_tasks(size_t count)
{
    char ok[2];
    for (size_t i = 0; i < count; i++) {
        TRY(raywf_submit(b.noop, RAYWF_NO_ARGS, b.refs, &err));
        TRY(raywf_get_copy(b.refs[0], RAYWF_FOREVER, ok, 2, &err));
        raywf_drop(b.refs[0]);
    }
}

static void submit_noops(size_t count)
{
    for (size_t i = 0; i < count; i++)
        TRY(raywf_submit(b.noop, RAYWF_NO_ARGS, &b.refs[i], &err));
}

static void batch_tasks(size_t count)
{
    submit_noops(count);
    get_all(count);
}

static void tasks_sync(void)
{
    rate("tasks_sync", sync_tasks, 100);
}

static void tasks_async(void)
{
    rate("tasks_async", batch_tasks, BATCH);
    rate("tasks_async_100k", batch_tasks, 100 * BATCH);
}

/* Two clients at once; each is a task that needs no core of its own. */
static void two_clients(struct raywf_task *client, const struct raywf_arg *args,
                        size_t n)
{
    TRY(raywf_submit(client, args, n, &b.refs[0], &err));
    TRY(raywf_submit(client, args, n, &b.refs[1], &err));
    get_all(2);
}

static struct raywf_task *client_of(const char *function)
{
    return task_of(function, &(struct raywf_task_options){.resources = {.cpu = -1}});
}

static struct raywf_task *client;

static void multi_tasks(size_t count)
{
    uint64_t each = count / 2;
    struct raywf_arg args[] = {{b.plugin, strlen(b.plugin) + 1, {0, 0}},
                               RAYWF_BYTES(&each, sizeof(each))};
    two_clients(client, args, 2);
}

static void tasks_multi(void)
{
    client = client_of("client_tasks");
    rate("tasks_multi", multi_tasks, 2 * BATCH);
    rate("tasks_multi_100k", multi_tasks, 100 * BATCH);
}

/* --- actors --- */

static const struct raywf_actor_options *server_named(const char *name)
{
    static struct raywf_actor_options options;
    options = (struct raywf_actor_options){.resources = {.cpu = -1}, .name = name};
    return &options;
}

static struct raywf_actor *server(const char *name)
{
    struct raywf_actor *actor =
        raywf_actor_create(b.plugin, "server", server_named(name), NULL, 0, &err);
    if (actor == NULL)
        die("actor: %s", err.text);
    return actor;
}

static struct raywf_actor *callee;

static void call_actor(size_t count)
{
    for (size_t i = 0; i < count; i++)
        TRY(raywf_actor_call(callee, "call", NULL, RAYWF_NO_ARGS, &b.refs[i], &err));
    get_all(count);
}

static void sync_calls(size_t count)
{
    for (size_t i = 0; i < count; i++)
        call_actor(1);
}

static void actor_sync(void)
{
    callee = server(NULL);
    rate("actor_sync", sync_calls, 200);
    raywf_actor_release(callee);
}

static void actor_async(void)
{
    callee = server(NULL);
    rate("actor_async", call_actor, BATCH);
    rate("actor_async_100k", call_actor, 100 * BATCH);
    raywf_actor_release(callee);
}

static void call_servers(size_t count, int clients)
{
    uint64_t each = count / (uint64_t)clients;
    struct raywf_arg args[] = {RAYWF_BYTES(&each, sizeof(each)), RAYWF_BYTES("s0", 3),
                               RAYWF_BYTES("s1", 3)};
    for (int i = 0; i < clients; i++)
        TRY(raywf_submit(client, args, 3, &b.refs[i], &err));
    get_all((size_t)clients);
}

static void one_client(size_t count)
{
    call_servers(count, 1);
}

static void n_clients(size_t count)
{
    call_servers(count, 2);
}

static void actor_nn(void)
{
    struct raywf_actor *servers[] = {server("s0"), server("s1")};
    client = client_of("client_calls");
    rate("actor_1n", one_client, 2 * BATCH);
    rate("actor_nn", n_clients, 4 * BATCH);
    rate("actor_nn_100k", n_clients, 100 * BATCH);
    raywf_actor_release(servers[0]);
    raywf_actor_release(servers[1]);
}

/* --- values --- */

static void put_count(size_t count)
{
    for (size_t i = 0; i < count; i++)
        TRY(raywf_put("ok", 2, &b.refs[i], &err));
    for (size_t i = 0; i < count; i++)
        raywf_drop(b.refs[i]);
}

static void get_count(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct raywf_value value;
        TRY(raywf_get(b.refs[0], RAYWF_FOREVER, &value, &err));
        raywf_release(&value);
    }
}

static char *block, *other;

static void put_block(size_t count)
{
    (void)count;
    TRY(raywf_put(block, GIB, &b.refs[0], &err));
    raywf_drop(b.refs[0]);
}

static void copy_block(size_t count)
{
    (void)count;
    memcpy(other, block, GIB);
}

static void put_small(void)
{
    rate("put_small", put_count, BATCH);
}

static void get_small(void)
{
    TRY(raywf_put("ok", 2, &b.refs[0], &err));
    rate("get_small", get_count, BATCH);
    raywf_drop(b.refs[0]);
}

static void put_gib(void)
{
    block = malloc(GIB);
    other = malloc(GIB);
    if (block == NULL || other == NULL)
        die("no 2 GiB of memory");
    memset(block, 1, GIB);
    memset(other, 2, GIB);
    rate("memcpy_gib", copy_block, 1);
    rate("put_gib", put_block, 1);
    rate("memcpy_gib_after", copy_block, 1);
    TRY(raywf_put(block, GIB, &b.refs[0], &err));
    get_count(1);
    rate("get_gib_again", get_count, 100);
    raywf_drop(b.refs[0]);
    free(block);
    free(other);
}

/* --- many at once --- */

/* Waits for any one, takes it out, until none is left: as Ray's suite does. */
static void wait_one_by_one(size_t count)
{
    static bool ready[BATCH];
    submit_noops(count);
    for (size_t left = count; left > 0; left--) {
        size_t at = 0;
        if (raywf_wait(b.refs, left, 1, RAYWF_FOREVER, ready, &err) < 1)
            die("wait: %s", err.text);
        while (!ready[at])
            at++;
        raywf_drop(b.refs[at]);
        memmove(&b.refs[at], &b.refs[at + 1], (left - at - 1) * sizeof(*b.refs));
    }
}

static struct raywf_task *counter, *giver;
static struct raywf_arg *many_args;

static void pass_args(size_t count)
{
    struct raywf_ref ref;
    uint64_t got = 0;
    TRY(raywf_submit(counter, many_args, count, &ref, &err));
    TRY(raywf_get_copy(ref, RAYWF_FOREVER, &got, sizeof(got), &err));
    raywf_drop(ref);
    if (got != count)
        die("%" PRIu64 " of %zu arguments arrived", got, count);
}

static void take_returns(size_t count)
{
    uint64_t n = count;
    TRY(raywf_submit(giver, RAYWF_ARGS(RAYWF_BYTES(&n, sizeof(n))), b.refs, &err));
    for (uint64_t i = 0; i < count; i++) {
        TRY(raywf_get_copy(b.refs[i], RAYWF_FOREVER, &n, sizeof(n), &err));
        if (n != i)
            die("value %" PRIu64 " is %" PRIu64, i, n);
        raywf_drop(b.refs[i]);
    }
}

static void put_numbers(size_t count)
{
    for (uint64_t i = 0; i < count; i++)
        TRY(raywf_put(&i, sizeof(i), &b.refs[i], &err));
}

static void drop_all(size_t count)
{
    for (size_t i = 0; i < count; i++)
        raywf_drop(b.refs[i]);
}

static void get_numbers(size_t count)
{
    for (uint64_t i = 0, n; i < count; i++)
        TRY(raywf_get_copy(b.refs[i], RAYWF_FOREVER, &n, sizeof(n), &err));
}

static void wait_1k(void)
{
    seconds_of("wait_1k", wait_one_by_one, BATCH, 5);
}

static void args_10k(void)
{
    size_t count = 10 * BATCH;
    counter = task_of("count_args", NULL);
    put_numbers(count);
    many_args = calloc(count, sizeof(*many_args));
    for (size_t i = 0; i < count; i++)
        many_args[i] = RAYWF_REF(b.refs[i]);
    pass_args(count);
    seconds_of("args_10k", pass_args, count, 3);
    free(many_args);
    drop_all(count);
}

static void returns_3k(void)
{
    giver = task_of("many", &(struct raywf_task_options){.returns = 3 * BATCH});
    seconds_of("returns_3k", take_returns, 3 * BATCH, 3);
}

static void gets_10k(void)
{
    put_numbers(10 * BATCH);
    seconds_of("gets_10k", get_numbers, 10 * BATCH, 1);
    drop_all(10 * BATCH);
}

static size_t resident(void)
{
    size_t size = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%zu %zu", &size, &pages) != 2)
        die("/proc/self/statm: %s", strerror(errno));
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* All are queued behind tasks that hold every core; then these let go. */
static void queued(void)
{
    char path[64];
    size_t count = 1000 * BATCH, holders = (size_t)b.cpus;
    struct raywf_ref held[64];
    struct raywf_task *holder = task_of("hold", NULL);
    snprintf(path, sizeof(path), "/tmp/raywf-core-gate.%d", (int)getpid());
    for (size_t i = 0; i < holders; i++)
        TRY(raywf_submit(holder, RAYWF_ARGS(RAYWF_BYTES(path, strlen(path) + 1)),
                         &held[i], &err));
    memset(b.refs, 1, count * sizeof(*b.refs)); /* their own pages are not counted */
    size_t before = resident();
    double start = now();
    submit_noops(count);
    double submitted = now();
    size_t after = resident();
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        die("%s: %s", path, strerror(errno));
    get_all(count);
    double end = now();
    close(fd);
    unlink(path);
    for (size_t i = 0; i < holders; i++)
        raywf_drop(held[i]);
    keep("queued_submit", (double)count / (submitted - start), count, 1);
    keep("queued_drain", (double)count / (end - submitted), count, 1);
    keep("queued", (double)count / (end - start), count, 1);
    keep("queued_seconds", end - start, count, 1);
    keep("queued_bytes", (double)(after - before) / (double)count, count, 1);
}

/* Whether a long life slows it down. */
static void history(void)
{
    rate("history_before", batch_tasks, 100 * BATCH);
    for (int i = 0; i < 10; i++)
        batch_tasks(100 * BATCH);
    rate("history_after", batch_tasks, 100 * BATCH);
}

/* Efficiency: the work done over what the cores could do in that time. */
static void metg(void)
{
    static const int64_t us[] = {1,    3,     10,    30,     100,    300,    1000,
                                 3000, 10000, 30000, 100000, 300000, 1000000};
    struct raywf_task *spin = task_of("spin", NULL);
    for (size_t i = 0; i < sizeof(us) / sizeof(*us); i++) {
        int64_t ns = us[i] * 1000;
        double fit = 3 * b.seconds * b.cpus * 1e6 / (double)us[i];
        size_t count = fit > 300 * BATCH ? 300 * BATCH : (size_t)fit;
        if (count < 2 * (size_t)b.cpus)
            count = 2 * (size_t)b.cpus;
        double start = now();
        for (size_t k = 0; k < count; k++)
            TRY(raywf_submit(spin, RAYWF_ARGS(RAYWF_BYTES(&ns, sizeof(ns))), &b.refs[k],
                             &err));
        get_all(count);
        double efficiency =
            (double)count * (double)us[i] / 1e6 / ((now() - start) * b.cpus);
        printf("%s\n  {\"us\": %" PRId64 ", \"count\": %zu, \"efficiency\": %.6f}",
               i ? "," : "", us[i], count, efficiency);
        fprintf(stderr, "raywf metg %" PRId64 " us: %.4f of %zu\n", us[i], efficiency,
                count);
    }
}

/* --- which --- */

static const struct {
    const char *name;
    void (*run)(void);
} workloads[] = {
    {"history", history},         {"tasks_sync", tasks_sync},
    {"tasks_async", tasks_async}, {"tasks_multi", tasks_multi},
    {"actor_sync", actor_sync},   {"actor_async", actor_async},
    {"actor_nn", actor_nn},       {"put_small", put_small},
    {"get_small", get_small},     {"put_gib", put_gib},
    {"wait_1k", wait_1k},         {"args_10k", args_10k},
    {"returns_3k", returns_3k},   {"gets_10k", gets_10k},
    {"queued", queued},
};

static bool wanted(const char *name)
{
    size_t len = strlen(name);
    for (const char *at = b.only; (at = strstr(at, name)) != NULL; at += len)
        if ((at == b.only || at[-1] == ',') && (at[len] == ',' || at[len] == '\0'))
            return true;
    return *b.only == '\0';
}

static void parse(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--plugin") == 0)
            b.plugin = value;
        else if (strcmp(argv[i], "--cpus") == 0)
            b.cpus = atoi(value);
        else if (strcmp(argv[i], "--seconds") == 0)
            b.seconds = atof(value);
        else if (strcmp(argv[i], "--only") == 0)
            b.only = value;
        else
            die("unknown: %s", argv[i]);
    }
    if (b.plugin == NULL || b.cpus < 1 || b.cpus > 64)
        die("usage: core --plugin PATH [--cpus N] [--seconds S] [--only NAME,…]");
}

int main(int argc, char **argv)
{
    struct raywf_options options = {.address = "", .store = (int64_t)(3 * GIB)};
    parse(argc, argv);
    options.cpu = b.cpus;
    b.refs = calloc(1000 * BATCH, sizeof(*b.refs));
    TRY(raywf_init(&options, &err));
    b.noop = task_of("noop", NULL);
    batch_tasks(BATCH);
    printf("{\"system\": \"raywf " PACKAGE_VERSION "\", \"language\": \"C\", "
           "\"cpus\": %d, \"results\": {",
           b.cpus);
    for (size_t i = 0; i < sizeof(workloads) / sizeof(*workloads); i++)
        if (wanted(workloads[i].name))
            workloads[i].run();
    printf("},\n \"metg\": [");
    if (wanted("metg"))
        metg();
    printf("]}\n");
    fflush(stdout);
    raywf_shutdown();
    free(b.refs);
    return 0;
}
