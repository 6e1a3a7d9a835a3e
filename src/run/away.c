/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "run/away.h"

#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/scratch.h"
#include "base/units.h"
#include "far/far.h"
#include "run/layout.h"

#define JOIN (15 * RWF_NS_PER_S)
#define NOTICE RWF_NS_PER_S /* then who waits for the head is told so */
#define LOOK_MS 1000
/* A node that was lost may come back; then a step that only it can hold need not fail.
 */
#define HOPE (10 * RWF_NS_PER_S)
#define STORE ((int64_t)64 << 20)

struct engine__away {
    struct engine *engine;
    struct node *node;
    char *name;
    struct rwf_scratch folder; /* of the node: its paths must be short, for sockets */
    char *host; /* of the head */
    int port;
    uint8_t key[WIRE_KEY_LEN];
    uv_timer_t look;
    bool late;      /* the join took too long */
    bool told;      /* that it takes long */
    bool stopped;   /* a signal came before it was done */
    int64_t shrunk; /* when a node was lost, and nothing has come since; 0: none was */
    LIST_HEAD(, away_node) nodes;
};

/* --- the mirror --- */

/* What the scheduler wants to know of a member: lists that borrow from it. */
struct machine {
    struct schedule_machine m;
    const char **texts;
    int64_t *memory;
    double *amounts;
};

static void machine_of(const Wire__Member *w, struct machine *ret)
{
    size_t rows = w->n_gpus + w->n_custom + w->n_labels + 1;
    const char **texts = ret->texts = rwf_xcalloc(2 * rows, sizeof(*texts));
    const char **names = texts + w->n_gpus, **keys = names + w->n_custom;
    const char **values = keys + w->n_labels;
    ret->memory = rwf_xcalloc(rows, sizeof(*ret->memory));
    ret->amounts = rwf_xcalloc(rows, sizeof(*ret->amounts));
    for (size_t i = 0; i < w->n_gpus; i++) {
        ret->memory[i] = (int64_t)w->gpus[i]->memory;
        texts[i] = w->gpus[i]->name;
    }
    for (size_t i = 0; i < w->n_custom; i++) {
        names[i] = w->custom[i]->name;
        ret->amounts[i] = w->custom[i]->amount;
    }
    for (size_t i = 0; i < w->n_labels; i++) {
        keys[i] = w->labels[i]->key;
        values[i] = w->labels[i]->value;
    }
    ret->m = (struct schedule_machine){.name = w->name,
                                       .cpu = w->cpu,
                                       .memory = (int64_t)w->memory,
                                       .gpu_count = (int)w->n_gpus,
                                       .gpu_memory = ret->memory,
                                       .gpu_names = texts,
                                       .custom_names = names,
                                       .custom_amounts = ret->amounts,
                                       .custom_count = w->n_custom,
                                       .label_keys = keys,
                                       .label_values = values,
                                       .label_count = w->n_labels};
}

static void machine_free(struct machine *m)
{
    free(m->texts);
    free(m->memory);
    free(m->amounts);
}

struct away_node *engine__away_find(const struct engine *e, const char *name)
{
    struct away_node *n;
    LIST_FOREACH(n, &e->away->nodes, link)
    if (strcmp(n->name, name) == 0)
        return n;
    return NULL;
}

struct away_node *engine__away_nodes(const struct engine *e)
{
    return LIST_FIRST(&e->away->nodes);
}

static void forget(struct engine__away *w, struct away_node *n)
{
    uint32_t at = schedule_cluster_find(w->engine->cluster, n->name);
    if (at != SCHEDULE_NO_NODE)
        schedule_cluster_remove(w->engine->cluster, at);
    LIST_REMOVE(n, link);
    engine__away_files_free(n->files);
    free(n->name);
    free(n->host);
    free(n->interface);
    free(n);
}

static void add(struct engine__away *w, const Wire__Member *m)
{
    struct away_node *n = rwf_xcalloc(1, sizeof(*n));
    struct machine machine;
    n->name = rwf_xstrdup(m->name);
    int port;
    if (wire_address_split(m->peer, &n->host, &port) != 0)
        n->host = rwf_xstrdup(m->peer);
    n->interface = rwf_xstrdup(m->interface);
    n->session = m->session;
    LIST_INSERT_HEAD(&w->nodes, n, link);
    machine_of(m, &machine);
    (void)schedule_cluster_add(w->engine->cluster, &machine.m);
    machine_free(&machine);
    w->shrunk = 0;
}

