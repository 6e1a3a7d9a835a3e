/* SPDX-License-Identifier: Apache-2.0
 *
 * Daemons on this machine: the head of every bring-up, and the nodes of `size`.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/redact.h"
#include "cluster/address.h"
#include "cluster/inside.h"

#define ORPHAN "2m" /* a node whose head is gone for so long ends */
#define IDLE "10m"  /* a head that nobody uses for so long, and its nodes */
#define KEY_MAX 256

/* --- the head --- */

static char *noted_address(const struct cluster *c)
{
    char *path = rwf_fs_join(c->folder, "head/address");
    char *text = rwf_fs_read(path, 512, NULL, NULL);
    free(path);
    return text;
}

static void head_args(const struct cluster *c, int port, struct cluster__child *h)
{
    const char *idle = cluster__text(c->spec, "idle_timeout");
    cluster__child_arg(h, "%s", c->program);
    for (const char *const *a =
             (const char *const[]){"start", "-q", "--head", "--no-node", "--dir", NULL};
         *a; a++)
        cluster__child_arg(h, "%s", *a);
    cluster__child_arg(h, "%s", c->folder);
    cluster__child_arg(h, "--host");
    cluster__child_arg(h, "%s", c->listen);
    cluster__child_arg(h, "--port");
    cluster__child_arg(h, "%d", port);
    if (!c->stays || idle) {
        cluster__child_arg(h, "--idle-timeout");
        cluster__child_arg(h, "%s", idle ? idle : IDLE);
    }
}

int cluster__head_start(struct cluster *c, const char *host, struct rwf_err *err)
{
    struct cluster__child h = {0};
    int rc = 0;
    c->listen = rwf_xstrdup(host);
    head_args(c, 0, &h);
    cluster__children_run(&h, 1, cluster__timeout(c), &cluster__stop);
    if (h.status != 0) {
        char *why = cluster__child_why(&h);
        rc = cluster__check_stop(err) ? -1
                                      : rwf_fail(err, RWF_E_ENV,
                                                 "the head of the cluster cannot start "
                                                 "on this machine: %s",
                                                 why);
        free(why);
    }
    cluster__child_free(&h);
    free(c->address);
    c->address = rc ? NULL : noted_address(c);
    if (rc == 0 && !c->address)
        rc = rwf_fail(err, RWF_E_ENV,
                      "the head of the cluster has not said where it is");
    return rc ? rc : cluster__state_write(c, err);
}

bool cluster__head_restart(const struct cluster *c)
{
    struct cluster__child h = {0};
    head_args(c, atoi(strrchr(c->address, ':') + 1), &h);
    cluster__children_run(&h, 1, cluster__timeout(c), NULL);
    bool started = h.status == 0;
    if (!started) {
        char *why = cluster__child_why(&h);
        rwf_log(RWF_LOG_WARN, "cluster", "the head cannot start again: %s", why);
        free(why);
    }
    cluster__child_free(&h);
    return started;
}

/* --- what `raywf start` is told about a node --- */

/* One that holds a secret is marked: the node must hide it from its own logs, too. */
static void add_line(struct rwf_str *out, const char *name, const char *text)
{
    struct rwf_str clean = {0};
    rwf_redact(&clean, text, strlen(text));
    bool secret = clean.data && strcmp(clean.data, text) != 0;
    rwf_str_addf(out, "%s%s=%s\n", secret ? "!" : "", name, text);
    rwf_str_free(&clean);
}

static int add_lines(struct rwf_str *out, const json_t *env, struct rwf_err *err)
{
    const char *name;
    const json_t *value;
    json_object_foreach((json_t *)env, name, value) {
        char *number = cluster__amount(env, name);
        const char *text = json_is_boolean(value)
                               ? json_is_true(value) ? "true" : "false"
                           : number ? number
                                    : "";
        int rc = strchr(text, '\n') || strpbrk(name, "\n=")
                     ? rwf_fail(err, RWF_E_RECIPE,
                                "cluster: the variable %s has more than one line", name)
                     : 0;
        if (rc == 0)
            add_line(out, name, text);
        free(number);
        if (rc)
            return rc;
    }
    return 0;
}

/* The key, then files of TLS and the variables: none is seen in a list of processes. */
static int set_input(const struct cluster *c, const struct cluster__node *n,
                     struct cluster__child *child, struct rwf_err *err)
{
    struct rwf_str in = {0};
    char *key = rwf_fs_read(c->key, KEY_MAX, NULL, err);
    if (!key)
        return -1;
    key[strcspn(key, "\n")] = '\0';
    rwf_str_addf(&in, "%s\n", key);
    explicit_bzero(key, strlen(key));
    free(key);
    if (n->gpus)
        rwf_str_addf(&in, "CUDA_VISIBLE_DEVICES=%s\n", n->gpus);
    int rc = cluster__tls_lines(&in, err) || add_lines(&in, n->env_all, err) ||
                     add_lines(&in, n->env, err)
                 ? -1
                 : 0;
    child->input = rwf_str_take(&in);
    return rc;
}

