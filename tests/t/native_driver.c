/* SPDX-License-Identifier: Apache-2.0
 *
 * A program of a user, for t2100-tasks.sh: native_driver PLUGIN CASE. Each case prints
 * "ok", or says what was wrong, and exits with 1.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "raywf.h"

static const char *plugin;
static struct raywf_error err;

static void die(const char *what)
{
    fprintf(stderr, "%s: code %d: %s\n", what, err.code, err.text);
    exit(1);
}
#define TRY(call) ((call) < 0 ? die(#call) : (void)0)
#define CHECK(cond) ((cond) ? (void)0 : die("not so: " #cond))

static struct raywf_task *task(const char *function, const struct raywf_task_options *o)
{
    struct raywf_task *t = raywf_task(plugin, function, o, &err);
    if (!t)
        die(function);
    return t;
}

static void fails(struct raywf_ref ref, int code, const char *text)
{
    struct raywf_value v;
    if (raywf_get(ref, 60 * RAYWF_S, &v, &err) == 0 || err.code != code ||
        !strstr(err.text, text)) {
        fprintf(stderr, "expected code %d with '%s'\n", code, text);
        die("failure");
    }
}

static int begins(const char *path)
{
    int c, lines = 0;
    FILE *f = fopen(path, "r");
    while (f && (c = getc(f)) != EOF)
        lines += c == '\n';
    if (f)
        fclose(f);
    return lines;
}

#define PATH_ARG(path) RAYWF_BYTES(path, sizeof(path))

static void squares(void)
{
    enum { N = 1000 };
    static struct raywf_ref refs[N];
    struct raywf_task *t = task("square", NULL);
    for (int i = 0; i < N; i++) {
        double x = i;
        TRY(raywf_submit(t, RAYWF_ARGS(RAYWF_BYTES(&x, sizeof(x))), &refs[i], &err));
    }
    CHECK(raywf_wait(refs, N, N, 60 * RAYWF_S, NULL, &err) == N);
    for (int i = 0; i < N; i++) {
        double y;
        TRY(raywf_get_copy(refs[i], 0, &y, sizeof(y), &err));
        CHECK(y == (double)i * i);
        raywf_drop(refs[i]);
    }
}

static void objects(void)
{
    struct raywf_ref put, made, total;
    const size_t n = 3000000;
    uint64_t sum;
    unsigned char *to = raywf_create(n, &put, &err);
    CHECK(to != NULL);
    memset(to, 2, n);
    TRY(raywf_seal(put, &err));
    TRY(raywf_submit(task("fill", NULL), RAYWF_ARGS(RAYWF_BYTES(&n, sizeof(n))), &made,
                     &err));
    TRY(raywf_submit(task("sum", NULL), RAYWF_ARGS(RAYWF_REF(put), RAYWF_REF(made)),
                     &total, &err));
    TRY(raywf_get_copy(total, 60 * RAYWF_S, &sum, sizeof(sum), &err));
    CHECK(sum == 3 * n);
    TRY(raywf_submit(task("overrun", NULL), RAYWF_NO_ARGS, &total, &err));
    fails(total, RAYWF_E_OVERRUN, "overrun");
}

static void deaths(void)
{
    static const char once[] = "die_once.txt", always[] = "die.txt";
    struct raywf_ref ref;
    char text[5];
    const struct raywf_task_options o = {.retry = {.max = 2, .backoff = RAYWF_MS}};
    TRY(raywf_submit(task("die_once", &o), RAYWF_ARGS(PATH_ARG(once)), &ref, &err));
    TRY(raywf_get_copy(ref, 60 * RAYWF_S, text, sizeof(text), &err));
    CHECK(begins(once) == 2);
    TRY(raywf_submit(task("die", &o), RAYWF_ARGS(PATH_ARG(always)), &ref, &err));
    fails(ref, RAYWF_E_WORKER, "7");
    CHECK(begins(always) == 3);
}

static void cancel(void)
{
    static const char spin[] = "spin.txt", stuck[] = "stuck.txt";
    struct raywf_ref ref;
    TRY(raywf_submit(task("spin", NULL), RAYWF_ARGS(PATH_ARG(spin)), &ref, &err));
    while (begins(spin) < 1)
        raywf_wait(&ref, 1, 1, RAYWF_MS, NULL, &err);
    TRY(raywf_cancel(ref, 0, &err));
    fails(ref, RAYWF_E_CANCELLED, "cancelled");
    TRY(raywf_submit(task("stuck", NULL), RAYWF_ARGS(PATH_ARG(stuck)), &ref, &err));
    while (begins(stuck) < 1)
        raywf_wait(&ref, 1, 1, RAYWF_MS, NULL, &err);
    TRY(raywf_cancel(ref, RAYWF_CANCEL_FORCE, &err));
    fails(ref, RAYWF_E_CANCELLED, "cancelled");
    CHECK(begins(stuck) == 1);
}

static void timeout(void)
{
    static const char path[] = "timeout.txt";
    struct raywf_ref ref;
    char text[32];
    /* More of it where it was over before the function had begun. */
    for (int64_t ms = 50; begins(path) == 0; ms *= 4) {
        const struct raywf_task_options o = {.timeout = ms * RAYWF_MS};
        TRY(raywf_submit(task("stuck", &o), RAYWF_ARGS(PATH_ARG(path)), &ref, &err));
        snprintf(text, sizeof(text), "%g s", (double)ms / 1000);
        fails(ref, RAYWF_E_TIMEOUT, text);
    }
    CHECK(begins(path) == 1);
}

