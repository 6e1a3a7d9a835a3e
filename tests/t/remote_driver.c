/* SPDX-License-Identifier: Apache-2.0
 * remote_driver PLUGIN: a driver that does what it reads, line by line, and prints one
 * line for each. See the table at the end. */
#include "raywf.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WAIT (60 * RAYWF_S)

static struct raywf_error err;
static const char *plugin;
static struct raywf_actor *actor;
static long n1, n2;
static char word[256];

#define NUMBER(x) RAYWF_BYTES(&(x), sizeof(long))

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * RAYWF_S + t.tv_nsec;
}

static struct raywf_task *task(const char *name, const struct raywf_task_options *o)
{
    return raywf_task(plugin, name, o, &err);
}

/* Prints the number, or text, and drops. */
static int answer(struct raywf_ref ref, bool text)
{
    struct raywf_value v;
    if (raywf_get(ref, WAIT, &v, &err))
        return -1;
    if (text)
        printf("%s\n", (const char *)v.data);
    else
        printf("%ld\n", v.size == sizeof(long) ? *(const long *)v.data : -1);
    raywf_release(&v);
    raywf_drop(ref);
    return 0;
}

static int run(const char *name, const struct raywf_task_options *o,
               const struct raywf_arg *args, size_t n, bool text)
{
    struct raywf_ref ref;
    struct raywf_task *t = task(name, o);
    return !t || raywf_submit(t, args, n, &ref, &err) ? -1 : answer(ref, text);
}

static int do_square(void)
{
    return run("square", NULL, RAYWF_ARGS(NUMBER(n1)), false);
}

static int do_where(void)
{
    return run("where", NULL, RAYWF_NO_ARGS, true);
}

/* Where N tasks of some length run: the names of nodes, sorted, each once. */
static int do_spread(void)
{
    struct raywf_task_options o = {.resources.placement = RAYWF_SPREAD};
    struct raywf_ref *refs = calloc((size_t)n1, sizeof(*refs));
    struct raywf_task *t = task("where", &o);
    bool seen[26] = {false};
    long ms = 20;
    for (long i = 0; i < n1; i++)
        if (raywf_submit(t, RAYWF_ARGS(NUMBER(ms)), &refs[i], &err))
            return -1;
    for (long i = 0; i < n1; i++) {
        struct raywf_value v;
        if (raywf_get(refs[i], WAIT, &v, &err))
            return -1;
        seen[(*(const char *)v.data - 'a') % 26] = true;
        raywf_release(&v);
        raywf_drop(refs[i]);
    }
    for (int i = 0; i < 26; i++)
        if (seen[i])
            putchar('a' + i);
    putchar('\n');
    free(refs);
    return 0;
}

static long expected(long size, long seed)
{
    long total = 0;
    for (long i = 0; i < size; i++)
        total += (unsigned char)(i * 31 + seed);
    return total;
}

static long sum_of(const struct raywf_value *v)
{
    long total = 0;
    for (size_t i = 0; i < v->size; i++)
        total += ((const unsigned char *)v->data)[i];
    return total;
}

/* COUNT values of SIZE bytes from one task, summed here and by another one. */
static int do_big(void)
{
    struct raywf_task_options o = {.returns = (int)n2};
    struct raywf_task *m = task("make", &o), *s = task("sum", NULL);
    struct raywf_ref *refs = calloc((size_t)n2, sizeof(*refs)), total;
    struct raywf_arg *args = calloc((size_t)n2, sizeof(*args));
    long seed = 7, here = 0, there, want = 0;
    if (raywf_submit(m, RAYWF_ARGS(NUMBER(n1), NUMBER(seed), NUMBER(n2)), refs, &err))
        return -1;
    for (long i = 0; i < n2; i++)
        args[i] = RAYWF_REF(refs[i]);
    if (raywf_submit(s, args, (size_t)n2, &total, &err) ||
        raywf_get_copy(total, WAIT, &there, sizeof(there), &err))
        return -1;
    for (long i = 0; i < n2; i++) {
        struct raywf_value v;
        if (raywf_get(refs[i], WAIT, &v, &err))
            return -1;
        here += sum_of(&v);
        want += expected(n1, seed + i);
        raywf_release(&v);
        raywf_drop(refs[i]);
    }
    raywf_drop(total);
    free(refs);
    free(args);
    if (here == want && there == want)
        puts("right");
    else
        printf("here %ld there %ld want %ld\n", here, there, want);
    return 0;
}