static void add_option(struct cluster__child *child, const char *option,
                       const char *value)
{
    if (!value)
        return;
    cluster__child_arg(child, "%s", option);
    cluster__child_arg(child, "%s", value);
}

static void add_amount(struct cluster__child *child, const char *option,
                       const json_t *map, const char *key)
{
    char *text = cluster__amount(map, key);
    add_option(child, option, text);
    free(text);
}

static void add_pairs(struct cluster__child *child, const char *option,
                      const json_t *map)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)map, name, value) {
        char *text = json_is_boolean(value)
                         ? rwf_xstrdup(json_is_true(value) ? "true" : "false")
                         : cluster__amount(map, name);
        cluster__child_arg(child, "%s", option);
        cluster__child_arg(child, "%s=%s", name, text ? text : "");
        free(text);
    }
}

int cluster__node_args(const struct cluster *c, const struct cluster__node *n,
                       const char *dir, struct cluster__child *child,
                       struct rwf_err *err)
{
    cluster__child_arg(child, "start");
    add_option(child, "--address", n->address ? n->address : c->address);
    add_option(child, "--key", "-");
    add_option(child, "--name", n->name);
    add_option(child, "--dir", dir);
    add_amount(child, "--cpu", n->resources, "cpu");
    add_amount(child, "--memory", n->resources, "memory");
    add_amount(child, "--gpu", n->resources, "gpu");
    add_amount(child, "--store", n->resources, "store");
    add_pairs(child, "--resource", json_object_get(n->resources, "custom"));
    add_pairs(child, "--label", n->labels);
    add_option(child, "--interface", n->interface);
    if (!c->stays)
        add_option(child, "--orphan-timeout", ORPHAN);
    return set_input(c, n, child, err);
}

/* --- size --- */

/* Of this machine, what is not said is shared out. */
static void share_out(const struct cluster *c, size_t i, struct cluster__child *child)
{
    const json_t *r = c->nodes[i].resources;
    int64_t memory = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    cpu_set_t set;
    int cpus = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    int each = cpus / (int)c->count > 0 ? cpus / (int)c->count : 1;
    if (!json_object_get(r, "cpu")) {
        cluster__child_arg(child, "--cpu");
        cluster__child_arg(child, "%d", each);
    }
    if (!json_object_get(r, "memory")) {
        cluster__child_arg(child, "--memory");
        cluster__child_arg(child, "%lld", (long long)memory / (long long)c->count);
    }
    if (!json_object_get(r, "gpu") && i > 0) { /* the first has them all */
        cluster__child_arg(child, "--gpu");
        cluster__child_arg(child, "0");
    }
}

int cluster__local_up(struct cluster *c, struct rwf_err *err)
{
    struct cluster__child *list = rwf_xcalloc(c->count, sizeof(*list));
    int rc = cluster__head_start(c, "127.0.0.1", err);
    for (size_t i = 0; i < c->count && rc == 0; i++) {
        cluster__child_arg(&list[i], "%s", c->program);
        rc = cluster__node_args(c, &c->nodes[i], c->folder, &list[i], err);
        cluster__child_arg(&list[i], "-q");
        share_out(c, i, &list[i]);
    }
    if (rc == 0) {
        cluster__children_run(list, c->count, cluster__timeout(c), &cluster__stop);
        rc = cluster__check_stop(err);
    }
    for (size_t i = 0; i < c->count && rc == 0; i++)
        if (list[i].status != 0) {
            char *why = cluster__child_why(&list[i]);
            rc = rwf_fail(err, RWF_E_ENV, "node %s cannot start: %s", c->nodes[i].name,
                          list[i].timed_out ? "it has not started in time" : why);
            free(why);
        }
    for (size_t i = 0; i < c->count; i++)
        cluster__child_free(&list[i]);
    free(list);
    return rc;
}

void cluster__local_down(struct cluster *c)
{
    struct cluster__child d = {0};
    for (const char *const *a =
             (const char *const[]){c->program, "shutdown", "-q", "--timeout", "15s",
                                   "--dir", c->folder, NULL};
         *a; a++)
        cluster__child_arg(&d, "%s", *a);
    cluster__children_run(&d, 1, 20 * RWF_NS_PER_S, NULL);
    if (d.status != 0) {
        char *why = cluster__child_why(&d);
        cluster__say(c, "what runs in %s could not be ended: %s", c->folder, why);
        free(why);
    }
    cluster__child_free(&d);
}
