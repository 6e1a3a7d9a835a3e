/* SPDX-License-Identifier: Apache-2.0
 *
 * The space as a whole: which parameters exist, and configurations in and out.
 * space_read.c makes a space from JSON.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/suggest.h"
#include "tune/space_internal.h"

void tune_space_destroy(struct tune_space *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->count; i++) {
        struct tune_param *p = &s->params[i];
        for (size_t c = 0; c < p->when_count; c++)
            free(p->when[c].allowed);
        free(p->when);
        free((char *)p->key);
        json_decref(p->values);
    }
    free(s->params);
    free(s->order);
    free(s);
}

uint32_t tune_space_count(const struct tune_space *s)
{
    return s->count;
}

const struct tune_param *tune_space_param(const struct tune_space *s, uint32_t i)
{
    rwf_assert(i < s->count);
    return &s->params[i];
}

int64_t tune_space_find(const struct tune_space *s, const char *key)
{
    uint32_t low = 0, high = s->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int c = strcmp(key, s->params[mid].key);
        if (!c)
            return mid;
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return -1;
}

uint32_t tune_space_group_count(const struct tune_space *s)
{
    return s->group_count;
}

const uint32_t *tune_space_order(const struct tune_space *s)
{
    return s->order;
}

static bool holds(const struct tune_condition *c, const double *x)
{
    for (size_t i = 0; i < c->count; i++)
        if (x[c->parent] == c->allowed[i])
            return true;
    return false;
}

bool tune_space_exists(const struct tune_space *s, uint32_t i, const double *x)
{
    const struct tune_param *p = &s->params[i];
    for (size_t c = 0; c < p->when_count; c++)
        if (!holds(&p->when[c], x))
            return false;
    return true;
}

void tune_space_settle(const struct tune_space *s, double *x, tune_fill_fn fill,
                       void *arg)
{
    for (uint32_t k = 0; k < s->count; k++) {
        uint32_t i = s->order[k];
        if (!tune_space_exists(s, i, x))
            x[i] = NAN;
        else if (isnan(x[i]))
            x[i] = fill(arg, i);
    }
}

json_t *tune_space_config(const struct tune_space *s, const double *x)
{
    json_t *config = json_object();
    for (uint32_t i = 0; i < s->count; i++)
        if (!isnan(x[i]))
            json_object_set_new_nocheck(config, s->params[i].key,
                                        tune_param_json(&s->params[i], x[i]));
    return config;
}

static int unknown_key(const struct tune_space *s, const char *key, struct rwf_err *err)
{
    struct rwf_suggest near;
    rwf_suggest_init(&near, key);
    for (uint32_t i = 0; i < s->count; i++)
        rwf_suggest_try(&near, s->params[i].key);
    if (rwf_suggest_best(&near))
        return rwf_fail(err, RWF_E_RECIPE,
                        "'%s' is no parameter of the space: did you mean '%s'?", key,
                        rwf_suggest_best(&near));
    return rwf_fail(err, RWF_E_RECIPE,
                    "'%s' is no parameter of the space: add it there, "
                    "or remove it here",
                    key);
}

/* What is there and should not be, what is not there and should. */
static int check_presence(const struct tune_space *s, bool partial, const double *x,
                          struct rwf_err *err)
{
    for (uint32_t k = 0; k < s->count; k++) {
        uint32_t i = s->order[k];
        bool open = false; /* it may or may not exist: a parent's value is left open */
        for (size_t c = 0; partial && c < s->params[i].when_count; c++)
            open |= isnan(x[s->params[i].when[c].parent]);
        bool exists = tune_space_exists(s, i, x);
        if (!isnan(x[i]) && !exists)
            return rwf_fail(err, RWF_E_RECIPE,
                            "'%s' has a value, but its 'when' does not hold%s",
                            s->params[i].key,
                            open ? ": give the parameters that it depends on, too"
                                 : ": remove the value");
        if (isnan(x[i]) && exists && !partial)
            return rwf_fail(err, RWF_E_RECIPE, "'%s' has no value", s->params[i].key);
    }
    return 0;
}

int tune_space_read(const struct tune_space *s, const json_t *config, bool partial,
                    double *x, struct rwf_err *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(config))
        return rwf_fail(err, RWF_E_RECIPE,
                        "a configuration is a map of parameter: value");
    for (uint32_t i = 0; i < s->count; i++)
        x[i] = NAN;
    json_object_foreach((json_t *)config, key, value) {
        int64_t i = tune_space_find(s, key);
        if (i < 0)
            return unknown_key(s, key, err);
        if (tune__param_read(&s->params[i], value, &x[i], err))
            return -1;
    }
    return check_presence(s, partial, x, err);
}
