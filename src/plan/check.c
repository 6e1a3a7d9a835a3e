/* SPDX-License-Identifier: Apache-2.0
 *
 * Every string of the recipe is parsed and every reference looked up before anything
 * runs. Problems become diagnostics at the reference itself; what an entry refers to
 * becomes its dependencies. x-* is never looked at.
 */
#include "config.h"
#include "plan/inside.h"

#include <string.h>
#include "base/mem.h"
#include "base/suggest.h"
#include "recipe/schema.h"

enum {
    IS_CONDITION = 1, /* when */
    IS_NEEDS = 2,
    IS_SECRET = 4,   /* secrets allowed beneath */
    IS_STATIC = 8,   /* must be known when planning */
    IS_SKIPPED = 16, /* looked at elsewhere */
    IS_READ = 32,    /* secrets allowed beneath its headers */
    IS_HTTP = 64,    /* secrets allowed beneath its api_keys; host and port are static */
    IS_DEPLOYMENTS = 128, /* secrets allowed beneath the env of each */
};

static const struct {
    const char *key;
    unsigned flags;
} entry_keys[] = {
    {"when", IS_CONDITION},   {"needs", IS_NEEDS},     {"env", IS_SECRET},
    {"resources", IS_STATIC}, {"retry", IS_STATIC},    {"timeout", IS_STATIC},
    {"grace", IS_STATIC},     {"cache", IS_STATIC},    {"log_limit", IS_STATIC},
    {"matrix", IS_SKIPPED},   {"foreach", IS_SKIPPED}, {"read", IS_READ},
    {"outputs", IS_STATIC},   {"priority", IS_STATIC}, {"workers", IS_STATIC},
    {"http", IS_HTTP},        {"deployments", IS_DEPLOYMENTS},
    {"route_prefix", IS_STATIC},
};

struct walk {
    struct plan__build *b;
    struct plan__entry *e; /* NULL: outside of entries */
    unsigned flags;
    bool in_list;
    int depth;
};

static struct plan__scope scope_of(const struct walk *w)
{
    struct plan__scope s = {.g = w->b->g, .stage = PLAN__CHECK};

    plan__scope_enter(&s, w->e, 0);
    s.secrets = w->flags & IS_SECRET;
    if (w->flags & IS_STATIC)
        s.stage = PLAN__STATIC;
    return s;
}

/* --- reporting --- */

static void report(struct plan__build *b, const struct plan__scope *s,
                   struct recipe_span span, const char *text)
{
    struct recipe_diag *d = recipe_diag_add(b->diags, s->code, span, "%s", text);

    if (d && s->hint[0] && !d->hint)
        recipe_diag_hint(d, "%s", s->hint);
}

static void report_syntax(struct plan__build *b, enum recipe_code code,
                          const struct recipe_node *node, size_t at, const char *text)
{
    struct recipe_span span = plan__span_in(b->g->recipe, node, at, 0);
    struct recipe_diag *d = recipe_diag_add(b->diags, code, span, "%s", text);

    if (d && code == RECIPE_E0201 && !d->hint)
        recipe_diag_hint(
            d, "a literal ${ is written $${; a variable of the shell is $NAME "
               "or $${NAME}");
}

/* Looks up the references of a text one by one, so that each failure has its place. */
static bool look_each(struct plan__build *b, struct plan__scope *s,
                      const struct recipe_node *node, const struct expr_ref *refs,
                      size_t count, struct expr_value *ret)
{
    struct expr_scope scope = plan__scope(s);
    struct rwf_arena *scratch = plan__scratch(b->g);
    struct rwf_err err = RWF_ERR_INIT;
    bool good = true;

    for (size_t i = 0; i < count; i++) {
        s->target = NULL;
        s->code = RECIPE_E0202;
        if (scope.lookup(s, scratch, &refs[i], ret, &err) == 0)
            goto next;
        good = false;
        if (!s->elsewhere)
            report(b, s, plan__span_in(b->g->recipe, node, refs[i].offset, refs[i].len),
                   err.text);
        if (b->g->fuel == 0)
            break;
    next:
        if (s->target && s->entry)
            plan__dep_add(
                s->entry, s->target,
                plan__span_in(b->g->recipe, node, refs[i].offset, refs[i].len));
    }
    return good;
}