/* COUNT values of SIZE bytes of our own to one task. */
static int do_give(void)
{
    struct raywf_arg *args = calloc((size_t)n2, sizeof(*args));
    struct raywf_ref *refs = calloc((size_t)n2, sizeof(*refs)), total;
    unsigned char *data = malloc((size_t)n1);
    long there;
    for (long i = 0; i < n1; i++)
        data[i] = (unsigned char)(i * 31 + 3);
    for (long i = 0; i < n2; i++) {
        if (raywf_put(data, (size_t)n1, &refs[i], &err))
            return -1;
        args[i] = RAYWF_REF(refs[i]);
    }
    if (raywf_submit(task("sum", NULL), args, (size_t)n2, &total, &err) ||
        raywf_get_copy(total, WAIT, &there, sizeof(there), &err))
        return -1;
    for (long i = 0; i < n2; i++)
        raywf_drop(refs[i]);
    raywf_drop(total);
    puts(there == n2 * expected(n1, 3) ? "right" : "wrong");
    free(args);
    free(refs);
    free(data);
    return 0;
}

/* --- where large arguments lie --- */

static struct raywf_task *task_at(const char *zone)
{
    const struct raywf_label labels[] = {{"zone", zone}, {NULL, NULL}};
    struct raywf_task_options o = {.resources.labels = labels};
    return task("where", &o);
}

/* Where a task of its own kind runs (by its cores) that reads o. */
static int where_near(struct raywf_ref o, double cpu)
{
    static long no_time;
    struct raywf_task_options o1 = {.resources.cpu = cpu};
    struct raywf_ref ref;
    const struct raywf_arg args[] = {NUMBER(no_time), RAYWF_REF(o)};
    if (raywf_submit(task("where", &o1), args, 2, &ref, &err))
        return -1;
    return answer(ref, true);
}

/* COUNT calls of N2 ms with each of two objects, each of which a node has, at once, of
 * which each node runs one at a time: how many run where theirs is. */
static long count_at_home(const struct raywf_ref objects[2], const char *const zones[2])
{
    enum { COUNT = 6 };
    struct raywf_task_options o = {.resources.cpu = 2};
    struct raywf_task *t = task("where", &o);
    struct raywf_ref refs[2 * COUNT];
    long home = 0;
    for (int i = 0; i < 2 * COUNT; i++) {
        const struct raywf_arg args[] = {NUMBER(n2), RAYWF_REF(objects[i / COUNT])};
        if (raywf_submit(t, args, 2, &refs[i], &err))
            return -1;
    }
    for (int i = 0; i < 2 * COUNT; i++) {
        char name[2];
        if (raywf_get_copy(refs[i], WAIT, name, sizeof(name), &err))
            return -1;
        home += strcmp(name, zones[i / COUNT]) == 0;
        raywf_drop(refs[i]);
    }
    return home;
}

/* Objects of N1 bytes, one for each of two nodes. */
static int do_near(void)
{
    static const char *const zones[] = {"b", "c"};
    static long no_time;
    char *data = calloc(1, (size_t)n1);
    struct raywf_ref objects[2], ref;
    char name[2];
    for (int i = 0; i < 2; i++) {
        if (raywf_put(data, (size_t)n1, &objects[i], &err))
            return -1;
        const struct raywf_arg args[] = {NUMBER(no_time), RAYWF_REF(objects[i])};
        if (raywf_submit(task_at(zones[i]), args, 2, &ref, &err) ||
            raywf_get_copy(ref, WAIT, name, sizeof(name), &err))
            return -1;
        raywf_drop(ref);
    }
    free(data);
    if (where_near(objects[1], 0.1) || where_near(objects[0], 0.2) ||
        where_near(objects[1], 0.3))
        return -1;
    printf("%s\n", count_at_home(objects, zones) >= 9 ? "home" : "anywhere");
    raywf_drop(objects[0]);
    raywf_drop(objects[1]);
    return 0;
}

static int do_fail(void)
{
    struct raywf_task_options o = {.retry = {.max = -1}};
    return run("fail", &o, RAYWF_NO_ARGS, false);
}