static void nested(void)
{
    int64_t n = 9, ret;
    struct raywf_ref ref;
    TRY(raywf_submit(
        task("fib", NULL),
        RAYWF_ARGS(RAYWF_BYTES(&n, sizeof(n)), RAYWF_BYTES(plugin, strlen(plugin) + 1)),
        &ref, &err));
    TRY(raywf_get_copy(ref, 600 * RAYWF_S, &ret, sizeof(ret), &err));
    CHECK(ret == 34);
}

static void lend(void)
{
    struct raywf_ref ref, theirs;
    struct raywf_value v;
    uint64_t sum;
    TRY(raywf_submit(task("lend", NULL), RAYWF_NO_ARGS, &ref, &err));
    TRY(raywf_get_copy(ref, 60 * RAYWF_S, &theirs, sizeof(theirs), &err));
    TRY(raywf_get(theirs, 60 * RAYWF_S, &v, &err));
    CHECK(v.size == 200000 && *(const char *)v.data == 42);
    TRY(raywf_submit(task("sum", NULL), RAYWF_ARGS(RAYWF_REF(theirs)), &ref, &err));
    TRY(raywf_get_copy(ref, 60 * RAYWF_S, &sum, sizeof(sum), &err));
    CHECK(sum == 42);
    raywf_release(&v);
}

static void wrong(void)
{
    struct raywf_ref ref;
    TRY(raywf_submit(task("nothing", NULL), RAYWF_NO_ARGS, &ref, &err));
    fails(ref, RAYWF_E_PLUGIN, "nothing");
    struct raywf_task *t = raywf_task("./missing.so", "square", NULL, &err);
    TRY(raywf_submit(t, RAYWF_NO_ARGS, &ref, &err));
    fails(ref, RAYWF_E_PLUGIN, "missing.so");
    TRY(raywf_submit(task("square", NULL), RAYWF_NO_ARGS, &ref, &err));
    fails(ref, RAYWF_E_FAILED, "square needs one number");
    const struct raywf_task_options o = {.resources.cpu = 100000};
    TRY(raywf_submit(task("square", &o), RAYWF_NO_ARGS, &ref, &err));
    fails(ref, RAYWF_E_FIT, "cpu");
}