bool plan__check_value(struct plan__build *b, struct plan__scope *s,
                       const struct recipe_node *node, struct expr_value *ret)
{
    const struct expr_template *t;
    struct rwf_err err = RWF_ERR_INIT;
    size_t at = 0;

    if (!plan__has_refs(node)) {
        *ret = plan__scalar_value(node);
        return true;
    }
    t = plan__template(b->g, node, &at, &err);
    if (!t) {
        report_syntax(b, RECIPE_E0201, node, at, err.text);
        return false;
    }
    if (!look_each(b, s, node, t->refs, t->count, ret))
        return false;
    if (t->whole)
        return true;
    struct expr_scope scope = plan__scope(s);
    if (expr_template_eval(t, &scope, plan__scratch(b->g), ret, &err) == 0)
        return true;
    report(b, s, node->span, err.text);
    return false;
}

/* --- types --- */

static const char *const type_names[] = {
    [RECIPE_INT] = "a whole number",  [RECIPE_NUMBER] = "a number",
    [RECIPE_BOOL] = "true or false",  [RECIPE_SIZE] = "a size",
    [RECIPE_DURATION] = "a duration",
};

static bool is_typed(const struct recipe_node *node)
{
    return node->type >= RECIPE_INT;
}

static bool came_from(const struct expr_template *t, const char *root)
{
    return strcmp(t->refs[0].parts[0], root) == 0;
}

static void check_pending(struct walk *w, const struct recipe_node *node,
                          const struct plan__scope *s, const struct expr_ref *ref)
{
    if (!s->target || !is_typed(node))
        return;
    if (s->metric && (node->type == RECIPE_INT || node->type == RECIPE_NUMBER))
        return;
    recipe_diag_add(w->b->diags, RECIPE_E0203, node->span,
                    "this wants %s, but '${%s}' is %s", type_names[node->type],
                    ref->text, s->metric ? "a number" : "the path of a file");
}

/* A whole reference in a field that is not text keeps its type, which must fit. */
static void check_type(struct walk *w, const struct recipe_node *node,
                       const struct plan__scope *s, const struct expr_template *t,
                       const struct expr_value *v)
{
    struct rwf_err err = RWF_ERR_INIT;
    const char *ref = t->refs[0].text;
    bool number = node->type == RECIPE_INT || node->type == RECIPE_NUMBER;

    if (v->type == EXPR_LIST) {
        if (!w->in_list &&
            (is_typed(node) || (w->e && (strcmp(w->e->section, "tasks") == 0 ||
                                         strcmp(w->e->section, "train") == 0))))
            recipe_diag_add(w->b->diags, RECIPE_E0208, node->span,
                            "'${%s}' is a list, but one value is wanted here", ref);
    } else if (v->type == EXPR_PENDING) {
        check_pending(w, node, s, &t->refs[0]);
    } else if (is_typed(node) && v->type == EXPR_STRING && came_from(t, "params") &&
               (number || node->type == RECIPE_BOOL)) {
        struct recipe_diag *d = recipe_diag_add(w->b->diags, RECIPE_E0203, node->span,
                                                "this wants %s, but '${%s}' is a text",
                                                type_names[node->type], ref);
        recipe_diag_hint(d, "declare it with type: %s",
                         node->type == RECIPE_BOOL  ? "bool"
                         : node->type == RECIPE_INT ? "int"
                                                    : "float");
    } else if (v->text && is_typed(node) &&
               recipe_schema_value(node, v->text, &err) < 0) {
        recipe_diag_add(w->b->diags, RECIPE_E0203, node->span, "'${%s}' is '%.80s': %s",
                        ref, v->text, err.text);
    }
}

/* --- conditions and needs --- */

static void check_condition(struct walk *w, const struct recipe_node *node)
{
    struct plan__scope s = scope_of(w);
    struct expr_value ignored = {.type = EXPR_STRING};
    struct rwf_err err = RWF_ERR_INIT;
    const struct expr_condition *c;
    size_t at = 0, count;

    c = plan__condition(w->b->g, node, &at, &err);
    if (!c) {
        report_syntax(w->b, RECIPE_E0206, node, at, err.text);
        return;
    }
    const struct expr_ref *refs = expr_condition_refs(c, &count);
    if (!look_each(w->b, &s, node, refs, count, &ignored))
        return;
    struct expr_scope scope = plan__scope(&s);
    if (expr_condition_check(c, &scope, plan__scratch(w->b->g), &err) < 0)
        recipe_diag_add(w->b->diags, RECIPE_E0206, node->span, "%s", err.text);
}

