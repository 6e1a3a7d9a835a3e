/* SPDX-License-Identifier: Apache-2.0
 *
 * The words for what the schema check finds: what is wrong, and what to write instead.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/suggest.h"
#include "base/units.h"
#include "recipe/schema_check_impl.h"
#include "recipe/schema_help.h"

static void add_path(struct rwf_str *out, const struct recipe__place *at)
{
    if (at->outer == NULL && at->key == NULL)
        return;
    if (at->outer != NULL)
        add_path(out, at->outer);
    if (at->key == NULL)
        rwf_str_addf(out, "[%zu]", at->index);
    else
        rwf_str_addf(out, "%s%s", out->len > 0 ? "." : "", at->key);
}

/* "tasks.train.timeout", or "the top level"; the caller's to free. */
static char *path_of(const struct recipe__place *at)
{
    struct rwf_str out = {0};
    add_path(&out, at);
    if (out.len == 0)
        rwf_str_add(&out, "the top level");
    return rwf_str_take(&out);
}

/* Adds a diagnostic about the thing at `at`: "PATH MESSAGE". NULL: quiet, or said. */
static struct recipe_diag *say(struct recipe__check *c, enum recipe_code code,
                               struct recipe_span span, const struct recipe__place *at,
                               const char *message)
{
    char key[64];
    bool repeats = code == RECIPE_E0103 || code == RECIPE_E0108;
    if (c->quiet > 0)
        return NULL;
    snprintf(key, sizeof(key), "%d %u %u %u", (int)code, span.file, span.line,
             span.col);
    if (!repeats && rwf_map_set(c->said, key, c) != NULL)
        return NULL;
    char *path = path_of(at);
    struct recipe_diag *diag =
        recipe_diag_add(c->diags, code, span, "%s %s", path, message);
    free(path);
    return diag;
}

static struct recipe_span value_span(const struct recipe_node *n,
                                     const struct recipe__place *at)
{
    return n->null ? at->span : n->span;
}

static void hint(struct recipe_diag *diag, const char *text)
{
    if (diag != NULL && text != NULL)
        recipe_diag_hint(diag, "%s", text);
}

/* --- kinds --- */

static void add_types(struct rwf_str *out, unsigned types)
{
    static const struct {
        unsigned bits;
        const char *words;
    } words[] = {
        {SCHEMA_MAP, "a map"},
        {SCHEMA_LIST, "a list"},
        {SCHEMA_STRING, "text"},
        {SCHEMA_NUMBER, "a number"},
        {SCHEMA_INTEGER, "a whole number"},
        {SCHEMA_BOOL, "true or false"},
    };
    if (types & SCHEMA_NUMBER)
        types &= ~(unsigned)SCHEMA_INTEGER;
    if (types & SCHEMA_STRING && types & SCHEMA_NUMBER)
        types &= ~(unsigned)(SCHEMA_NUMBER | SCHEMA_BOOL);
    for (size_t i = 0; i < RWF_COUNT(words); i++) {
        if (types & words[i].bits)
            rwf_str_addf(out, "%s%s", out->len > 0 ? " or " : "", words[i].words);
    }
    if (out->len == 0)
        rwf_str_add(out, "absent");
}

static const char *kind_of(unsigned types)
{
    switch (types) {
    case SCHEMA_MAP:
        return "a map";
    case SCHEMA_LIST:
        return "a list";
    case SCHEMA_INTEGER:
    case SCHEMA_NUMBER:
        return "a number";
    case SCHEMA_BOOL:
        return "a boolean";
    default:
        return "text";
    }
}

static bool is_yes_or_no(const char *text, bool *ret)
{
    static const char *const yes[] = {"yes", "on", "true", "y"};
    static const char *const no[] = {"no", "off", "false", "n"};
    for (size_t i = 0; i < RWF_COUNT(yes); i++) {
        *ret = strcasecmp(text, yes[i]) == 0;
        if (*ret || strcasecmp(text, no[i]) == 0)
            return true;
    }
    return false;
}

