/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "serve/replica_actor.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* What a step's resources say, for an actor. */
struct resources {
    struct raywf_resource *custom;
    struct raywf_label *labels;
    char **env;
};

static double number(const json_t *o, const char *key, double fallback)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : fallback;
}

static void read_custom(struct resources *r, const json_t *custom)
{
    const char *name;
    json_t *v;
    size_t n = 0;
    r->custom = rwf_xcalloc(json_object_size(custom) + 1, sizeof(*r->custom));
    json_object_foreach((json_t *)(uintptr_t)custom, name, v)
        r->custom[n++] = (struct raywf_resource){name, json_number_value(v)};
}

static void read_labels(struct resources *r, const json_t *labels)
{
    const char *name;
    json_t *v;
    size_t n = 0;
    r->labels = rwf_xcalloc(json_object_size(labels) + 1, sizeof(*r->labels));
    json_object_foreach((json_t *)(uintptr_t)labels, name, v)
        if (json_is_string(v))
            r->labels[n++] = (struct raywf_label){name, json_string_value(v)};
}

static void read_env(struct resources *r, const json_t *env, const char *files)
{
    const char *name;
    json_t *v;
    size_t n = 0;
    r->env = rwf_xcalloc(json_object_size(env) + 2, sizeof(*r->env));
    if (files != NULL)
        r->env[n++] = rwf_xasprintf("RAYWF_FILES=%s", files);
    json_object_foreach((json_t *)(uintptr_t)env, name, v)
        if (json_is_string(v))
            r->env[n++] = rwf_xasprintf("%s=%s", name, json_string_value(v));
}

static void clear(struct resources *r)
{
    for (size_t i = 0; r->env[i] != NULL; i++)
        free(r->env[i]);
    free(r->env);
    free(r->custom);
    free(r->labels);
}

/* --- beside the loop --- */

enum { ARGS_MAX = 2 };

struct creation {
    uv_work_t work;
    const struct serve_deployment *d;
    const char *plugin, *class_; /* d's, or literals */
    bool env;
    char *args[ARGS_MAX], *files;
    size_t n;
    struct raywf_actor *actor;
    struct rwf_err err;
    void (*done)(void *ctx, struct raywf_actor *a, const struct rwf_err *err);
    void *ctx;
};

static void create(uv_work_t *work)
{
    struct creation *c = work->data;
    const struct serve_deployment *d = c->d;
    struct raywf_error error = {0};
    struct resources r = {0};
    struct raywf_arg args[ARGS_MAX];
    double cpu = number(d->resources, "cpu", 0);
    for (size_t i = 0; i < c->n; i++)
        args[i] = RAYWF_TEXT(c->args[i]);
    read_custom(&r, json_object_get(d->resources, "custom"));
    read_labels(&r, json_object_get(d->resources, "labels"));
    read_env(&r, c->env ? d->env : NULL, c->files);
    struct raywf_actor_options o = {
        .resources = {.cpu = cpu > 0 ? cpu : -1,
                      .gpu = number(d->resources, "gpu", 0),
                      .memory = (int64_t)number(d->resources, "memory", 0),
                      .custom = r.custom,
                      .labels = r.labels},
        .start_timeout =
            d->health.start_grace > 0 ? d->health.start_grace + 5 * RAYWF_S : 0,
        .env = (const char *const *)r.env};
    c->actor = raywf_actor_create(c->plugin, c->class_, &o, args, c->n, &error);
    if (c->actor == NULL)
        rwf_fail(&c->err, error.code == RAYWF_E_FIT ? RWF_E_FIT : RWF_E_ENV, "%s",
                 error.text);
    clear(&r);
}

static void created(uv_work_t *work, int status)
{
    struct creation *c = work->data;
    (void)status; /* never cancelled */
    c->done(c->ctx, c->actor, &c->err);
    for (size_t i = 0; i < c->n; i++)
        free(c->args[i]);
    free(c->files);
    free(c);
}

void serve__actor_create(uv_loop_t *loop, const struct serve_deployment *d,
                         const char *plugin, const char *class_, bool env,
                         char *const *args, size_t n, char *files,
                         void (*done)(void *ctx, struct raywf_actor *a,
                                      const struct rwf_err *err),
                         void *ctx)
{
    struct creation *c = rwf_xcalloc(1, sizeof(*c));
    rwf_assert(n <= ARGS_MAX);
    *c = (struct creation){.d = d,
                           .plugin = plugin,
                           .class_ = class_,
                           .env = env,
                           .n = n,
                           .files = files,
                           .done = done,
                           .ctx = ctx};
    for (size_t i = 0; i < n; i++)
        c->args[i] = args[i];
    c->work.data = c;
    int rc = uv_queue_work(loop, &c->work, create, created);
    rwf_assert(rc == 0);
}

void serve__actor_end(struct raywf_actor *a, bool kindly)
{
    if (a == NULL)
        return;
    native_client_watch(a, NULL, NULL);
    if (!kindly)
        raywf_actor_kill(a, false, NULL);
    raywf_actor_release(a);
}

const char *serve__actor_reason(const char *text)
{
    const char *dead = strstr(text, " is dead: ");
    return dead != NULL && strncmp(text, "actor ", 6) == 0 ? dead + strlen(" is dead: ")
                                                           : text;
}
