/* SPDX-License-Identifier: Apache-2.0
 *
 * A space from JSON. Checked here: types and their keys, ranges, conditions and their
 * cycles. Every message begins with "space 'KEY': ".
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"
#include "base/suggest.h"
#include "tune/options.h"
#include "tune/space_internal.h"

enum { VALUES = 1, RANGE = 2, STEP = 4, Q = 8, MEAN = 16, STD = 32 };

#define LARGEST_INT 0x1p53

static const struct type_row {
    const char *name;
    unsigned needs, may;
} types[] = {
    [TUNE_CHOICE] = {"choice", VALUES, 0},
    [TUNE_GRID] = {"grid", VALUES, 0},
    [TUNE_UNIFORM] = {"uniform", RANGE, 0},
    [TUNE_LOGUNIFORM] = {"loguniform", RANGE, 0},
    [TUNE_QUNIFORM] = {"quniform", RANGE | Q, 0},
    [TUNE_INT] = {"int", RANGE, STEP},
    [TUNE_LOGINT] = {"logint", RANGE, 0},
    [TUNE_NORMAL] = {"normal", MEAN | STD, 0},
};

static const struct key_row {
    const char *name;
    unsigned bit;
} keys[] = {
    {"values", VALUES}, {"min", RANGE}, {"max", RANGE}, {"step", STEP},
    {"q", Q},           {"mean", MEAN}, {"std", STD},
};

/* --- values --- */

bool tune__json_same(const json_t *a, const json_t *b)
{
    if (json_is_integer(a) && json_is_integer(b))
        return json_integer_value(a) == json_integer_value(b);
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

static int none_of_the_values(const struct tune_param *p, const json_t *value,
                              struct rwf_err *err)
{
    struct rwf_suggest near;
    char *shown = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    char *all = json_dumps(p->values, JSON_ENCODE_ANY | JSON_COMPACT);
    size_t i;
    json_t *v;
    rwf_suggest_init(&near, json_is_string(value) ? json_string_value(value) : "");
    json_array_foreach(p->values, i, v)
        if (json_is_string(v) && json_is_string(value))
            rwf_suggest_try(&near, json_string_value(v));
    const char *best = rwf_suggest_best(&near);
    rwf_fail(err, RWF_E_RECIPE, "'%s' has no value %s%s%s%s; its values are %s", p->key,
             shown, best ? ": did you mean '" : "", best ? best : "", best ? "'?" : "",
             all);
    free(shown);
    free(all);
    return -1;
}

static int read_listed(const struct tune_param *p, const json_t *value, double *ret_x,
                       struct rwf_err *err)
{
    size_t i;
    json_t *v;
    json_array_foreach(p->values, i, v) {
        if (tune__json_same(v, value)) {
            *ret_x = (double)i;
            return 0;
        }
    }
    return none_of_the_values(p, value, err);
}

int tune__param_read(const struct tune_param *p, const json_t *value, double *ret_x,
                     struct rwf_err *err)
{
    if (p->values)
        return read_listed(p, value, ret_x, err);
    double x = json_number_value(value);
    if (!json_is_number(value) || !isfinite(x))
        return rwf_fail(err, RWF_E_RECIPE, "'%s' must be a number", p->key);
    if (x < p->min || x > p->max)
        return rwf_fail(err, RWF_E_RECIPE,
                        "'%s' is %.12g, outside of its range %.12g to %.12g", p->key, x,
                        p->min, p->max);
    double snapped = p->levels ? tune_param_at(p, tune_param_unit(p, x)) : x;
    if (fabs(snapped - x) > 1e-9 * (fabs(x) + p->step))
        return rwf_fail(err, RWF_E_RECIPE,
                        "'%s' is %.12g, which it never takes: the nearest is %.12g",
                        p->key, x, snapped);
    *ret_x = snapped;
    return 0;
}

/* --- one parameter --- */

static int fail(const struct tune_param *p, struct rwf_err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int fail(const struct tune_param *p, struct rwf_err *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = rwf_xvasprintf(fmt, ap);
    va_end(ap);
    rwf_fail(err, RWF_E_RECIPE, "space '%s': %s", p->key, text);
    free(text);
    return -1;
}

static int unknown_key(const struct tune_param *p, const char *key, unsigned allowed,
                       struct rwf_err *err)
{
    struct rwf_suggest near;
    struct rwf_str all = {0};
    rwf_suggest_init(&near, key);
    for (size_t i = 0; i < RWF_COUNT(keys); i++) {
        if (!(keys[i].bit & allowed))
            continue;
        rwf_suggest_try(&near, keys[i].name);
        rwf_str_addf(&all, "%s, ", keys[i].name);
    }
    rwf_suggest_try(&near, "when");
    const char *best = rwf_suggest_best(&near);
    if (best)
        fail(p, err, "unknown key '%s': did you mean '%s'?", key, best);
    else
        fail(p, err, "%s has no key '%s'; it has %swhen", types[p->type].name, key,
             all.data);
    rwf_str_free(&all);
    return -1;
}

static int read_type(struct tune_param *p, const json_t *spec, struct rwf_err *err)
{
    const char *names[RWF_COUNT(types) + 1] = {NULL};
    for (size_t i = 0; i < RWF_COUNT(types); i++)
        names[i] = types[i].name;
    const json_t *type = json_object_get(spec, "type");
    if (!json_is_string(type))
        return fail(p, err,
                    "needs a map with a 'type', e.g. {type: loguniform, min: 1e-5, "
                    "max: 0.1} or {type: choice, values: [a, b]}");
    char *what = rwf_xasprintf("space '%s'", p->key);
    int i = tune__pick(what, json_string_value(type), names, err);
    free(what);
    p->type = i < 0 ? TUNE_CHOICE : (enum tune_type)i;
    return i < 0 ? -1 : 0;
}

static int check_keys(const struct tune_param *p, const json_t *spec,
                      struct rwf_err *err)
{
    const char *key;
    json_t *value;
    unsigned allowed = types[p->type].needs | types[p->type].may;
    json_object_foreach((json_t *)spec, key, value) {
        size_t i = 0;
        while (i < RWF_COUNT(keys) &&
               (strcmp(keys[i].name, key) || !(keys[i].bit & allowed)))
            i++;
        if (i == RWF_COUNT(keys) && strcmp(key, "type") && strcmp(key, "when"))
            return unknown_key(p, key, allowed, err);
    }
    for (size_t i = 0; i < RWF_COUNT(keys); i++)
        if ((keys[i].bit & types[p->type].needs) &&
            !json_object_get(spec, keys[i].name))
            return fail(p, err, "%s needs '%s'", types[p->type].name, keys[i].name);
    return 0;
}

static int number(const struct tune_param *p, const json_t *spec, const char *key,
                  double otherwise, double *ret, struct rwf_err *err)
{
    const json_t *v = json_object_get(spec, key);
    *ret = v ? json_number_value(v) : otherwise;
    if (v && (!json_is_number(v) || !isfinite(*ret)))
        return fail(p, err, "'%s' must be a number", key);
    return 0;
}

static int whole(const struct tune_param *p, const char *key, double x,
                 struct rwf_err *err)
{
    if (x == floor(x) && fabs(x) <= LARGEST_INT)
        return 0;
    return fail(p, err,
                "'%s' of %s must be a whole number, but is %.12g; for real values use "
                "%s",
                key, types[p->type].name, x,
                p->type == TUNE_LOGINT ? "loguniform" : "uniform or quniform");
}

static int read_values(struct tune_param *p, const json_t *spec, struct rwf_err *err)
{
    json_t *values = json_object_get(spec, "values");
    size_t n = json_array_size(values);
    if (!n)
        return fail(p, err, "'values' must be a list of at least one value");
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++) {
            if (!tune__json_same(json_array_get(values, i), json_array_get(values, j)))
                continue;
            char *text = json_dumps(json_array_get(values, i), JSON_ENCODE_ANY);
            fail(p, err, "'values' has %s twice: remove one", text);
            free(text);
            return -1;
        }
    }
    p->values = json_deep_copy(values);
    p->levels = n;
    p->max = (double)n - 1;
    return 0;
}