static void say_boolean(struct recipe__check *c, const struct recipe_node *n,
                        const struct recipe__place *at, bool value)
{
    const char *word = value ? "true" : "false";
    char *message = rwf_xasprintf("must be true or false, not %s'%s'",
                                  n->plain ? "" : "quoted ", n->text);
    struct recipe_diag *diag = say(c, RECIPE_E0114, n->span, at, message);
    free(message);
    if (diag == NULL)
        return;
    recipe_diag_hint(diag, "write %s, without quotes", word);
    recipe_diag_fix(diag, word);
}

static void say_quoted(struct recipe__check *c, const struct recipe_node *n,
                       const struct recipe__place *at)
{
    struct recipe_diag *diag =
        say(c, RECIPE_E0113, n->span, at, "must be a number, but quotes make it text");
    if (diag == NULL)
        return;
    recipe_diag_hint(diag, "write %s without quotes", n->text);
    recipe_diag_fix(diag, n->text);
}

static void say_unquoted(struct recipe__check *c, const struct recipe_node *n,
                         const struct recipe__place *at, unsigned types)
{
    char *message =
        rwf_xasprintf("must be text, but %s is %s here", n->text, kind_of(types));
    char *quoted = rwf_xasprintf("\"%s\"", n->text);
    struct recipe_diag *diag = say(c, RECIPE_E0102, n->span, at, message);
    if (diag != NULL) {
        recipe_diag_hint(diag, "write it in quotes: %s", quoted);
        recipe_diag_fix(diag, quoted);
    }
    free(quoted);
    free(message);
}

static void say_kind(struct recipe__check *c, const struct schema *s,
                     const struct recipe_node *n, const struct recipe__place *at,
                     unsigned wanted, unsigned types)
{
    struct rwf_str list = {0};
    add_types(&list, wanted);
    char *message =
        n->null ? rwf_xasprintf("is empty, but must be %s", list.data)
                : rwf_xasprintf("must be %s, not %s", list.data, kind_of(types));
    struct recipe_diag *diag = say(c, RECIPE_E0102, value_span(n, at), at, message);
    hint(diag, s->hint != NULL ? s->hint
               : n->null       ? "give it a value, or remove the key"
                               : NULL);
    rwf_str_free(&list);
    free(message);
}

bool recipe__say_type(SAY_ARGS)
{
    unsigned wanted = recipe__schema_types(s), types = recipe__node_types(n);
    bool yes = false;
    if (c->quiet > 0)
        return false;
    bool numeric = (wanted & SCHEMA_INTEGER) && !(wanted & SCHEMA_STRING);
    if (n->kind != RECIPE_SCALAR || n->null)
        say_kind(c, s, n, at, wanted, types);
    else if (s->unit != RECIPE_UNTYPED && types != SCHEMA_STRING)
        recipe__say_unit(c, s, n, at);
    else if (numeric && !n->plain && recipe_looks_number(n->text, NULL))
        say_quoted(c, n, at);
    else if ((wanted & SCHEMA_SCALARS & ~(unsigned)SCHEMA_NULL) == SCHEMA_BOOL &&
             is_yes_or_no(n->text, &yes))
        say_boolean(c, n, at, yes);
    else if ((wanted & SCHEMA_SCALARS & ~(unsigned)SCHEMA_NULL) == SCHEMA_STRING)
        say_unquoted(c, n, at, types);
    else
        say_kind(c, s, n, at, wanted, types);
    return false;
}

/* --- values --- */

bool recipe__say_allowed(SAY_ARGS)
{
    struct rwf_suggest suggest;
    struct rwf_str list = {0};
    size_t i;
    json_t *word;
    if (c->quiet > 0)
        return false;
    rwf_suggest_init(&suggest, n->text);
    rwf_str_addf(&list, "must be one of ");
    json_array_foreach(s->allowed, i, word) {
        rwf_suggest_try(&suggest, json_string_value(word));
        rwf_str_addf(&list, "%s%s", i == 0 ? "" : ", ", json_string_value(word));
    }
    rwf_str_addf(&list, ", not '%s'", n->text);
    struct recipe_diag *diag = say(c, RECIPE_E0104, value_span(n, at), at, list.data);
    const char *best = rwf_suggest_best(&suggest);
    if (diag != NULL && best != NULL) {
        recipe_diag_hint(diag, "did you mean '%s'?", best);
        recipe_diag_fix(diag, best);
    }
    rwf_str_free(&list);
    return false;
}

