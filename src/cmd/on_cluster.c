/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/on_cluster.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "cluster/cluster.h"
#include "cmd/daemon.h"
#include "cmd/resolve.h"
#include "node/machine.h"
#include "run/engine.h"
#include "run/layout.h"

#define PRIORITY_MIN (-1000000)
#define ASK (3 * RWF_NS_PER_S) /* so long a plan waits for the head */

/* NULL: the recipe says nothing about it. */
static const struct recipe_node *section_of(const struct recipe *r)
{
    const struct recipe_node *section = recipe_get(recipe_root(r), "cluster");
    return section && section->kind == RECIPE_MAP ? section : NULL;
}

static char *key_file(const char *given, struct rwf_err *err)
{
    if (given && *given)
        return rwf_fs_absolute(given);
    char *dir = cmd_daemon_dir(NULL, err);
    char *path = dir ? rwf_fs_join(dir, "head/key") : NULL;
    free(dir);
    return path;
}

static int take(struct cmd_on_cluster *c, const char *address, const char *key,
                struct rwf_err *err)
{
    const char *env = getenv("RAYWF_CLUSTER_KEY");
    c->key = key_file(key ? key : env, err);
    if (!c->key)
        return -1;
    c->address = rwf_xstrdup(address);
    return 0;
}

static void say(void *ctx, const char *line)
{
    const struct cmd_call *call = ctx;
    if (!call->quiet && !call->json)
        fprintf(stderr, "%s\n", line);
}

static int bring_up(const struct cmd_call *call, const json_t *spec, const char *root,
                    const char *dir, struct cmd_on_cluster *ret, struct rwf_err *err)
{
    const struct cluster_options o = {
        .root = root, .dir = dir, .say = say, .ctx = (void *)(uintptr_t)call};
    ret->up = cluster_up(spec, &o, err);
    if (!ret->up)
        return -1;
    ret->address = rwf_xstrdup(cluster_address(ret->up));
    ret->key = rwf_xstrdup(cluster_key(ret->up));
    return 0;
}

/* Of the recipe. root: NULL: nothing is brought up. */
static int of_recipe(const struct cmd_call *call, const struct recipe *r,
                     const struct recipe_node *section, const char *root,
                     struct cmd_on_cluster *ret, struct rwf_err *err)
{
    json_t *spec = cmd_resolve(r, section, root != NULL);
    const char *address = json_string_value(json_object_get(spec, "address"));
    const char *key = json_string_value(json_object_get(spec, "key"));
    char *path = key ? rwf_fs_expand(key, recipe_dir(r)) : NULL;
    int rc = 0;
    ret->later = !address && !root;
    if (address)
        rc = cluster_tls(spec, recipe_dir(r), err) || take(ret, address, path, err) ? -1
                                                                                    : 0;
    else if (root)
        rc = bring_up(call, spec, root, recipe_dir(r), ret, err);
    free(path);
    json_decref(spec);
    return rc;
}

/* Of a run that goes on. */
static int of_run(const char *root, const char *run, struct cmd_on_cluster *ret,
                  struct rwf_err *err)
{
    char *path = run_cluster_file(root, run);
    json_t *was = json_load_file(path, 0, NULL);
    const char *address = json_string_value(json_object_get(was, "address"));
    const char *key = json_string_value(json_object_get(was, "key"));
    int rc = address && key ? take(ret, address, key, err) : 0;
    json_decref(was);
    free(path);
    return rc;
}

static int read_priority(const struct cmd_call *call, int *ret, struct rwf_err *err)
{
    const char *given = cmd_text(call, "priority", NULL);
    const char *env = getenv("RAYWF_CLUSTER_PRIORITY"), *text = given ? given : env;
    char *end;
    if (!text || !*text)
        return 0;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || *end || end == text || n < PRIORITY_MIN || n > -PRIORITY_MIN)
        return rwf_fail(err, RWF_E_USAGE, "%s '%s': a whole number from %d to %d",
                        given ? "--priority" : "RAYWF_CLUSTER_PRIORITY:", text,
                        PRIORITY_MIN, -PRIORITY_MIN);
    *ret = (int)n;
    return 0;
}