/* min + k step must reach max, as both ends are promised. */
static int count_levels(struct tune_param *p, const char *step_key, struct rwf_err *err)
{
    if (!(p->step > 0))
        return fail(p, err, "'%s' must be above 0, but is %.12g", step_key, p->step);
    double k = (p->max - p->min) / p->step;
    if (k >= LARGEST_INT)
        return fail(p, err, "'%s' of %.12g is too small for the range: use uniform",
                    step_key, p->step);
    double n = round(k);
    if (fabs(k - n) > 1e-9 * (1 + n))
        return fail(p, err,
                    "max %.12g is not min %.12g plus a multiple of '%s' %.12g, and "
                    "ranges include both ends: write max: %.12g or %.12g",
                    p->max, p->min, step_key, p->step, p->min + floor(k) * p->step,
                    p->min + ceil(k) * p->step);
    p->levels = (uint64_t)n + 1;
    return 0;
}

static int read_int(struct tune_param *p, const json_t *spec, struct rwf_err *err)
{
    if (whole(p, "min", p->min, err) || whole(p, "max", p->max, err))
        return -1;
    if (p->type == TUNE_LOGINT) {
        p->levels = (uint64_t)(p->max - p->min) + 1;
        p->low = log(p->min - 0.5);
        p->width = log(p->max + 0.5) - p->low;
        return 0;
    }
    if (number(p, spec, "step", 1, &p->step, err) || whole(p, "step", p->step, err))
        return -1;
    return count_levels(p, "step", err);
}

