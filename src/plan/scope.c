/* SPDX-License-Identifier: Apache-2.0
 *
 * What a reference means: one row per first part of a name. The same rows serve the
 * three stages: checking (types only), planning (values that need no step), resolving
 * (all of them, by the graph's mode). What needs more than a few lines is in scope_own.c
 * and scope_steps.c.
 */
#include "config.h"
#include "plan/lookup.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"

int plan__lookup_fail(struct plan__lookup *l, enum recipe_code code, const char *fmt,
                      ...)
{
    char text[600];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    l->s->code = code;
    return rwf_fail(l->err, RWF_E_RECIPE, "%s", text);
}

void plan__lookup_hint(struct plan__lookup *l, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(l->s->hint, sizeof(l->s->hint), fmt, ap);
    va_end(ap);
}

void plan__lookup_near(struct plan__lookup *l, const struct rwf_suggest *near)
{
    if (rwf_suggest_best(near))
        plan__lookup_hint(l, "did you mean '%s'?", rwf_suggest_best(near));
}

int plan__lookup_give(struct plan__lookup *l, enum expr_type type, const char *text)
{
    *l->ret = (struct expr_value){.type = type, .text = text};
    return 0;
}

int plan__lookup_parts(struct plan__lookup *l, size_t count, const char *shape)
{
    if (l->ref->count == count)
        return 0;
    return plan__lookup_fail(l, RECIPE_E0202,
                             "'${%s}' is not complete or too long: it is written ${%s}",
                             l->ref->text, shape);
}

bool plan__lookup_shows(const struct plan__lookup *l)
{
    return l->s->stage != PLAN__RESOLVE || l->s->g->mode == PLAN_SHOW;
}

bool plan__lookup_runs(const struct plan__lookup *l)
{
    return l->s->stage == PLAN__RESOLVE && l->s->g->mode == PLAN_RUN;
}

struct expr_value plan__scalar_value(const struct recipe_node *node)
{
    static const enum expr_type types[] = {
        [RECIPE_UNTYPED] = EXPR_STRING, [RECIPE_ANY] = EXPR_STRING,
        [RECIPE_TEXT] = EXPR_STRING,    [RECIPE_INT] = EXPR_INT,
        [RECIPE_NUMBER] = EXPR_FLOAT,   [RECIPE_BOOL] = EXPR_BOOL,
        [RECIPE_SIZE] = EXPR_STRING,    [RECIPE_DURATION] = EXPR_STRING,
    };
    struct expr_value v = {.type = types[node->type], .text = node->text};
    int64_t whole;
    double number;
    bool truth;

    if (node->type != RECIPE_ANY || !node->plain)
        return v;
    if (recipe_looks_bool(node->text, &truth))
        v.type = EXPR_BOOL;
    else if (recipe_looks_int(node->text, &whole))
        v.type = EXPR_INT;
    else if (recipe_looks_number(node->text, &number))
        v.type = EXPR_FLOAT;
    return v;
}

int plan__lookup_node(struct plan__lookup *l, struct plan__scope *in,
                      const struct recipe_node *node)
{
    struct expr_scope scope;
    const struct expr_template *t;
    size_t at;
    int rc = -1;

    if (node->kind != RECIPE_SCALAR)
        return plan__lookup_fail(
            l, RECIPE_E0203, "'${%s}' is a map or a list, not a value", l->ref->text);
    if (!plan__has_refs(node)) {
        *l->ret = plan__scalar_value(node);
        return 0;
    }
    if (l->s->depth >= PLAN__DEPTH_MAX)
        return plan__lookup_fail(l, RECIPE_E0201,
                                 "'${%s}' refers to itself, or to more than %d others "
                                 "in a row",
                                 l->ref->text, PLAN__DEPTH_MAX);
    in->depth = l->s->depth + 1;
    scope = plan__scope(in);
    t = plan__template(l->s->g, node, &at, l->err);
    if (t)
        rc = expr_template_eval(t, &scope, l->a, l->ret, l->err);
    else
        in->code = RECIPE_E0201;
    l->s->code = in->code;
    if (rc < 0)
        l->s->elsewhere =
            node->span.line > 0 && (!t || in->elsewhere || in->code != RECIPE_E0201);
    if (in->target) {
        l->s->target = in->target;
        l->s->metric = in->metric;
    }
    return rc;
}

