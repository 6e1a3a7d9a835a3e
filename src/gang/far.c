/* SPDX-License-Identifier: Apache-2.0
 *
 * The ranks of a gang over several nodes. What they are to run, and under which names,
 * is said here; what they print is written here: to our own output with the rank before
 * each line, and as it is to rank.N.log. A rank whose connection ends without a word
 * may have lost its node: its agent, or the head, will know that within some seconds,
 * so the cause waits for them.
 */
#include "config.h"
#include "gang/inside.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/redact.h"

#define GONE_AFTER (5 * RWF_NS_PER_S) /* a node is missed after three */

extern char **environ;

struct gang__far {
    struct gang_hub *hub;
    char *cwd;
    int port;        /* MASTER_PORT */
    int *logs;       /* by rank; -1: not open */
    bool *ended;     /* it has said how */
    int gone;        /* the first one that went without a word; -1: none */
    int64_t gone_at; /* since when */
};

/* --- what a rank is to run --- */

static void set_text(json_t *object, const char *key, const char *value)
{
    json_object_set_new(object, key, json_string(value));
}

/* What the engine has said to this process is for the ranks, too. */
static void add_ours(json_t *env)
{
    static const char *const own[] = {"RAYWF_ADDRESS", "RAYWF_REPORT",  "RAYWF_RANK",
                                      "RAYWF_NODE",    "RAYWF_CLUSTER", "RAYWF_LOG"};

    for (char **v = environ; *v != NULL; v++) {
        char *name = rwf_xstrndup(*v, strcspn(*v, "="));
        bool ours = rwf_starts_with(name, "RAYWF_") &&
                    !rwf_starts_with(name, "RAYWF_GANG") && (*v)[strlen(name)] == '=';
        for (size_t i = 0; i < RWF_COUNT(own); i++)
            ours = ours && strcmp(name, own[i]) != 0;
        if (ours)
            set_text(env, name, *v + strlen(name) + 1);
        free(name);
    }
}

static json_t *make_env(const struct gang__run *x, const struct gang_node *node)
{
    const struct gang *g = x->g;
    json_t *all = json_object(), *env;
    char threads[16];

    snprintf(threads, sizeof(threads), "%d", g->cpu >= 2 ? (int)g->cpu : 1);
    if (getenv("OMP_NUM_THREADS") == NULL)
        set_text(all, "OMP_NUM_THREADS", threads);
    add_ours(all);
    if (g->env != NULL)
        json_object_update(all, (json_t *)(uintptr_t)g->env);
    env = gang_node_paths(node, all);
    if (node->env != NULL)
        json_object_update_missing(env, (json_t *)(uintptr_t)node->env);
    if (node->gpus != NULL)
        set_text(env, "CUDA_VISIBLE_DEVICES", node->gpus);
    json_decref(all);
    return env;
}

/* What holds where neither the recipe nor the node says otherwise. */
static json_t *make_defaults(const struct gang_node *node)
{
    static const char *const names[] = {"NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME",
                                        "TP_SOCKET_IFNAME"};
    json_t *out = json_object();

    for (size_t i = 0; node->interface != NULL && i < RWF_COUNT(names); i++)
        set_text(out, names[i], node->interface);
    return out;
}

static json_t *welcome(void *ctx, int rank)
{
    const struct gang__run *x = ctx;
    const struct gang *g = x->g;
    const struct gang_node *node = gang_places_node(g->places, rank);
    json_t *paths =
        json_pack("{s:s, s:s?}", "cwd", x->far->cwd, "heartbeat", g->heartbeat);
    json_t *out = gang_node_paths(node, paths);
    const struct {
        const char *key;
        json_int_t value;
    } numbers[] = {{"workers", g->workers},      {"local_rank", rank - node->first},
                   {"local_size", node->count},  {"group", node - g->places->nodes},
                   {"groups", g->places->count}, {"port", x->far->port},
                   {"beat", g->heartbeat_limit}};

    for (size_t i = 0; i < RWF_COUNT(numbers); i++)
        json_object_set_new(out, numbers[i].key, json_integer(numbers[i].value));
    set_text(out, "master", g->places->nodes[0].host);
    json_object_set_new(out, "argv", gang_node_paths(node, g->argv));
    json_object_set_new(out, "env", make_env(x, node));
    json_object_set_new(out, "defaults", make_defaults(node));
    if (node->paths != NULL)
        json_object_set(out, "paths", (json_t *)(uintptr_t)node->paths);
    json_decref(paths);
    return out;
}

/* --- what comes of it --- */

static int log_of(struct gang__run *x, int rank)
{
    int *fd = &x->far->logs[rank];

    if (*fd < 0) {
        char *path = rwf_xasprintf("%s/rank.%d.log", x->g->dir, rank);
        *fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        free(path);
    }
    return *fd;
}