bool recipe__say_constant(SAY_ARGS)
{
    if (c->quiet > 0)
        return false;
    if (s->unit != RECIPE_UNTYPED) /* only 0 may lack its unit */
        return recipe__say_unit(c, s, n, at);
    char *wanted = json_is_string(s->constant)
                       ? rwf_xstrdup(json_string_value(s->constant))
                       : json_dumps(s->constant, JSON_ENCODE_ANY);
    char *message = rwf_xasprintf("must be %s, not '%s'", wanted, n->text);
    struct recipe_diag *diag = say(c, RECIPE_E0104, value_span(n, at), at, message);
    hint(diag, s->hint);
    if (diag != NULL)
        recipe_diag_fix(diag, wanted);
    free(message);
    free(wanted);
    return false;
}

bool recipe__say_unit(SAY_ARGS)
{
    struct rwf_err err = RWF_ERR_INIT;
    int64_t value = 0;
    bool size = s->unit == RECIPE_SIZE;
    bool is_text = recipe__node_types(n) == SCHEMA_STRING;
    int rc = size ? rwf_size_parse(n->text, &value, &err)
                  : rwf_duration_parse(n->text, &value, &err);
    if (is_text && rc == 0)
        return true;
    if (c->quiet > 0)
        return false;
    char *message = rwf_xasprintf("must be a %s: %s", size ? "size" : "duration",
                                  err.text[0] != '\0' ? err.text : "a unit is missing");
    say(c, RECIPE_E0111, n->span, at, message);
    free(message);
    return false;
}

bool recipe__say_pattern(SAY_ARGS)
{
    if (c->quiet > 0)
        return false;
    char *message =
        rwf_xasprintf("%s", c->checking_name ? "is not a name that can stand here"
                            : n->len == 0    ? "may not be empty"
                                             : "does not have the right form");
    struct recipe_diag *diag = say(c, RECIPE_E0106, n->span, at, message);
    free(message);
    if (s->hint != NULL)
        hint(diag, s->hint);
    else if (diag != NULL)
        recipe_diag_hint(diag, "it must match the pattern %s",
                         json_string_value(json_object_get(s->json, "pattern")));
    return false;
}

bool recipe__say_length(SAY_ARGS)
{
    char *message =
        s->max_length < 0
            ? rwf_xasprintf("may not be shorter than %lld characters",
                            (long long)s->min_length)
            : rwf_xasprintf("must have %lld to %lld characters",
                            s->min_length < 0 ? 0 : (long long)s->min_length,
                            (long long)s->max_length);
    hint(say(c, RECIPE_E0106, n->span, at, n->len == 0 ? "may not be empty" : message),
         s->hint);
    free(message);
    return false;
}

bool recipe__say_range(SAY_ARGS)
{
    struct rwf_str out = {0};
    if (c->quiet > 0)
        return false;
    rwf_str_add(&out, "must be ");
    if (s->minimum != NULL)
        rwf_str_addf(&out, "at least %g", json_number_value(s->minimum));
    if (s->above != NULL)
        rwf_str_addf(&out, "above %g", json_number_value(s->above));
    if (s->maximum != NULL)
        rwf_str_addf(&out, "%sat most %.16g",
                     s->minimum != NULL || s->above != NULL ? " and " : "",
                     json_number_value(s->maximum));
    rwf_str_addf(&out, ", not %s", n->text);
    hint(say(c, RECIPE_E0105, n->span, at, out.data), s->hint);
    rwf_str_free(&out);
    return false;
}

/* --- maps and lists --- */

static void list_keys(struct rwf_str *out, const json_t *keys, const char *before_last)
{
    size_t i, count = json_array_size(keys);
    json_t *key;
    json_array_foreach(keys, i, key)
        rwf_str_addf(out, "%s'%s'",
                     i == 0           ? ""
                     : i + 1 == count ? before_last
                                      : ", ",
                     json_string_value(key));
}