static int read_range(struct tune_param *p, const json_t *spec, struct rwf_err *err)
{
    bool logs = p->type == TUNE_LOGUNIFORM || p->type == TUNE_LOGINT;
    if (number(p, spec, "min", 0, &p->min, err) ||
        number(p, spec, "max", 0, &p->max, err))
        return -1;
    if (p->min > p->max)
        return fail(p, err,
                    "the range is empty: min %.12g is above max %.12g; exchange them",
                    p->min, p->max);
    if (logs && p->min <= 0)
        return fail(p, err,
                    "min is %.12g, and the logarithm of that does not exist: %s needs "
                    "min above 0; raise it, or use %s",
                    p->min, types[p->type].name,
                    p->type == TUNE_LOGINT ? "int" : "uniform");
    if (p->type == TUNE_INT || p->type == TUNE_LOGINT)
        return read_int(p, spec, err);
    if (p->type == TUNE_QUNIFORM)
        return number(p, spec, "q", 0, &p->step, err) ? -1 : count_levels(p, "q", err);
    if (p->min == p->max)
        return fail(p, err,
                    "the range is empty: min and max are both %.12g; for one value "
                    "use {type: choice, values: [%.12g]}",
                    p->min, p->min);
    if (!isfinite(p->max - p->min))
        return fail(p, err, "the range from %.12g to %.12g is too wide", p->min,
                    p->max);
    if (logs) {
        p->low = log(p->min);
        p->width = log(p->max) - p->low;
    }
    return 0;
}

static int read_normal(struct tune_param *p, const json_t *spec, struct rwf_err *err)
{
    p->min = -INFINITY;
    p->max = INFINITY;
    if (number(p, spec, "mean", 0, &p->mean, err) ||
        number(p, spec, "std", 0, &p->std, err))
        return -1;
    if (!(p->std > 0))
        return fail(p, err, "'std' must be above 0, but is %.12g", p->std);
    return 0;
}

static int read_param(struct tune_param *p, const json_t *spec, struct rwf_err *err)
{
    if (read_type(p, spec, err) || check_keys(p, spec, err))
        return -1;
    if (types[p->type].needs & VALUES)
        return read_values(p, spec, err);
    if (types[p->type].needs & RANGE)
        return read_range(p, spec, err);
    return read_normal(p, spec, err);
}

/* --- conditions --- */

static int unknown_parent(const struct tune_space *s, const struct tune_param *p,
                          const char *key, struct rwf_err *err)
{
    struct rwf_suggest near;
    rwf_suggest_init(&near, key);
    for (uint32_t i = 0; i < s->count; i++)
        if (&s->params[i] != p)
            rwf_suggest_try(&near, s->params[i].key);
    if (rwf_suggest_best(&near))
        return fail(p, err,
                    "'when' names '%s', which is not in the space: did you mean '%s'?",
                    key, rwf_suggest_best(&near));
    return fail(p, err,
                "'when' names '%s', which is not in the space: name another "
                "parameter of it",
                key);
}

static int read_condition(const struct tune_space *s, struct tune_param *p,
                          const char *key, const json_t *wanted, struct rwf_err *err)
{
    int64_t parent = tune_space_find(s, key);
    if (parent < 0)
        return unknown_parent(s, p, key, err);
    const struct tune_param *of = &s->params[parent];
    if (!of->levels)
        return fail(p, err,
                    "'when' names '%s', which is %s and never takes one value: use "
                    "choice, grid, int, logint or quniform there",
                    key, types[of->type].name);
    struct tune_condition *c = &p->when[p->when_count++];
    size_t n = json_is_array(wanted) ? json_array_size(wanted) : 1;
    c->parent = (uint32_t)parent;
    c->allowed = rwf_xcalloc(n + 1, sizeof(*c->allowed));
    if (!n)
        return fail(p, err, "'when' of '%s' lists no value", key);
    for (; c->count < n; c->count++) {
        const json_t *v =
            json_is_array(wanted) ? json_array_get(wanted, c->count) : wanted;
        if (tune__param_read(of, v, &c->allowed[c->count], err))
            return rwf_wrap(err, "space '%s': 'when'", p->key);
    }
    return 0;
}

static int read_when(const struct tune_space *s, struct tune_param *p,
                     const json_t *when, struct rwf_err *err)
{
    const char *key;
    json_t *wanted;
    if (!when)
        return 0;
    if (!json_is_object(when) || !json_object_size(when))
        return fail(p, err,
                    "'when' must be a map of another parameter and its value, e.g. "
                    "{when: {train.m.optimizer.type: sgd}}");
    p->when = rwf_xcalloc(json_object_size(when), sizeof(*p->when));
    json_object_foreach((json_t *)when, key, wanted) {
        if (read_condition(s, p, key, wanted, err))
            return -1;
    }
    return 0;
}