static void on_member(void *ctx, const Wire__Member *m)
{
    struct engine__away *w = ctx;
    struct away_node *n = engine__away_find(w->engine, m->name);
    if (m->driver)
        return;
    if (n != NULL && (m->gone || n->session != m->session)) {
        forget(w, n);
        n = NULL;
        w->shrunk = rwf_clock_mono();
    }
    if (m->gone)
        return;
    if (n == NULL)
        add(w, m);
    uint32_t at = schedule_cluster_find(w->engine->cluster, m->name);
    schedule_cluster_close(w->engine->cluster, at, m->draining);
}

static void on_look(uv_timer_t *timer)
{
    struct engine__away *w = timer->data;
    struct engine *e = w->engine;
    if (e->schedule == NULL || e->log == NULL)
        return;
    bool shrunk = w->shrunk != 0 && rwf_clock_mono() - w->shrunk >= HOPE;
    engine__away_wait(e, shrunk);
}

/* --- joining --- */

static int parse_address(struct engine__away *w, const char *text, struct rwf_err *err)
{
    if (wire_address_split(text, &w->host, &w->port) != 0 || w->port < 1)
        return rwf_fail(err, RWF_E_USAGE,
                        "'%s' is no address of a head: HOST:PORT is expected, as raywf "
                        "start --head prints it",
                        text);
    return 0;
}

static void make_name(struct engine__away *w)
{
    uint16_t random = 0;
    if (getrandom(&random, sizeof(random), 0) < 0)
        random = (uint16_t)rwf_clock_wall();
    w->name = rwf_xasprintf("driver-%d-%04x", (int)getpid(), random);
}

static int start_node(struct engine__away *w, struct rwf_err *err)
{
    struct engine *e = w->engine;
    char address[INET6_ADDRSTRLEN], interface[IF_NAMESIZE] = "";
    if (wire_route_host(w->host, address, interface, err) != 0)
        return -1;
    const struct schedule_machine nothing = {.name = w->name};
    const struct node_options o = {.far = &far_nodes,
                                   .folder = w->folder.path,
                                   .machine = &nothing,
                                   .store = STORE,
                                   .peer_host = address,
                                   .interface = *interface ? interface : NULL,
                                   .key = w->key,
                                   .driver = true};
    w->node = node_create(&e->loop, &o, err);
    if (w->node == NULL)
        return -1;
    struct far_places_options places = {.job =
                                             recipe_name(plan_graph_recipe(e->graph)),
                                        .priority = e->options->cluster_priority};
    far_places_for(w->node, &places);
    far_on_members(w->node, on_member, w);
    node_reconnect(w->node, w->host, w->port, w->key);
    return 0;
}

static int64_t patience(const struct engine__away *w)
{
    const struct engine_options *o = w->engine->options;
    int64_t most = o->cluster_wait > 0 ? o->cluster_wait : JOIN;
    return o->timeout > 0 && o->timeout < most ? o->timeout : most;
}

/* Who waits is told why, once; then it is over. */
static void on_late(uv_timer_t *timer)
{
    struct engine__away *w = timer->data;
    struct rwf_err why = RWF_ERR_INIT;
    char text[RWF_UNITS_LEN];
    int64_t left = patience(w) - NOTICE;
    if (w->told || left <= 0) {
        w->late = true;
        return;
    }
    w->told = true;
    (void)node_joined(w->node, &why);
    rwf_log(RWF_LOG_WARN, "run", "no head at %s:%d yet (%s): trying for %s more",
            w->host, w->port, why.code != 0 ? why.text : "it says nothing",
            rwf_duration_format(left, text));
    uv_timer_start(timer, on_late, (uint64_t)(left / RWF_NS_PER_MS), 0);
}

static void on_signal(uv_signal_t *signal, int number)
{
    (void)number;
    ((struct engine__away *)signal->data)->stopped = true;
}

static void watch(struct engine__away *w, uv_signal_t signals[2])
{
    static const int numbers[2] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
        uv_signal_init(&w->engine->loop, &signals[i]);
        signals[i].data = w;
        uv_signal_start(&signals[i], on_signal, numbers[i]);
    }
}