static int find(const struct cmd_call *call, const struct recipe *r, const char *root,
                const char *run, struct cmd_on_cluster *ret, struct rwf_err *err)
{
    const char *given = cmd_text(call, "address", NULL);
    const char *env = getenv("RAYWF_CLUSTER_ADDRESS");
    const struct recipe_node *section = section_of(r);
    if (!given && cmd_given(call, "key"))
        return cmd_refuse(call, "key", "without --address", err);
    if (given)
        return take(ret, given, cmd_text(call, "key", NULL), err);
    if (env && *env)
        return take(ret, env, NULL, err);
    if (section)
        return of_recipe(call, r, section, root, ret, err);
    return run ? of_run(root, run, ret, err) : 0;
}

int cmd_on_cluster(const struct cmd_call *call, const struct recipe *r,
                   const char *root, const char *run, struct cmd_on_cluster *ret,
                   struct rwf_err *err)
{
    *ret = (struct cmd_on_cluster){.grows = cmd_given(call, "wait-for-nodes")};
    if (read_priority(call, &ret->priority, err) < 0)
        return -1;
    return find(call, r, root, run, ret, err);
}

int cmd_on_cluster_at(const struct cmd_call *call, const struct recipe *r,
                      struct cmd_on_cluster *ret, struct rwf_err *err)
{
    *ret = (struct cmd_on_cluster){0};
    return find(call, r, NULL, NULL, ret, err);
}

void cmd_on_cluster_sweep(const struct cmd_call *call, const char *root)
{
    const struct cluster_options o = {
        .root = root, .say = say, .ctx = (void *)(uintptr_t)call};
    (void)cluster_sweep(&o);
}

void cmd_on_cluster_free(struct cmd_on_cluster *c)
{
    cluster_down(c->up);
    free(c->address);
    free(c->key);
    *c = (struct cmd_on_cluster){0};
}

/* --- what fits --- */

/* What a node of size has; the lists of names borrow from the recipe's section. */
struct node_shape {
    struct schedule_machine m;
    const char **names; /* of custom resources, then of labels */
    char **values;      /* of labels */
    double *amounts;
};

static double amount_of(const json_t *v)
{
    return json_is_string(v) ? strtod(json_string_value(v), NULL)
                             : json_number_value(v);
}

static char *text_of(const json_t *v)
{
    if (json_is_string(v))
        return rwf_xstrdup(json_string_value(v));
    char *text = json_dumps(v, JSON_ENCODE_ANY);
    return text ? text : rwf_xstrdup("");
}

static void add_own(struct node_shape *s, json_t *custom, json_t *labels)
{
    size_t customs = json_object_size(custom), count = json_object_size(labels);
    const char *name;
    json_t *value;
    s->names = rwf_xcalloc(customs + count + 1, sizeof(*s->names));
    s->amounts = rwf_xcalloc(customs + 1, sizeof(*s->amounts));
    s->values = rwf_xcalloc(count + 1, sizeof(*s->values));
    s->m.custom_names = s->names;
    s->m.custom_amounts = s->amounts;
    s->m.label_keys = s->names + customs;
    s->m.label_values = (const char *const *)s->values;
    s->m.custom_count = s->m.label_count = 0;
    json_object_foreach(custom, name, value) {
        s->names[s->m.custom_count] = name;
        s->amounts[s->m.custom_count++] = amount_of(value);
    }
    json_object_foreach(labels, name, value) {
        s->names[customs + s->m.label_count] = name;
        s->values[s->m.label_count++] = text_of(value);
    }
}

static void shape_of(const json_t *spec, const struct schedule_machine *m, size_t count,
                     struct node_shape *ret)
{
    json_t *r = json_object_get(spec, "resources"),
           *memory = json_object_get(r, "memory");
    double each = floor(m->cpu / (double)count);
    *ret = (struct node_shape){.m = *m};
    ret->m.cpu = each >= 1 ? each : 1;
    ret->m.memory = m->memory / (int64_t)count;
    if (json_object_get(r, "cpu"))
        ret->m.cpu = amount_of(json_object_get(r, "cpu"));
    if (json_is_integer(memory))
        ret->m.memory = json_integer_value(memory);
    else if (json_is_string(memory))
        (void)rwf_size_parse(json_string_value(memory), &ret->m.memory, NULL);
    add_own(ret, json_object_get(r, "custom"), json_object_get(spec, "labels"));
}

static void shape_free(struct node_shape *s)
{
    for (size_t i = 0; i < s->m.label_count; i++)
        free(s->values[i]);
    free(s->names);
    free(s->values);
    free(s->amounts);
}

