/* SPDX-License-Identifier: Apache-2.0
 *
 * proc_rate DIR [N]: the parts of a step's cost, one at a time: N no-op commands, two
 * at once, through run/proc; then N cache entries without outputs put, got, locked.
 * Prints one line each: name, microseconds of wall time per item, of our own CPU time
 * per item. DIR is left there: ext4 looks twice at every inode number freed within the
 * last minutes, so that making files after deleting many takes several times as long.
 */
#include "config.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <uv.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "run/cache.h"
#include "node/proc.h"

struct bench {
    uv_loop_t loop;
    const char *top;
    int todo, made;
    json_t *argv;
    struct slot { struct bench *b; struct proc *p; } slots[2];
};

static void on_exited(void *ctx, const struct proc_exit *result);

static void on_report(void *ctx, const json_t *line)
{
    (void)ctx, (void)line;
}

static void start(struct slot *slot)
{
    struct bench *b = slot->b;
    struct rwf_err err = RWF_ERR_INIT;
    struct proc_handler h = { .ctx = slot, .report = on_report, .exited = on_exited };
    if (b->made >= b->todo)
        return;
    char *dir = rwf_xasprintf("%s/steps/%d", b->top, b->made++);
    struct proc_spec spec = {.argv = b->argv,
                             .cwd = dir,
                             .dir = dir,
                             .run_id = "bench",
                             .address = "tasks.noop",
                             .log_limit = 1 << 20,
                             .grace = RWF_NS_PER_S,
                             .gpu_count = -1};
    if (mkdir(dir, 0777) < 0 || !(slot->p = proc_start(&b->loop, &spec, &h, &err))) {
        fprintf(stderr, "proc_rate: %s: %s\n", dir, err.text);
        exit(1);
    }
    free(dir);
}

static void on_exited(void *ctx, const struct proc_exit *result)
{
    struct slot *slot = ctx;
    if (result->cause != PLAN_CAUSE_NONE) {
        fprintf(stderr, "proc_rate: %s\n", result->message);
        exit(1);
    }
    proc_free(slot->p);
    start(slot);
}

static int64_t own_cpu(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * RWF_NS_PER_S +
           (r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000;
}

static void tell(const char *name, int n, int64_t wall, int64_t cpu)
{
    printf("%-8s %8.1f us wall %8.1f us cpu\n", name, (double)wall / n / 1e3,
           (double)cpu / n / 1e3);
}

static void bench_proc(const char *top, int n)
{
    struct bench b = { .top = top, .todo = n, .argv = json_pack("[s]", "true") };
    uv_loop_init(&b.loop);
    int64_t wall = rwf_clock_mono(), cpu = own_cpu();
    for (size_t i = 0; i < RWF_COUNT(b.slots); i++) {
        b.slots[i].b = &b;
        start(&b.slots[i]);
    }
    uv_run(&b.loop, UV_RUN_DEFAULT);
    tell("proc", n, rwf_clock_mono() - wall, own_cpu() - cpu);
    uv_loop_close(&b.loop);
    json_decref(b.argv);
}

struct entries {
    struct run_cache *cache;
    json_t *parts, *outputs;
};

static int put_one(struct entries *e, const char *key)
{
    json_t *kept = run_cache_put(e->cache, key, e->parts, "/", e->outputs, NULL,
                                 "bench.yaml", "bench/tasks.noop", NULL, NULL);
    json_decref(kept);
    return kept ? 0 : -1;
}

static int get_one(struct entries *e, const char *key)
{
    const char *why;
    json_t *entry = run_cache_get(e->cache, key, &why);
    json_decref(entry);
    return entry ? 0 : -1;
}

static int lock_one(struct entries *e, const char *key)
{
    int lock;
    if (run_cache_trylock(e->cache, key, &lock, NULL) != 1)
        return -1;
    run_cache_unlock(e->cache, key, lock);
    return 0;
}

static void bench_cache(const char *name, struct entries *e, int n,
                        int (*fn)(struct entries *e, const char *key))
{
    char key[RWF_DIGEST_LEN];
    int64_t wall = rwf_clock_mono(), cpu = own_cpu();
    for (int i = 0; i < n; i++) {
        rwf_digest_bytes(&i, sizeof(i), key);
        if (fn(e, key) < 0) {
            fprintf(stderr, "proc_rate: %s failed\n", name);
            exit(1);
        }
    }
    tell(name, n, rwf_clock_mono() - wall, own_cpu() - cpu);
}

int main(int argc, char **argv)
{
    int n = argc > 2 ? atoi(argv[2]) : 2000;
    struct rwf_err err = RWF_ERR_INIT;
    if (argc < 2 || n <= 0) {
        fprintf(stderr, "usage: proc_rate DIR [N]; DIR must not exist\n");
        return 2;
    }
    char *steps = rwf_fs_join(argv[1], "steps");
    if (rwf_fs_exists(argv[1]) || rwf_fs_mkdirs(steps, &err) < 0) {
        fprintf(stderr, "proc_rate: %s: %s\n", argv[1], err.code ? err.text : "exists");
        return 1;
    }
    bench_proc(argv[1], n);
    struct entries e = {.cache = run_cache_open(argv[1], NULL),
                        .outputs = json_object(),
                        .parts = json_pack("{s:i, s:s, s:i, s:{s:[s], s:{}}, s:{}}",
                                           "epoch", 1, "op", "task", "version", 1,
                                           "spec", "argv", "true", "env", "files")};
    bench_cache("put", &e, n, put_one);
    bench_cache("get", &e, n, get_one);
    bench_cache("lock", &e, n, lock_one);
    run_cache_close(e.cache);
    json_decref(e.parts);
    json_decref(e.outputs);
    free(steps);
    return 0;
}