static int do_die(void)
{
    struct raywf_task_options o = {.retry = {.max = n2 ? (int)n2 : -1, .backoff = 1}};
    return run("die", &o, RAYWF_ARGS(NUMBER(n1)), false);
}

static int do_timeout(void)
{
    struct raywf_task_options o = {.timeout = n1 * RAYWF_MS, .retry = {.max = -1}};
    return run("sleeps", &o, RAYWF_ARGS(NUMBER(n2)), false);
}

static int do_stream(void)
{
    struct raywf_task_options o = {.returns = RAYWF_STREAM, .credit = 4};
    struct raywf_ref stream, ref;
    long total = 0;
    int rc;
    if (raywf_submit(task("yields", &o), RAYWF_ARGS(NUMBER(n1), NUMBER(n2)), &stream,
                     &err))
        return -1;
    while ((rc = raywf_next(stream, WAIT, &ref, &err)) > 0) {
        struct raywf_value v;
        if (raywf_get(ref, WAIT, &v, &err))
            return -1;
        total += v.size == (size_t)n2 ? *(const long *)v.data : -1000000;
        raywf_release(&v);
        raywf_drop(ref);
    }
    raywf_drop(stream);
    if (rc == 0)
        printf("%ld\n", total);
    return rc;
}

/* Cancelled MS after it was submitted; FORCE: by force. */
static int do_cancel(void)
{
    struct raywf_ref ref;
    long ms = 60000, y;
    const struct timespec t = {n1 / 1000, n1 % 1000 * 1000000};
    if (raywf_submit(task("sleeps", NULL), RAYWF_ARGS(NUMBER(ms)), &ref, &err))
        return -1;
    nanosleep(&t, NULL);
    if (raywf_cancel(ref, (int)n2, &err))
        return -1;
    int rc = raywf_get_copy(ref, WAIT, &y, sizeof(y), &err);
    raywf_drop(ref);
    return rc ? -1 : 0;
}

static int do_nested(void)
{
    return run("nested", NULL,
               RAYWF_ARGS(NUMBER(n1), RAYWF_BYTES(plugin, strlen(plugin) + 1)), false);
}

/* Of SIZE bytes that we own, and of the result of a task. */
static int do_borrow(void)
{
    struct raywf_ref ref, made;
    struct raywf_task *b = task("borrow", NULL);
    long seed = 5;
    unsigned char *data = raywf_create((size_t)n1, &ref, &err);
    if (!data)
        return -1;
    for (long i = 0; i < n1; i++)
        data[i] = (unsigned char)(i * 31 + seed);
    if (raywf_seal(ref, &err) ||
        raywf_submit(task("make", NULL), RAYWF_ARGS(NUMBER(n1), NUMBER(seed)), &made,
                     &err))
        return -1;
    for (int i = 0; i < 2; i++) {
        struct raywf_ref *of = i ? &made : &ref, got;
        long total;
        if (raywf_submit(b, RAYWF_ARGS(RAYWF_BYTES(of, sizeof(*of))), &got, &err) ||
            raywf_get_copy(got, WAIT, &total, sizeof(total), &err))
            return -1;
        raywf_drop(got);
        raywf_drop(*of);
        printf(i ? " %s\n" : "%s", total == expected(n1, seed) ? "right" : "wrong");
    }
    return 0;
}

/* N squares at once, each checked; MS: of each. */
static int do_many(void)
{
    struct raywf_task_options o = {.resources.placement = RAYWF_SPREAD,
                                   .retry = {.max = 20, .backoff = 1}};
    struct raywf_task *t = task(n2 ? "sleeps" : "square", &o);
    struct raywf_ref *refs = calloc((size_t)n1, sizeof(*refs));
    long wrong = 0, y;
    for (long i = 0; i < n1; i++) {
        long x = n2 ? n2 : i;
        if (raywf_submit(t, RAYWF_ARGS(NUMBER(x)), &refs[i], &err))
            return -1;
    }
    for (long i = 0; i < n1; i++) {
        if (raywf_get_copy(refs[i], WAIT, &y, sizeof(y), &err))
            return -1;
        wrong += y != (n2 ? n2 : i * i);
        raywf_drop(refs[i]);
    }
    free(refs);
    printf("%ld wrong\n", wrong);
    return 0;
}