static void fail_need(struct walk *w, const struct recipe_node *node)
{
    struct plan_graph *g = w->b->g;
    struct rwf_suggest near;
    struct recipe_diag *d;

    d = recipe_diag_add(w->b->diags, RECIPE_E0302, node->span,
                        "there is no '%s' to wait for", node->text);
    rwf_suggest_init(&near, node->text);
    for (size_t i = 0; i < g->entry_count; i++) {
        if (strcmp(g->entries[i]->name, node->text) == 0) {
            recipe_diag_hint(d, "needs takes addresses: write %s",
                             g->entries[i]->address);
            recipe_diag_fix(d, g->entries[i]->address);
            return;
        }
        rwf_suggest_try(&near, g->entries[i]->address);
    }
    if (rwf_suggest_best(&near)) {
        recipe_diag_hint(d, "did you mean '%s'?", rwf_suggest_best(&near));
        recipe_diag_fix(d, rwf_suggest_best(&near));
    } else {
        recipe_diag_hint(d,
                         "write the address of an entry: tasks.NAME, datasets.NAME, "
                         "train.NAME, actors.NAME, serve.NAME or checks.NAME");
    }
}

static void check_need(struct walk *w, const struct recipe_node *node)
{
    struct plan__entry *target;

    if (node->kind != RECIPE_SCALAR || !w->e)
        return;
    if (plan__has_refs(node)) {
        recipe_diag_add(w->b->diags, RECIPE_E0302, node->span,
                        "needs takes plain addresses, such as tasks.prepare, not ${…}");
        return;
    }
    target = rwf_map_get(w->b->g->by_address, node->text);
    if (target)
        plan__dep_add(w->e, target, node->span);
    else
        fail_need(w, node);
}

/* --- the walk --- */

static void check_scalar(struct walk *w, const struct recipe_node *node)
{
    struct plan__scope s = scope_of(w);
    struct expr_value v = {.type = EXPR_STRING};
    const struct expr_template *t;
    struct rwf_err err = RWF_ERR_INIT;
    size_t at;

    if (w->flags & IS_NEEDS) {
        check_need(w, node);
    } else if (w->flags & IS_CONDITION) {
        check_condition(w, node);
    } else if (plan__has_refs(node)) {
        if (!plan__check_value(w->b, &s, node, &v))
            return;
        t = plan__template(w->b->g, node, &at, &err);
        if (t->whole)
            check_type(w, node, &s, t, &v);
        else if (is_typed(node))
            recipe_diag_add(w->b->diags, RECIPE_E0203, node->span,
                            "this wants %s: a reference must stand alone here",
                            type_names[node->type]);
    }
}

/* What more holds beneath a key of a key with flags. */
static unsigned flags_beneath(const struct walk *w, const char *key)
{
    static const struct {
        unsigned flag;
        const char *key;
        int depth; /* of the map that the key stands in */
        unsigned flags;
    } rules[] = {
        {IS_READ, "headers", 0, IS_SECRET},
        {IS_HTTP, "api_keys", 1, IS_SECRET},
        {IS_HTTP, "host", 1, IS_STATIC},
        {IS_HTTP, "port", 1, IS_STATIC},
        {IS_DEPLOYMENTS, "env", 2, IS_SECRET},
    };

    for (size_t i = 0; i < RWF_COUNT(rules); i++)
        if ((w->flags & rules[i].flag) && strcmp(rules[i].key, key) == 0 &&
            (rules[i].depth == 0 || rules[i].depth == w->depth + 1))
            return rules[i].flags;
    return 0;
}

static void walk(struct walk *w, const struct recipe_node *node)
{
    struct walk in = *w;

    if (node->kind == RECIPE_SCALAR) {
        if (!node->null)
            check_scalar(w, node);
        return;
    }
    if (++in.depth > 100)
        return;
    in.in_list = node->kind == RECIPE_LIST;
    for (size_t i = 0; i < node->count; i++) {
        in.flags = w->flags;
        if (node->kind == RECIPE_LIST) {
            walk(&in, node->items[i]);
            continue;
        }
        if (strncmp(node->pairs[i].key, "x-", 2) == 0)
            continue;
        in.flags |= flags_beneath(w, node->pairs[i].key);
        walk(&in, node->pairs[i].value);
    }
}