static void shapes(void)
{
    static const char *const red[] = {"COLOUR=red", NULL};
    const struct raywf_task_options o = {.env = red};
    struct raywf_ref ref;
    char text[4];
    TRY(raywf_submit(task("env", &o), RAYWF_NO_ARGS, &ref, &err));
    TRY(raywf_get_copy(ref, 60 * RAYWF_S, text, 3, &err));
    CHECK(memcmp(text, "red", 3) == 0);
    TRY(raywf_submit(task("env", NULL), RAYWF_NO_ARGS, &ref, &err));
    TRY(raywf_get_copy(ref, 60 * RAYWF_S, text, 4, &err));
    CHECK(memcmp(text, "none", 4) == 0);
    const struct raywf_task_options fresh = {.max_calls = 1};
    struct raywf_task *t = task("pid", &fresh);
    pid_t a, b;
    TRY(raywf_submit(t, RAYWF_NO_ARGS, &ref, &err));
    TRY(raywf_get_copy(ref, 60 * RAYWF_S, &a, sizeof(a), &err));
    TRY(raywf_submit(t, RAYWF_NO_ARGS, &ref, &err));
    TRY(raywf_get_copy(ref, 60 * RAYWF_S, &b, sizeof(b), &err));
    CHECK(a != b);
}

static void reserve(void)
{
    const struct raywf_bundle bundles[2] = {{.cpu = 1}, {.cpu = 1}};
    struct raywf_group *g =
        raywf_group_create(bundles, 2, RAYWF_PACK, 60 * RAYWF_S, &err);
    CHECK(g != NULL);
    const struct raywf_task_options o = {.resources = {.group = g}};
    double x = 3, y;
    struct raywf_ref ref;
    TRY(raywf_submit(task("square", &o), RAYWF_ARGS(RAYWF_BYTES(&x, sizeof(x))), &ref,
                     &err));
    TRY(raywf_get_copy(ref, 60 * RAYWF_S, &y, sizeof(y), &err));
    CHECK(y == 9);
    raywf_group_remove(g);
}

/* Our one child. */
static void kill_session(void)
{
    char path[64];
    int child = 0;
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "r");
    CHECK(f != NULL && fscanf(f, "%d", &child) == 1);
    fclose(f);
    CHECK(kill(child, SIGKILL) == 0);
}

/* The process that raywf_init started dies: a new one is, and nothing is lost. */
static void crash(void)
{
    static const char path[] = "crash.txt";
    const size_t n = 100000;
    struct raywf_ref put, made, running, total;
    uint64_t sum;
    char *bytes = calloc(1, n);
    memset(bytes, 1, n);
    TRY(raywf_put(bytes, n, &put, &err));
    free(bytes);
    TRY(raywf_submit(task("fill", NULL), RAYWF_ARGS(RAYWF_BYTES(&n, sizeof(n))), &made,
                     &err));
    CHECK(raywf_wait(&made, 1, 1, 60 * RAYWF_S, NULL, &err) == 1);
    const struct raywf_task_options o = {.retry.backoff = RAYWF_MS};
    TRY(raywf_submit(task("die_once", &o), RAYWF_ARGS(PATH_ARG(path)), &running, &err));
    kill_session();
    TRY(raywf_submit(task("sum", NULL), RAYWF_ARGS(RAYWF_REF(put), RAYWF_REF(made)),
                     &total, &err));
    TRY(raywf_get_copy(total, 60 * RAYWF_S, &sum, sizeof(sum), &err));
    CHECK(sum == 2 * n);
    CHECK(raywf_wait(&running, 1, 1, 60 * RAYWF_S, NULL, &err) == 1);
}

static const struct {
    const char *name;
    void (*fn)(void);
} cases[] = {
    {"squares", squares}, {"objects", objects}, {"deaths", deaths}, {"cancel", cancel},
    {"timeout", timeout}, {"nested", nested},   {"lend", lend},     {"wrong", wrong},
    {"shapes", shapes},   {"reserve", reserve}, {"crash", crash},
};

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    plugin = argv[1];
    const struct raywf_options o = {.cpu = 2, .store = 64 << 20};
    TRY(raywf_init(&o, &err));
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        if (strcmp(cases[i].name, argv[2]) != 0)
            continue;
        cases[i].fn();
        raywf_shutdown();
        puts("ok");
        return 0;
    }
    fprintf(stderr, "no case '%s'\n", argv[2]);
    return 2;
}