/* --- params, env, secrets --- */

static bool fits(enum recipe_type type, const char *text)
{
    int64_t whole;
    double number;
    bool truth;

    switch (type) {
    case RECIPE_INT:
        return recipe_looks_int(text, &whole);
    case RECIPE_NUMBER:
        return recipe_looks_number(text, &number);
    case RECIPE_BOOL:
        return recipe_looks_bool(text, &truth);
    default:
        return true;
    }
}

static int look_params(struct plan__lookup *l)
{
    const struct recipe *r = l->s->g->recipe;
    struct plan__scope in = {.g = l->s->g, .stage = l->s->stage};
    const char *name, *known;
    struct rwf_suggest near;

    if (plan__lookup_parts(l, 2, "params.NAME") < 0)
        return -1;
    name = l->ref->parts[1];
    const struct recipe_node *node = recipe_param(r, name);
    if (node && plan__lookup_node(l, &in, node) < 0)
        return -1;
    if (node) {
        if (l->ret->type == EXPR_STRING && node->type != RECIPE_ANY)
            l->ret->type = plan__scalar_value(node).type;
        if (l->ret->text && !fits(node->type, l->ret->text))
            return plan__lookup_fail(l, RECIPE_E0207,
                                     "parameter '%s' is '%.80s', which is not of its "
                                     "declared type",
                                     name, l->ret->text);
        return 0;
    }
    rwf_suggest_init(&near, name);
    for (size_t i = 0; (known = recipe_param_at(r, i)) != NULL; i++) {
        if (strcmp(known, name) == 0)
            return plan__lookup_fail(l, RECIPE_E0207, "parameter '%s' has no value",
                                     name);
        rwf_suggest_try(&near, known);
    }
    plan__lookup_fail(l, RECIPE_E0202, "there is no parameter '%s'", name);
    plan__lookup_hint(l, "declare it: params: {%s: {type: …}}", name);
    plan__lookup_near(l, &near);
    return -1;
}

static int look_env(struct plan__lookup *l)
{
    const char *value;

    if (plan__lookup_parts(l, 2, "env.NAME") < 0)
        return -1;
    value = recipe_getenv(l->s->g->recipe, l->ref->parts[1]);
    if (!value)
        value = l->ref->fallback;
    if (value)
        return plan__lookup_give(l, EXPR_STRING, value);
    plan__lookup_fail(l, RECIPE_E0204, "the environment variable %s is not set",
                      l->ref->parts[1]);
    plan__lookup_hint(l, "set it, or give a default: ${env.%s ?? \"…\"}",
                      l->ref->parts[1]);
    return -1;
}

static int look_secrets(struct plan__lookup *l)
{
    const struct recipe *r = l->s->g->recipe;
    struct recipe_node *secrets = recipe_get(recipe_root(r), "secrets");
    struct rwf_suggest near;

    if (plan__lookup_parts(l, 2, "secrets.NAME") < 0)
        return -1;
    const char *name = l->ref->parts[1];
    if (!recipe_get(secrets, name)) {
        rwf_suggest_init(&near, name);
        for (size_t i = 0; secrets && secrets->kind == RECIPE_MAP && i < secrets->count;
             i++)
            rwf_suggest_try(&near, secrets->pairs[i].key);
        plan__lookup_fail(l, RECIPE_E0202, "there is no secret '%s'", name);
        plan__lookup_hint(l, "declare it: secrets: {%s: {env: %s}}", name, name);
        plan__lookup_near(l, &near);
        return -1;
    }
    if (!l->s->secrets) {
        plan__lookup_fail(l, RECIPE_E0205, "the secret '%s' may not stand here", name);
        plan__lookup_hint(l, "put it in env: and use \"$%s\" in the command", name);
        return -1;
    }
    if (plan__lookup_runs(l)) {
        const char *value = recipe_secret(r, name);
        if (!value)
            return plan__lookup_fail(l, RECIPE_E0211, "the secret '%s' was not read",
                                     name);
        return plan__lookup_give(l, EXPR_SECRET, value);
    }
    return plan__lookup_give(
        l, EXPR_SECRET,
        rwf_arena_printf(l->a, plan__lookup_shows(l) ? "[secret:%s]" : "secret:%s",
                         name));
}

