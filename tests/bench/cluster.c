/* SPDX-License-Identifier: Apache-2.0
 *
 * What tasks and objects cost between nodes; cluster.sh runs it on one host of several.
 * Nodes are named by their label "where".
 *
 *   cluster PLUGIN ping NODE COUNT         a no-op there, one after the other: "us
 * MEDIAN MEAN" cluster PLUGIN tasks COUNT             no-ops spread over all: "rate
 * PER_SECOND" cluster PLUGIN object BYTES NODE...    one object to these: "s SECONDS",
 * from the submission until all have read it cluster PLUGIN lost NODE tasks of 20 ms
 * there and elsewhere, for ever; a line "done MS WHERE" for each
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "raywf.h"

#define NODES_MAX 64

static struct raywf_error err;
static const char *plugin;

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, err.text);
    exit(1);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct raywf_task *task_on(const char *function, const char *node)
{
    struct raywf_label labels[] = {{"where", node}, {NULL, NULL}};
    struct raywf_task_options o = {.resources = {.cpu = 1, .labels = labels}};
    if (!node) { /* any but ours */
        labels[0] = (struct raywf_label){"away", "yes"};
        o.resources.placement = RAYWF_SPREAD;
    }
    struct raywf_task *t = raywf_task(plugin, function, &o, &err);
    if (!t)
        die(function);
    return t;
}

static void wait_for(struct raywf_ref ref)
{
    struct raywf_value v;
    if (raywf_get(ref, 300 * RAYWF_S, &v, &err))
        die("get");
    raywf_release(&v);
    raywf_drop(ref);
}

static void once(struct raywf_task *t)
{
    struct raywf_ref ref;
    if (raywf_submit(t, RAYWF_NO_ARGS, &ref, &err))
        die("submit");
    wait_for(ref);
}

static int ping(const char *node, long count)
{
    struct raywf_task *t = task_on("noop", node);
    double *took = calloc((size_t)count, sizeof(*took)), sum = 0;
    if (!took)
        return 1;
    for (int i = 0; i < 200; i++)
        once(t);
    for (long i = 0; i < count; i++) {
        double start = now_s();
        once(t);
        sum += took[i] = now_s() - start;
    }
    qsort(took, (size_t)count, sizeof(*took), compare);
    printf("us %.1f %.1f\n", took[count / 2] * 1e6, sum / (double)count * 1e6);
    free(took);
    return 0;
}

/* How many came from which host. */
static struct {
    char name[32];
    long count;
} hosts[NODES_MAX];

static void count_host(const struct raywf_value *v)
{
    int i = 0, len = (int)v->size;
    while (i < NODES_MAX - 1 && *hosts[i].name &&
           strncmp(hosts[i].name, v->data, v->size) != 0)
        i++;
    snprintf(hosts[i].name, sizeof(hosts[i].name), "%.*s", len, (const char *)v->data);
    hosts[i].count++;
}

static double run_all(struct raywf_task *t, struct raywf_ref *refs, long count)
{
    double start = now_s();
    memset(hosts, 0, sizeof(hosts));
    for (long i = 0; i < count; i++)
        if (raywf_submit(t, RAYWF_NO_ARGS, &refs[i], &err))
            die("submit");
    for (long i = 0; i < count; i++) {
        struct raywf_value v;
        if (raywf_get(refs[i], 300 * RAYWF_S, &v, &err))
            die("get");
        count_host(&v);
        raywf_release(&v);
        raywf_drop(refs[i]);
    }
    return now_s() - start;
}

static int tasks(long count)
{
    struct raywf_task *t = task_on("where", NULL);
    struct raywf_ref *refs = calloc((size_t)count, sizeof(*refs));
    if (!refs)
        return 1;
    run_all(t, refs, count / 10); /* all workers are there then */
    printf("rate %.0f", (double)count / run_all(t, refs, count));
    for (int i = 0; *hosts[i].name; i++)
        printf(" %s=%ld", hosts[i].name, hosts[i].count);
    puts("");
    free(refs);
    return 0;
}

static int object(size_t bytes, char **nodes, int n)
{
    struct raywf_task *touch[NODES_MAX];
    struct raywf_ref ref, refs[NODES_MAX];
    double after[NODES_MAX] = {0};
    for (int i = 0; i < n; i++) {
        touch[i] = task_on("touch", nodes[i]);
        if (raywf_submit(touch[i], RAYWF_ARGS(RAYWF_BYTES("x", 1)), &refs[i], &err))
            die("submit");
        wait_for(refs[i]);
    }
    char *data = raywf_create(bytes, &ref, &err);
    if (!data)
        die("create");
    for (size_t i = 0; i < bytes; i += 4096)
        memset(data + i, (int)(i >> 12), bytes - i < 4096 ? bytes - i : 4096);
    if (raywf_seal(ref, &err))
        die("seal");
    double start = now_s();
    for (int i = 0; i < n; i++)
        if (raywf_submit(touch[i], RAYWF_ARGS(RAYWF_REF(ref)), &refs[i], &err))
            die("submit");
    for (int i = 0; i < n; i++) {
        size_t got = 0;
        if (raywf_get_copy(refs[i], 600 * RAYWF_S, &got, sizeof(got), &err))
            die("touch");
        if (got != bytes)
            return fprintf(stderr, "%s has %zu bytes\n", nodes[i], got), 1;
        after[i] = now_s() - start;
    }
    printf("s %.3f", after[n - 1]); /* the later ones may have been there before */
    for (int i = 0; i < n; i++)
        printf(" %s=%.1f", nodes[i], after[i]);
    puts("");
    return 0;
}

static void lost(void)
{
    enum { WINDOW = 4 };
    struct raywf_task *t = task_on("nap", NULL);
    struct raywf_ref refs[WINDOW];
    char where[64];
    for (int i = 0; i < WINDOW; i++)
        if (raywf_submit(t, RAYWF_NO_ARGS, &refs[i], &err))
            die("submit");
    for (long k = 0;; k++) {
        struct raywf_value v;
        int i = (int)(k % WINDOW);
        if (raywf_get(refs[i], 60 * RAYWF_S, &v, &err))
            die("nap");
        snprintf(where, sizeof(where), "%.*s", (int)v.size, (const char *)v.data);
        raywf_release(&v);
        raywf_drop(refs[i]);
        printf("done %.0f %s\n", now_s() * 1e3, where);
        fflush(stdout);
        if (raywf_submit(t, RAYWF_NO_ARGS, &refs[i], &err))
            die("submit");
    }
}

int main(int argc, char **argv)
{
    const char *mode = argc > 3 ? argv[2] : "";
    int rc = 2;
    plugin = argv[1];
    if (argc > 3 && raywf_init(NULL, &err))
        die("no runtime");
    if (strcmp(mode, "ping") == 0 && argc == 5)
        rc = ping(argv[3], atol(argv[4]));
    else if (strcmp(mode, "tasks") == 0)
        rc = tasks(atol(argv[3]));
    else if (strcmp(mode, "object") == 0 && argc > 4 && argc - 4 <= NODES_MAX)
        rc = object(strtoull(argv[3], NULL, 10), argv + 4, argc - 4);
    else if (strcmp(mode, "lost") == 0)
        lost();
    else
        fprintf(stderr, "usage: cluster PLUGIN ping|tasks|object|lost ...\n");
    if (rc != 2)
        raywf_shutdown();
    return rc;
}