/* A head that is being started may need a moment; a wrong key stays wrong. */
static int wait_for_head(struct engine__away *w, struct rwf_err *err)
{
    struct rwf_err why;
    uv_signal_t signals[2];
    uv_timer_t timer;
    watch(w, signals);
    uv_timer_init(&w->engine->loop, &timer);
    timer.data = w;
    int64_t first = patience(w) < NOTICE ? patience(w) : NOTICE;
    uv_timer_start(&timer, on_late, (uint64_t)(first / RWF_NS_PER_MS), 0);
    while (!node_joined(w->node, &why) && !w->late && !w->stopped && why.code != EACCES)
        uv_run(&w->engine->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    for (int i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&signals[i], NULL);
    uv_run(&w->engine->loop, UV_RUN_NOWAIT);
    if (w->stopped)
        return rwf_fail(err, RWF_E_STOPPED,
                        "stopped while it waited for the head at %s:%d", w->host,
                        w->port);
    if (node_joined(w->node, &why))
        return 0;
    if (why.code != 0) /* it has the address, and what to do */
        return rwf_fail(err, RWF_E_ENV, "cannot join the cluster: %s", why.text);
    return rwf_fail(err, RWF_E_ENV,
                    "cannot join the cluster at %s:%d: it says nothing; is its head "
                    "running (raywf status --address %s:%d)?",
                    w->host, w->port, w->host, w->port);
}

static int load_key(struct engine__away *w, struct rwf_err *err)
{
    const char *path = w->engine->options->cluster_key;
    if (path == NULL)
        return rwf_fail(err, RWF_E_USAGE,
                        "the cluster at %s:%d needs its key: --key FILE, or "
                        "RAYWF_CLUSTER_KEY",
                        w->host, w->port);
    return wire_key_load(path, false, w->key, err);
}

int engine__away_join(struct engine *e, struct rwf_err *err)
{
    struct engine__away *w = rwf_xcalloc(1, sizeof(*w));
    int failed = uv_loop_init(&e->loop);
    w->engine = e;
    e->away = w;
    LIST_INIT(&w->nodes);
    if (failed != 0)
        return rwf_fail(err, RWF_E_ENV, "cannot make an event loop: %s",
                        uv_strerror(failed));
    e->has_loop = true;
    e->cluster = e->own_cluster = schedule_cluster_create();
    schedule_cluster_by_name(e->cluster);
    make_name(w);
    if (parse_address(w, e->options->cluster_address, err) != 0 ||
        load_key(w, err) != 0 || rwf_scratch_make(&w->folder, "raywf-run-", err) != 0 || start_node(w, err) != 0 ||
        wait_for_head(w, err) != 0)
        return -1;
    if (LIST_EMPTY(&w->nodes) && !e->options->cluster_grows)
        return rwf_fail(
            err, RWF_E_FIT,
            "the cluster at %s:%d has no node for work: start one with raywf "
            "start --address %s:%d, on any machine; a run with "
            "--wait-for-nodes waits for it",
            w->host, w->port, w->host, w->port);
    uv_timer_init(&e->loop, &w->look);
    w->look.data = w;
    uv_timer_start(&w->look, on_look, LOOK_MS, LOOK_MS);
    return 0;
}

/* --- what others ask --- */

struct node *engine__away_node(const struct engine *e)
{
    return e->away->node;
}

const char *engine__away_folder(const struct engine *e)
{
    return e->away->folder.path;
}

json_t *engine__away_machine(const struct engine *e)
{
    struct schedule_totals t;
    schedule_cluster_totals(e->cluster, &t);
    return json_pack("{s:s, s:f, s:I, s:i, s:i}", "name", e->options->cluster_address,
                     "cpu", t.cpu, "memory", (json_int_t)t.memory, "gpu", (int)t.gpu,
                     "nodes", (int)t.nodes);
}

int engine__away_remember(const struct engine *e, struct rwf_err *err)
{
    char *key = rwf_fs_absolute(e->options->cluster_key);
    json_t *what =
        json_pack("{s:s, s:s}", "address", e->options->cluster_address, "key", key);
    char *text = what == NULL ? NULL : json_dumps(what, JSON_INDENT(1));
    char *path = run_cluster_file(e->root, e->id);
    int result = text == NULL ? rwf_fail(err, RWF_E_ENV,
                                         "%s: the path of the key is not "
                                         "UTF-8",
                                         key)
                              : rwf_fs_write(path, text, strlen(text), true, err);
    free(path);
    free(text);
    json_decref(what);
    free(key);
    return result;
}

/* --- the end --- */

void engine__away_free(struct engine *e)
{
    struct engine__away *w = e->away;
    if (w == NULL)
        return;
    if (w->node != NULL)
        far_on_members(w->node, NULL, NULL);
    node_destroy(w->node);
    while (!LIST_EMPTY(&w->nodes))
        forget(w, LIST_FIRST(&w->nodes));
    if (w->look.data != NULL)
        uv_close((uv_handle_t *)&w->look, NULL);
    if (e->has_loop)
        uv_run(&e->loop, UV_RUN_NOWAIT);
    rwf_scratch_remove(&w->folder);
    explicit_bzero(w->key, sizeof(w->key));
    free(w->name);
    free(w->host);
    free(w);
    e->away = NULL;
}