static void take_output(void *ctx, int rank, bool error, const char *line, size_t len)
{
    struct gang__run *x = ctx;
    struct rwf_str whole = {NULL, 0, 0};
    int log = log_of(x, rank);

    rwf_str_addf(&whole, "[%d] ", rank);
    size_t head = whole.len;
    rwf_redact(&whole, line, len);
    rwf_str_addc(&whole, '\n');
    (void)rwf_fs_write_all(error ? 2 : 1, whole.data, whole.len, NULL);
    if (log >= 0)
        (void)rwf_fs_write_all(log, whole.data + head, whole.len - head, NULL);
    rwf_str_free(&whole);
}

static void take_report(void *ctx, int rank, const char *line, size_t len)
{
    (void)rank;
    gang__report(ctx, line, len);
}

static void take_notice(void *ctx, int rank, const json_t *notice)
{
    struct gang__run *x = ctx;

    x->far->ended[rank] |= json_object_get(notice, "exit") != NULL ||
                           json_object_get(notice, "signal") != NULL;
    gang__notice(x, rank, notice);
}

static void on_gone(void *ctx, int rank)
{
    struct gang__run *x = ctx;

    if (x->far->ended[rank] || x->far->gone >= 0)
        return;
    x->far->gone = rank;
    x->far->gone_at = rwf_clock_mono();
}

/* --- its life --- */

int gang__far_open(struct gang__run *x, struct rwf_err *err)
{
    const struct gang *g = x->g;
    const struct gang_hub_handler handler = {x,           welcome,     take_output,
                                             take_report, take_notice, on_gone};
    char *cwd;

    if (g->places == NULL || g->places->count < 2)
        return 0;
    if ((cwd = getcwd(NULL, 0)) == NULL)
        return rwf_fail(err, RWF_E_ENV, "the working folder is gone");
    char *secrets = gang__secrets();
    if (secrets != NULL)
        gang_secrets_take(secrets); /* their lines */
    free(secrets);
    x->far = rwf_xcalloc(1, sizeof(*x->far));
    x->far->cwd = cwd;
    x->far->gone = -1;
    x->far->port = gang_free_port(g->places->nodes[0].host);
    x->far->ended = rwf_xcalloc((size_t)g->workers, sizeof(*x->far->ended));
    x->far->logs = rwf_xmalloc((size_t)g->workers * sizeof(*x->far->logs));
    for (int rank = 0; rank < g->workers; rank++)
        x->far->logs[rank] = -1;
    x->far->hub = gang_hub_open(g->places->nodes[0].host, g->workers, &handler, err);
    return x->far->hub == NULL ? -1 : 0;
}

json_t *gang__far_env(const struct gang__run *x)
{
    char *at =
        rwf_xasprintf("%s %d", x->g->places->nodes[0].host, gang_hub_port(x->far->hub));
    json_t *out = json_pack("{s:s, s:s, s:s}", "RAYWF_GANG", at, "RAYWF_GANG_KEY",
                            gang_hub_key(x->far->hub), "RAYWF_GANG_DIR", x->g->dir);

    free(at);
    return out;
}

int gang__far_fd(const struct gang__run *x)
{
    return x->far == NULL ? -1 : gang_hub_fd(x->far->hub);
}

void gang__far_turn(struct gang__run *x)
{
    if (x->far == NULL)
        return;
    gang_hub_turn(x->far->hub);
    if (x->far->gone >= 0 && rwf_clock_mono() - x->far->gone_at > GONE_AFTER)
        gang__far_judge(x);
}

void gang__far_judge(struct gang__run *x)
{
    if (x->far != NULL && x->far->gone >= 0)
        gang__fail(x, GANG_GONE, x->far->gone, 0, "");
}

void gang__far_notice(struct gang__run *x, const json_t *notice)
{
    const json_t *node = json_object_get(notice, "node");
    const char *bad = json_string_value(json_object_get(notice, "fail"));
    const char *lost = json_string_value(json_object_get(notice, "lost"));
    json_int_t at = json_is_integer(node) ? json_integer_value(node) : -1;

    if (x->far == NULL || at < 0 || at >= x->g->places->count)
        return;
    if (bad != NULL || lost != NULL)
        gang__fail(x, bad != NULL ? GANG_NODE : GANG_NODE_LOST,
                   x->g->places->nodes[at].first, 0, bad != NULL ? bad : lost);
}

void gang__far_signal(struct gang__run *x, int signal)
{
    gang_hub_signal(x->far->hub, signal);
    if (signal == SIGKILL) /* also where the shim itself does not listen */
        gang_signal_descendants(signal, x->child.pid, true);
}

void gang__far_close(struct gang__run *x)
{
    if (x->far == NULL)
        return;
    gang_hub_close(x->far->hub);
    for (int rank = 0; rank < x->g->workers; rank++)
        if (x->far->logs[rank] >= 0)
            close(x->far->logs[rank]);
    free(x->far->logs);
    free(x->far->ended);
    free(x->far->cwd);
    free(x->far);
    x->far = NULL;
}