void plan__check_entry(struct plan__build *b, struct plan__entry *e)
{
    struct walk w = {.b = b, .e = e};

    for (size_t i = 0; i < e->body->count; i++) {
        const struct recipe_pair *p = &e->body->pairs[i];
        w.flags = e->op->trials && strcmp(p->key, "needs") != 0 ? IS_STATIC : 0;
        for (size_t k = 0; k < RWF_COUNT(entry_keys); k++)
            if (strcmp(entry_keys[k].key, p->key) == 0)
                w.flags = entry_keys[k].flags;
        if (!(w.flags & IS_SKIPPED) && strncmp(p->key, "x-", 2) != 0)
            walk(&w, p->value);
        else if (strcmp(p->key, "foreach") == 0 && e->by_rows)
            walk(&w, recipe_get(p->value, "rows"));
    }
}

/* --- outside of entries --- */

/* A profile that is not in use: only its syntax can be judged. */
static void walk_syntax(struct plan__build *b, const struct recipe_node *node,
                        bool when, int depth)
{
    struct rwf_err err = RWF_ERR_INIT;
    size_t at = 0;

    if (depth > 100)
        return;
    if (node->kind == RECIPE_SCALAR) {
        if (when && !node->null && !plan__condition(b->g, node, &at, &err))
            report_syntax(b, RECIPE_E0206, node, at, err.text);
        if (!when && plan__has_refs(node) && !plan__template(b->g, node, &at, &err))
            report_syntax(b, RECIPE_E0201, node, at, err.text);
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        bool map = node->kind == RECIPE_MAP;
        if (map && strncmp(node->pairs[i].key, "x-", 2) == 0)
            continue;
        walk_syntax(b, map ? node->pairs[i].value : node->items[i],
                    map && depth == 3 && strcmp(node->pairs[i].key, "when") == 0,
                    depth + 1);
    }
}

static void check_notify(struct plan__build *b, const struct recipe_node *list)
{
    for (size_t i = 0; list->kind == RECIPE_LIST && i < list->count; i++) {
        const struct recipe_node *map = list->items[i];
        for (size_t k = 0; map->kind == RECIPE_MAP && k < map->count; k++) {
            const struct recipe_pair *p = &map->pairs[k];
            bool secret = strcmp(p->key, "url") == 0 || strcmp(p->key, "secret") == 0;
            struct walk w = {.b = b, .flags = secret ? IS_SECRET : 0};
            if (strncmp(p->key, "x-", 2) != 0)
                walk(&w, p->value);
        }
    }
}

/* A secret may stand in env, its own and each host's: it reaches a node over stdin. */
static void walk_cluster(struct plan__build *b, const struct recipe_node *node)
{
    for (size_t i = 0; i < node->count; i++) {
        bool map = node->kind == RECIPE_MAP;
        const char *key = map ? node->pairs[i].key : "";
        const struct recipe_node *value = map ? node->pairs[i].value : node->items[i];
        struct walk w = {.b = b, .flags = strcmp(key, "env") == 0 ? IS_SECRET : 0};
        if (strncmp(key, "x-", 2) == 0)
            continue;
        if (strcmp(key, "hosts") == 0 || (!map && value->kind == RECIPE_MAP))
            walk_cluster(b, value);
        else
            walk(&w, value);
    }
}

/* Sections whose strings stand for themselves, or which entries brought in already. */
static bool is_elsewhere(const struct plan_graph *g, const char *key)
{
    static const char *const words[] = {"recipe", "name", "requires", "include",
                                        "defaults"};

    for (size_t i = 0; i < RWF_COUNT(words); i++)
        if (strcmp(words[i], key) == 0)
            return true;
    return strncmp(key, "x-", 2) == 0 || op_for_section(g->ops, key);
}

void plan__check_rest(struct plan__build *b)
{
    const struct recipe_node *root = recipe_root(b->g->recipe);

    for (size_t i = 0; root->kind == RECIPE_MAP && i < root->count; i++) {
        const struct recipe_pair *p = &root->pairs[i];
        struct walk w = {.b = b, .flags = strcmp(p->key, "env") == 0 ? IS_SECRET : 0};
        if (is_elsewhere(b->g, p->key))
            continue;
        if (strcmp(p->key, "profiles") == 0)
            walk_syntax(b, p->value, false, 0);
        else if (strcmp(p->key, "notify") == 0)
            check_notify(b, p->value);
        else if (strcmp(p->key, "cluster") == 0) {
            walk_cluster(b, p->value);
            plan__check_cluster(b, p->value);
        }
        else
            walk(&w, p->value);
    }
}