/* --- recipe, run, step --- */

static int look_recipe(struct plan__lookup *l)
{
    const struct recipe *r = l->s->g->recipe;

    if (plan__lookup_parts(l, 2, "recipe.name} or ${recipe.dir") < 0)
        return -1;
    if (strcmp(l->ref->parts[1], "name") == 0)
        return plan__lookup_give(l, EXPR_STRING, recipe_name(r));
    if (strcmp(l->ref->parts[1], "dir") == 0)
        return plan__lookup_give(l, EXPR_STRING,
                                 l->s->stage == PLAN__RESOLVE && !plan__lookup_runs(l) &&
                                         !plan__lookup_shows(l)
                                     ? "<recipe.dir>"
                                     : recipe_dir(r));
    plan__lookup_fail(l, RECIPE_E0202, "there is no recipe.%s", l->ref->parts[1]);
    plan__lookup_hint(l, "there are recipe.name and recipe.dir");
    return -1;
}

/* Known only when the run exists; no part of keys. */
static int give_at_run(struct plan__lookup *l, const char *value)
{
    if (l->s->stage == PLAN__STATIC)
        return plan__lookup_fail(
            l, RECIPE_E0203, "'${%s}' is known only when the step runs", l->ref->text);
    if (!plan__lookup_runs(l))
        return plan__lookup_give(l, EXPR_STRING,
                                 rwf_arena_printf(l->a, "<%s>", l->ref->text));
    if (!value)
        return plan__lookup_fail(l, RECIPE_E0203, "'${%s}' is not known here",
                                 l->ref->text);
    return plan__lookup_give(l, EXPR_STRING, rwf_arena_strdup(l->a, value));
}

static int look_run(struct plan__lookup *l)
{
    if (plan__lookup_parts(l, 2, "run.id") < 0)
        return -1;
    if (strcmp(l->ref->parts[1], "id") != 0) {
        plan__lookup_fail(l, RECIPE_E0202, "there is no run.%s", l->ref->parts[1]);
        plan__lookup_hint(l, "there is run.id");
        return -1;
    }
    return give_at_run(l, l->s->g->results.run_id);
}

static int look_step(struct plan__lookup *l)
{
    const struct plan_results *results = &l->s->g->results;
    const char *dir = NULL;

    if (plan__lookup_parts(l, 2, "step.dir") < 0)
        return -1;
    if (strcmp(l->ref->parts[1], "dir") != 0 || !l->s->entry) {
        plan__lookup_fail(l, RECIPE_E0202, "there is no step.%s here",
                          l->ref->parts[1]);
        plan__lookup_hint(l, "there is step.dir, in tasks and datasets");
        return -1;
    }
    if (plan__lookup_runs(l) && results->dir)
        dir = results->dir(results->ctx,
                           plan__step_number(l->s->g, l->s->entry, l->s->number));
    return give_at_run(l, dir);
}

/* Where a program is to listen: known only to the replica, so the words stay. */
static int look_replica(struct plan__lookup *l)
{
    const struct plan__entry *e = l->s->entry;

    if (!e || !e->op->service) {
        plan__lookup_fail(l, RECIPE_E0202, "there is no replica here");
        plan__lookup_hint(l, "programs in serve: have replica.socket and replica.port");
        return -1;
    }
    if (plan__lookup_parts(l, 2, "replica.socket} or ${replica.port") < 0)
        return -1;
    if (strcmp(l->ref->parts[1], "socket") != 0 &&
        strcmp(l->ref->parts[1], "port") != 0) {
        plan__lookup_fail(l, RECIPE_E0202, "there is no replica.%s", l->ref->parts[1]);
        plan__lookup_hint(l, "there are replica.socket and replica.port");
        return -1;
    }
    return plan__lookup_give(l, EXPR_STRING,
                             rwf_arena_printf(l->a, "${replica.%s}", l->ref->parts[1]));
}