static bool ready(const struct tune_param *p, const bool *done)
{
    for (size_t c = 0; c < p->when_count; c++)
        if (!done[p->when[c].parent])
            return false;
    return true;
}

static uint32_t undone_parent(const struct tune_param *p, const bool *done)
{
    size_t c = 0;
    while (done[p->when[c].parent])
        c++;
    return p->when[c].parent;
}

/* Whoever follows parents that are not done ends up in the circle. */
static int cycle(const struct tune_space *s, const bool *done, struct rwf_err *err)
{
    uint32_t i = 0;
    while (done[i])
        i++;
    for (uint32_t steps = 0; steps < s->count; steps++)
        i = undone_parent(&s->params[i], done);
    const struct tune_param *p = &s->params[i];
    return fail(p, err,
                "'when' goes in a circle through '%s': remove one of the conditions",
                s->params[undone_parent(p, done)].key);
}

/* Rounds over the parameters in their order, taking those whose parents are all taken.
 */
static int sort_by_dependence(struct tune_space *s, struct rwf_err *err)
{
    bool *done = rwf_xcalloc(s->count + 1, sizeof(*done));
    uint32_t taken = 0, before;
    int rc = 0;
    do {
        before = taken;
        for (uint32_t i = 0; i < s->count; i++) {
            if (done[i] || !ready(&s->params[i], done))
                continue;
            s->order[taken++] = i;
            done[i] = true;
        }
    } while (taken > before);
    if (taken < s->count)
        rc = cycle(s, done, err);
    free(done);
    return rc;
}

static bool same_conditions(const struct tune_param *a, const struct tune_param *b)
{
    if (a->when_count != b->when_count)
        return false;
    for (size_t c = 0; c < a->when_count; c++) {
        const struct tune_condition *x = &a->when[c], *y = &b->when[c];
        if (x->parent != y->parent || x->count != y->count ||
            memcmp(x->allowed, y->allowed, x->count * sizeof(*x->allowed)))
            return false;
    }
    return true;
}

static void number_groups(struct tune_space *s)
{
    for (uint32_t k = 0; k < s->count; k++) {
        struct tune_param *p = &s->params[s->order[k]];
        uint32_t before = 0;
        while (before < k && !same_conditions(p, &s->params[s->order[before]]))
            before++;
        p->group = before < k ? s->params[s->order[before]].group : s->group_count++;
    }
}

/* --- the whole --- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void take_keys(struct tune_space *s, const json_t *spec)
{
    const char *key;
    json_t *value;
    const char **names = rwf_xcalloc(json_object_size(spec) + 1, sizeof(*names));
    json_object_foreach((json_t *)spec, key, value)
        names[s->count++] = key;
    qsort(names, s->count, sizeof(*names), by_text);
    s->params = rwf_xcalloc(s->count + 1, sizeof(*s->params));
    s->order = rwf_xcalloc(s->count + 1, sizeof(*s->order));
    for (uint32_t i = 0; i < s->count; i++)
        s->params[i].key = rwf_xstrdup(names[i]);
    free(names);
}

static int by_parent(const void *a, const void *b)
{
    const struct tune_condition *x = a, *y = b;
    return x->parent < y->parent ? -1 : x->parent > y->parent;
}

static int by_number(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* So that equal conditions look equal, however they were written. */
static void order_conditions(struct tune_param *p)
{
    if (!p->when_count)
        return;
    qsort(p->when, p->when_count, sizeof(*p->when), by_parent);
    for (size_t c = 0; c < p->when_count; c++)
        qsort(p->when[c].allowed, p->when[c].count, sizeof(double), by_number);
}

static int read_all(struct tune_space *s, const json_t *spec, struct rwf_err *err)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (read_param(&s->params[i], json_object_get(spec, s->params[i].key), err))
            return -1;
    for (uint32_t i = 0; i < s->count; i++) {
        struct tune_param *p = &s->params[i];
        const json_t *one = json_object_get(spec, p->key);
        if (read_when(s, p, json_object_get(one, "when"), err))
            return -1;
        order_conditions(p);
    }
    return sort_by_dependence(s, err);
}

struct tune_space *tune_space_create(const json_t *spec, struct rwf_err *err)
{
    if (!json_is_object(spec) || !json_object_size(spec)) {
        rwf_fail(err, RWF_E_RECIPE,
                 "space: needs at least one parameter, e.g. "
                 "{train.m.optimizer.learning_rate: {type: loguniform, min: 1e-5, max: "
                 "0.1}}");
        return NULL;
    }
    struct tune_space *s = rwf_xcalloc(1, sizeof(*s));
    take_keys(s, spec);
    if (read_all(s, spec, err)) {
        tune_space_destroy(s);
        return NULL;
    }
    number_groups(s);
    return s;
}