/* N tasks that do nothing: per second; one after the other: ns. */
static int do_rate(void)
{
    struct raywf_task_options o = {.resources.placement = RAYWF_SPREAD};
    struct raywf_task *t = task("nothing", &o);
    struct raywf_ref *refs = calloc((size_t)n1, sizeof(*refs));
    int64_t start = now();
    for (long i = 0; i < n1; i++)
        if (raywf_submit(t, RAYWF_NO_ARGS, &refs[i], &err))
            return -1;
    for (long i = 0; i < n1; i++) {
        if (raywf_get_copy(refs[i], WAIT, NULL, 0, &err))
            return -1;
        raywf_drop(refs[i]);
    }
    printf("%.0f/s\n", (double)n1 / ((double)(now() - start) / 1e9));
    free(refs);
    return 0;
}

static int do_latency(void)
{
    struct raywf_task *t = task("nothing", NULL);
    int64_t *took = calloc((size_t)n1, sizeof(*took)), best = INT64_MAX, total = 0;
    for (long i = 0; i < n1; i++) {
        struct raywf_ref ref;
        int64_t start = now();
        if (raywf_submit(t, RAYWF_NO_ARGS, &ref, &err) ||
            raywf_get_copy(ref, WAIT, NULL, 0, &err))
            return -1;
        took[i] = now() - start;
        raywf_drop(ref);
        if (i >= n1 / 10) {
            best = took[i] < best ? took[i] : best;
            total += took[i];
        }
    }
    printf("mean %.1f best %.1f us\n", (double)total / ((double)n1 * 0.9) / 1e3,
           (double)best / 1e3);
    free(took);
    return 0;
}

/* --- actors --- */

static int make_actor(bool detached, int restarts)
{
    struct raywf_actor_options o = {
        .name = word, .detached = detached, .max_restarts = restarts, .backoff = 1};
    long first = n1;
    if (actor)
        raywf_actor_release(actor);
    actor = raywf_actor_create(plugin, "counter", &o, RAYWF_ARGS(NUMBER(first)), &err);
    if (actor)
        puts("made");
    return actor ? 0 : -1;
}

static int do_actor(void)
{
    return make_actor(false, 0);
}

static int do_lasting(void)
{
    return make_actor(true, -1);
}

static int do_find(void)
{
    if (actor)
        raywf_actor_release(actor);
    actor = raywf_actor_find(word, &err);
    if (actor)
        puts("found");
    return actor ? 0 : -1;
}

static int do_call(void)
{
    struct raywf_call_options o = {.idempotent = true, .retries = 20};
    struct raywf_ref ref;
    bool text = strcmp(word, "where") == 0;
    return !actor || raywf_actor_call(actor, word, &o, RAYWF_NO_ARGS, &ref, &err)
               ? -1
               : answer(ref, text);
}

/* N calls at once: are they run in order? */
static int do_order(void)
{
    struct raywf_ref *refs = calloc((size_t)n1, sizeof(*refs));
    long last = 0, y, wrong = 0;
    for (long i = 0; i < n1; i++)
        if (raywf_actor_call(actor, "next", NULL, RAYWF_NO_ARGS, &refs[i], &err))
            return -1;
    for (long i = 0; i < n1; i++) {
        if (raywf_get_copy(refs[i], WAIT, &y, sizeof(y), &err))
            return -1;
        wrong += i > 0 && y != last + 1;
        last = y;
        raywf_drop(refs[i]);
    }
    free(refs);
    puts(wrong ? "disorder" : "in order");
    return 0;
}

/* FILE: N calls of MS each, none of which may run twice: how many succeeded. */
static int do_once(void)
{
    struct raywf_ref *refs = calloc((size_t)n1, sizeof(*refs));
    long good = 0, y;
    for (long i = 0; i < n1; i++)
        if (raywf_actor_call(
                actor, "mark", NULL,
                RAYWF_ARGS(RAYWF_BYTES(word, strlen(word) + 1), NUMBER(i), NUMBER(n2)),
                &refs[i], &err))
            return -1;
    for (long i = 0; i < n1; i++) {
        good += raywf_get_copy(refs[i], WAIT, &y, sizeof(y), &err) == 0;
        raywf_drop(refs[i]);
    }
    free(refs);
    printf("%ld\n", good);
    return 0;
}