/* --- the table --- */

static const struct {
    const char *name;
    int (*look)(struct plan__lookup *l);
} roots[] = {
    {"params", look_params},
    {"env", look_env},
    {"secrets", look_secrets},
    {"matrix", plan__lookup_matrix},
    {"item", plan__lookup_item},
    {"inputs", plan__lookup_inputs},
    {"recipe", look_recipe},
    {"run", look_run},
    {"step", look_step},
    {"dataset", plan__lookup_dataset},
    {"trial", plan__lookup_trial},
    {"replica", look_replica},
};

static bool gives_something(const struct op *op)
{
    return op->decide == NULL || op->outputs != NULL;
}

static int fail_root(struct plan__lookup *l)
{
    const struct expr_ref *ref = l->ref;
    struct rwf_suggest near;

    rwf_suggest_init(&near, ref->parts[0]);
    for (size_t i = 0; i < RWF_COUNT(roots); i++)
        rwf_suggest_try(&near, roots[i].name);
    for (const struct op *const *op = l->s->g->ops; *op; op++)
        rwf_suggest_try(&near, (*op)->section);
    plan__lookup_fail(
        l, RECIPE_E0202,
        "'${%s}' is unknown: a reference starts with params, env, secrets, "
        "matrix, item, inputs, dataset, trial, recipe, run, step, replica, datasets, "
        "actors, tasks, train, tune or serve",
        ref->text);
    if (ref->count == 1)
        plan__lookup_hint(l, "for a variable of the shell write $%s or $${%s}",
                          ref->text, ref->text);
    else
        plan__lookup_near(l, &near);
    return -1;
}

static int look_root(struct plan__lookup *l)
{
    for (size_t i = 0; i < RWF_COUNT(roots); i++)
        if (strcmp(roots[i].name, l->ref->parts[0]) == 0)
            return roots[i].look(l);
    const struct op *op = op_for_section(l->s->g->ops, l->ref->parts[0]);
    return op && gives_something(op) ? plan__lookup_entry(l) : fail_root(l);
}

static size_t weight(const struct expr_value *v)
{
    size_t total = 64 + (v->text ? strlen(v->text) : 0);

    for (size_t i = 0; v->type == EXPR_LIST && i < v->count; i++)
        total += 64 + (v->items[i].text ? strlen(v->items[i].text) : 0);
    return total;
}

/* Values that refer to values could grow without end: what one evaluation may gather is
 * bounded. */
static int look(void *ctx, struct rwf_arena *a, const struct expr_ref *ref,
                struct expr_value *ret, struct rwf_err *err)
{
    struct plan__scope *s = ctx;
    struct plan__lookup l = {s, a, ref, ret, err};

    s->hint[0] = '\0';
    s->elsewhere = false;
    if (look_root(&l) < 0)
        return -1;
    size_t used = weight(ret);
    if (used > s->g->fuel) {
        s->g->fuel = 0;
        return plan__lookup_fail(&l, RECIPE_E0201,
                                 "'${%s}': the references expand to more than %d MiB",
                                 ref->text, PLAN__VALUE_MAX >> 20);
    }
    s->g->fuel -= used;
    return 0;
}

struct expr_scope plan__scope(struct plan__scope *s)
{
    if (s->depth == 0)
        s->g->fuel = PLAN__VALUE_MAX;
    return (struct expr_scope){s, look};
}

void plan__scope_enter(struct plan__scope *s, struct plan__entry *e, uint32_t instance)
{
    s->entry = e;
    s->number = instance;
    s->instance = e && instance < e->count ? &e->instances[instance] : NULL;
}