/* A cluster whose nodes are all known before they are: size, on this machine. */
static struct schedule_cluster *of_size(const json_t *spec,
                                        const struct schedule_machine *m)
{
    size_t count = (size_t)json_integer_value(json_object_get(spec, "size"));
    struct schedule_cluster *c = schedule_cluster_create();
    const json_t *gpu = json_object_get(json_object_get(spec, "resources"), "gpu");
    struct node_shape one;
    shape_of(spec, m, count, &one);
    for (size_t i = 0; i < count; i++) {
        char *name = rwf_xasprintf("local-%zu", i + 1);
        one.m.name = name;
        if (gpu)
            one.m.gpu_count = (int)fmin(amount_of(gpu), m->gpu_count);
        else
            one.m.gpu_count = i == 0 ? m->gpu_count : 0;
        (void)schedule_cluster_add(c, &one.m);
        free(name);
    }
    schedule_cluster_by_name(c);
    shape_free(&one);
    return c;
}

static void has_all(struct cmd_place *p, const struct schedule_totals *t)
{
    p->has = (struct cluster_known){t->nodes, t->cpu, t->memory, t->gpu};
}

static int fits_on(struct plan_graph *g, struct schedule_cluster *c,
                   struct cmd_place *ret, struct rwf_err *err)
{
    struct schedule *s = schedule_create(g, c, err);
    struct schedule_totals t;
    schedule_cluster_totals(c, &t);
    has_all(ret, &t);
    int rc = s ? 0 : -1;
    schedule_destroy(s);
    schedule_cluster_destroy(c);
    return rc;
}

static void notice(struct cmd_call *call, const char *text)
{
    cmd_diagnose(call, json_pack("{s:s, s:s}", "severity", "warning", "message", text));
    if (!call->quiet && !call->json)
        fprintf(stderr, "%s\n", text);
}

static int fits_there(struct cmd_call *call, struct plan_graph *g, const char *root,
                      const struct cmd_on_cluster *on, struct cmd_place *ret,
                      struct rwf_err *err)
{
    struct schedule_totals t = {0};
    const struct engine_options o = {.root = root,
                                     .cluster_address = on->address,
                                     .cluster_key = on->key,
                                     .cluster_grows = on->grows,
                                     .cluster_wait = ASK};
    int rc = engine_fits(g, &o, &t, err);
    has_all(ret, &t);
    if (rc == 0 || err->code != RWF_E_ENV)
        return rc;
    ret->has = (struct cluster_known){-1, -1, -1, -1};
    char *text = rwf_xasprintf("whether it fits is not known: %s", err->text);
    notice(call, text);
    free(text);
    *err = (struct rwf_err)RWF_ERR_INIT;
    return 0;
}

/* The recipe's own, which is not up. */
static int fits_recipes(struct cmd_call *call, struct plan_graph *g, const json_t *spec,
                        struct cmd_place *ret, struct rwf_err *err)
{
    struct schedule_machine here;
    cluster_known(spec, &ret->has);
    if (json_integer_value(json_object_get(spec, "size")) > 0) {
        node_machine_for(g, &here);
        ret->name = rwf_xasprintf("the cluster of %g node%s", ret->has.nodes,
                                  ret->has.nodes == 1 ? "" : "s");
        return fits_on(g, of_size(spec, &here), ret, err);
    }
    ret->name = ret->has.nodes < 0
                    ? rwf_xstrdup("the recipe's cluster")
                    : rwf_xasprintf("the recipe's cluster of %g node%s", ret->has.nodes,
                                    ret->has.nodes == 1 ? "" : "s");
    notice(call, "what the cluster has is known once it is up: whether all fits is "
                 "seen then");
    return 0;
}

int cmd_on_cluster_fits(struct cmd_call *call, struct plan_graph *g, const char *root,
                        struct cmd_place *ret, struct rwf_err *err)
{
    const struct recipe *r = plan_graph_recipe(g);
    struct schedule_machine here;
    struct cmd_on_cluster on;
    if (cmd_on_cluster(call, r, NULL, NULL, &on, err) < 0)
        return -1;
    json_t *spec = section_of(r) ? cmd_resolve(r, section_of(r), false) : NULL;
    int rc = 0;
    if (on.address) {
        ret->name = rwf_xasprintf("the cluster at %s", on.address);
        rc = fits_there(call, g, root, &on, ret, err);
    } else if (spec) {
        rc = fits_recipes(call, g, spec, ret, err);
    } else {
        node_machine_for(g, &here);
        rc = fits_on(g, schedule_cluster_of(&here), ret, err);
    }
    json_decref(spec);
    cmd_on_cluster_free(&on);
    return rc;
}