/* FILE: N tasks of MS each that leave a mark there: how many succeeded. */
static int do_marks(void)
{
    struct raywf_task_options o = {.resources.placement = RAYWF_SPREAD};
    struct raywf_task *t = task("mark", &o);
    struct raywf_ref *refs = calloc((size_t)n1, sizeof(*refs));
    long good = 0, y;
    for (long i = 0; i < n1; i++)
        if (raywf_submit(
                t,
                RAYWF_ARGS(RAYWF_BYTES(word, strlen(word) + 1), NUMBER(i), NUMBER(n2)),
                &refs[i], &err))
            return -1;
    for (long i = 0; i < n1; i++) {
        good += raywf_get_copy(refs[i], WAIT, &y, sizeof(y), &err) == 0 && y == i;
        raywf_drop(refs[i]);
    }
    free(refs);
    printf("%ld\n", good);
    return 0;
}

static int do_value(void)
{
    struct raywf_ref ref;
    struct raywf_value v;
    long seed = 9;
    if (raywf_actor_call(actor, "make", NULL, RAYWF_ARGS(NUMBER(n1), NUMBER(seed)),
                         &ref, &err) ||
        raywf_get(ref, WAIT, &v, &err))
        return -1;
    puts(sum_of(&v) == expected(n1, seed) ? "right" : "wrong");
    raywf_release(&v);
    raywf_drop(ref);
    return 0;
}

static int do_kill(void)
{
    if (raywf_actor_kill(actor, n1 != 0, &err))
        return -1;
    puts("killed");
    return 0;
}

static int do_other(void)
{
    plugin = strdup(word);
    puts("ok");
    return 0;
}

static const struct {
    const char *format;
    int fields;
    int (*fn)(void);
} table[] = {
    {"square %ld", 1, do_square},
    {"where%n", 0, do_where},
    {"spread %ld", 1, do_spread},
    {"big %ld %ld", 2, do_big},
    {"give %ld %ld", 2, do_give},
    {"near %ld %ld", 2, do_near},
    {"fail%n", 0, do_fail},
    {"die %ld %ld", 2, do_die},
    {"timeout %ld %ld", 2, do_timeout},
    {"stream %ld %ld", 2, do_stream},
    {"cancel %ld %ld", 2, do_cancel},
    {"nested %ld", 1, do_nested},
    {"borrow %ld", 1, do_borrow},
    {"many %ld %ld", 2, do_many},
    {"rate %ld", 1, do_rate},
    {"latency %ld", 1, do_latency},
    {"order %ld", 1, do_order},
    {"value %ld", 1, do_value},
    {"kill %ld", 1, do_kill},
};

static const struct {
    const char *format;
    int fields;
    int (*fn)(void);
} named[] = {
    {"actor %255s %ld", 2, do_actor},     {"lasting %255s %ld", 2, do_lasting},
    {"find %255s", 1, do_find},           {"call %255s", 1, do_call},
    {"once %255s %ld %ld", 3, do_once},   {"plugin %255s", 1, do_other},
    {"marks %255s %ld %ld", 3, do_marks},
};

static int obey(const char *line)
{
    char verb[16], other[16];
    sscanf(line, "%15s", verb);
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        int end = 0;
        sscanf(table[i].format, "%15[a-z]", other);
        if (strcmp(verb, other) != 0)
            continue;
        if (!table[i].fields ||
            sscanf(line, table[i].format, &n1, &n2, &end) >= table[i].fields)
            return table[i].fn();
    }
    for (size_t i = 0; i < sizeof(named) / sizeof(*named); i++) {
        sscanf(named[i].format, "%15[a-z]", other);
        if (strcmp(verb, other) == 0 &&
            sscanf(line, named[i].format, word, &n1, &n2) >= named[i].fields)
            return named[i].fn();
    }
    snprintf(err.text, sizeof(err.text), "what is that?");
    return -1;
}

int main(int argc, char **argv)
{
    char line[512];
    if (argc != 2 || raywf_init(NULL, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    plugin = argv[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin))
        if (obey(line))
            printf("error: %s\n", err.text);
    raywf_shutdown();
    return 0;
}