bool recipe__say_forbidden(SAY_ARGS)
{
    struct rwf_str out = {0};
    (void)n;
    if (c->quiet > 0)
        return false;
    rwf_str_add(&out, "cannot have both ");
    list_keys(&out, s->forbidden, " and ");
    hint(say(c, RECIPE_E0108, at->span, at, out.data), "keep one of them");
    rwf_str_free(&out);
    return false;
}

bool recipe__say_one_of_keys(SAY_ARGS, size_t present)
{
    struct rwf_str out = {0};
    if (c->quiet > 0 || (present == 0 && c->incomplete))
        return false;
    json_t *keys = json_array(), *given = json_array();
    for (size_t i = 0; i < s->branch_count; i++) {
        json_t *key = json_array_get(s->branches[i]->required, 0);
        json_array_append(keys, key);
        if (recipe_pair_get(n, json_string_value(key)) != NULL)
            json_array_append(given, key);
    }
    rwf_str_add(&out, present == 0 ? "needs one of " : "has ");
    list_keys(&out, present == 0 ? keys : given, present == 0 ? " or " : " and ");
    if (present > 0)
        rwf_str_add(&out, ", which exclude each other");
    struct recipe_diag *diag = say(c, RECIPE_E0108, at->span, at, out.data);
    if (s->hint != NULL)
        hint(diag, s->hint);
    else
        hint(diag,
             present == 0 ? "add exactly one of them" : "keep exactly one of them");
    json_decref(keys);
    json_decref(given);
    rwf_str_free(&out);
    return false;
}

bool recipe__say_count(SAY_ARGS, const char *what, json_int_t min, json_int_t max)
{
    bool few = (json_int_t)n->count < min;
    char *message = rwf_xasprintf("must have at %s %lld %s%s, not %zu",
                                  few ? "least" : "most", (long long)(few ? min : max),
                                  what, (few ? min : max) == 1 ? "" : "s", n->count);
    hint(say(c, RECIPE_E0109, at->span, at, message), s->hint);
    free(message);
    return false;
}

bool recipe__say_twice(struct recipe__check *c, const struct recipe_node *item,
                       const struct recipe_node *first, const struct recipe__place *at)
{
    char *message = rwf_xasprintf("holds '%s' twice", item->text);
    struct recipe_diag *diag = say(c, RECIPE_E0109, item->span, at, message);
    free(message);
    if (diag != NULL) {
        recipe_diag_hint(diag, "remove one of the two");
        recipe_diag_relate(diag, first->span, "first here");
    }
    return false;
}

bool recipe__say_missing(struct recipe__check *c, const struct recipe_node *n,
                         const struct recipe__place *at, const char *key)
{
    if (c->quiet > 0 || c->incomplete)
        return false;
    bool top = at->outer == NULL && at->key == NULL;
    struct recipe_span span = at->span;
    if (top) /* point at the start, not at everything */
        span.end_line = span.line, span.end_col = span.col;
    (void)n;
    char *message = rwf_xasprintf("lacks the key '%s'", key);
    struct recipe_diag *diag = say(c, RECIPE_E0103, span, at, message);
    free(message);
    if (top && strcmp(key, "recipe") == 0)
        hint(diag, "add this as the first line: recipe: raywf/v1");
    else if (diag != NULL)
        recipe_diag_hint(diag, "add '%s:' to it", key);
    return false;
}

/* --- unknown keys --- */

#define PLACES_MAX 64
#define PLACES_SHOWN 3

struct place {
    char *path;
    int shared; /* levels it has in common with where the key stands */
    int levels;
};

struct places {
    const char *here;
    struct place items[PLACES_MAX];
    size_t count;
};

static int levels_of(const char *path)
{
    int levels = path[0] != '\0';
    for (; *path != '\0'; path++)
        levels += *path == '.';
    return levels;
}

/* Levels of two paths that are the same, where NAME and [] stand for any. */
static int shared_levels(const char *here, const char *path)
{
    int shared = 0;
    while (*here != '\0' && *path != '\0') {
        size_t a = strcspn(here, ".["), b = strcspn(path, ".");
        bool any = strncmp(path, "NAME", 4) == 0 || strncmp(path, "[]", 2) == 0;
        if (!any && (a != b || strncmp(here, path, a) != 0))
            break;
        shared++;
        here += a + (here[a] != '\0');
        path += b + (path[b] != '\0');
    }
    return shared;
}

static void found_place(void *ctx, const char *path)
{
    struct places *p = ctx;
    for (size_t i = 0; i < p->count; i++) {
        if (strcmp(p->items[i].path, path) == 0)
            return;
    }
    if (p->count == PLACES_MAX)
        return;
    p->items[p->count++] = (struct place){
        rwf_xstrdup(path), shared_levels(p->here, path), levels_of(path)};
}

static int compare_distance(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return x->shared != y->shared ? y->shared - x->shared : x->levels - y->levels;
}

/* "tasks.NAME or defaults": the nearest ones, and those nearly as near. */
static char *nearest_places(const struct places *p)
{
    struct rwf_str out = {0};
    size_t shown = 0;
    while (shown < p->count && shown < PLACES_SHOWN &&
           p->items[shown].shared == p->items[0].shared &&
           p->items[shown].levels <= p->items[0].levels + 1)
        shown++;
    for (size_t i = 0; i < shown; i++)
        rwf_str_addf(&out, "%s%s",
                     i == 0           ? ""
                     : i + 1 == shown ? " or "
                                      : ", ",
                     p->items[i].levels == 0 ? "the top level" : p->items[i].path);
    return rwf_str_take(&out);
}

static void say_misplaced(struct recipe__check *c, const struct recipe_pair *pair,
                          const char *here, const struct places *p)
{
    struct recipe_diag *diag = recipe_diag_add(
        c->diags, RECIPE_E0107, pair->key_span, "'%s' does not belong in %s", pair->key,
        here[0] == '\0' ? "the top level" : here);
    char *places = nearest_places(p);
    recipe_diag_hint(diag, "'%s' belongs in %s", pair->key, places);
    free(places);
}

static void say_typo(struct recipe__check *c, const struct schema *s,
                     const struct recipe_pair *pair, const char *here, const char *best)
{
    struct rwf_str keys = {0};
    struct recipe_diag *diag = recipe_diag_add(
        c->diags, RECIPE_E0101, pair->key_span, "unknown key '%s' in %s", pair->key,
        here[0] == '\0' ? "the top level" : here);
    recipe__schema_keys(s, &keys, 24);
    if (strcmp(pair->key, "<<") == 0) {
        recipe_diag_hint(diag, "merge keys are not part of YAML 1.2; use defaults:, "
                               "include:, or an alias for a whole value");
    } else if (best != NULL) {
        recipe_diag_hint(diag, "did you mean '%s'?", best);
        recipe_diag_fix(diag, best);
    } else if (keys.len > 0) {
        recipe_diag_hint(diag, "the keys here are: %s", keys.data);
    }
    rwf_str_free(&keys);
}

bool recipe__say_unknown(struct recipe__check *c, const struct schema *s,
                         const struct recipe_node *n, const struct recipe_pair *pair,
                         const struct recipe__place *at)
{
    char known[64];
    struct rwf_suggest suggest;
    struct rwf_str here = {0};
    (void)n;
    if (c->quiet > 0)
        return false;
    snprintf(known, sizeof(known), "unknown %u %u %u", pair->key_span.file,
             pair->key_span.line, pair->key_span.col);
    if (pair->key_span.line != 0 && rwf_map_set(c->said, known, c) != NULL)
        return false;
    add_path(&here, at);
    rwf_str_add(&here, "");
    struct places p = {.here = here.data};
    rwf_suggest_init(&suggest, pair->key);
    if (recipe_diags_count(c->diags) < RECIPE_DIAGS_KEPT) { /* else nobody sees it */
        recipe__schema_suggest(s, &suggest);
        recipe__schema_places(pair->key, found_place, &p);
    }
    const char *best = rwf_suggest_best(&suggest);
    qsort(p.items, p.count, sizeof(*p.items), compare_distance);
    if (p.count > 0 && (p.items[0].shared > 0 || best == NULL))
        say_misplaced(c, pair, here.data, &p);
    else
        say_typo(c, s, pair, here.data, best);
    for (size_t i = 0; i < p.count; i++)
        free(p.items[i].path);
    rwf_str_free(&here);
    return false;
}
