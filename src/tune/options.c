/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tune/options.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"
#include "base/suggest.h"

/* "…: unknown NOUN 'name': did you mean 'x'? There are: a, b, c" */
static int unknown(const char *what, const char *noun, const char *name,
                   const char *const *names, size_t count, struct rwf_err *err)
{
    struct rwf_suggest s;
    struct rwf_str all = {0};
    rwf_suggest_init(&s, name);
    for (size_t i = 0; i < count; i++) {
        rwf_suggest_try(&s, names[i]);
        rwf_str_addf(&all, "%s%s", i ? ", " : "", names[i]);
    }
    const char *best = rwf_suggest_best(&s);
    if (best)
        rwf_fail(err, RWF_E_RECIPE,
                 "%s: unknown %s '%s': did you mean '%s'? There are: %s", what, noun,
                 name, best, all.data);
    else
        rwf_fail(err, RWF_E_RECIPE, "%s: unknown %s '%s'; there are: %s", what, noun,
                 name, all.data ? all.data : "none");
    rwf_str_free(&all);
    return -1;
}

int tune__pick(const char *what, const char *name, const char *const *names,
               struct rwf_err *err)
{
    size_t count = 0;
    while (names[count]) {
        if (!strcmp(names[count], name))
            return (int)count;
        count++;
    }
    return unknown(what, "type", name, names, count, err);
}

const char *tune__type_of(const char *what, const json_t *spec, const char *otherwise,
                          struct rwf_err *err)
{
    if (!spec || json_is_null(spec))
        return otherwise;
    const json_t *type = json_is_object(spec) ? json_object_get(spec, "type") : spec;
    if (!type)
        return otherwise;
    if (!json_is_string(type)) {
        rwf_fail(err, RWF_E_RECIPE, "%s: 'type' must be a word, e.g. {type: %s}", what,
                 otherwise);
        return NULL;
    }
    return json_string_value(type);
}

static int out_of_range(const char *what, const struct tune__option *o,
                        struct rwf_err *err)
{
    const char *noun = o->kind == TUNE__INT ? "a whole number" : "a number";
    if (o->most)
        return rwf_fail(err, RWF_E_RECIPE, "%s: '%s' must be %s from %.12g to %.12g",
                        what, o->name, noun, o->least, o->most);
    return rwf_fail(err, RWF_E_RECIPE, "%s: '%s' must be %s of at least %.12g", what,
                    o->name, noun, o->least);
}

static int read_number(const char *what, const struct tune__option *o, const json_t *v,
                       void *at, struct rwf_err *err)
{
    double x = json_number_value(v);
    if (!json_is_number(v) || !isfinite(x) || x < o->least ||
        (o->most && x > o->most) ||
        (o->kind == TUNE__INT && (x != floor(x) || fabs(x) > 0x1p53)))
        return out_of_range(what, o, err);
    if (o->kind == TUNE__INT)
        *(int64_t *)at = (int64_t)x;
    else
        *(double *)at = x;
    return 0;
}

static int read_word(const char *what, const struct tune__option *o, const json_t *v,
                     int *at, struct rwf_err *err)
{
    char *place = rwf_xasprintf("%s: '%s'", what, o->name);
    const char *word = json_string_value(v);
    int i = tune__pick(place, word ? word : "(not a word)", o->words, err);
    free(place);
    if (i < 0)
        return -1;
    *at = i;
    return 0;
}

static int read_one(const char *what, const struct tune__option *o, const json_t *v,
                    void *out, struct rwf_err *err)
{
    void *at = (char *)out + o->offset;
    if (o->kind == TUNE__WORD)
        return read_word(what, o, v, at, err);
    if (o->kind != TUNE__BOOL)
        return read_number(what, o, v, at, err);
    if (!json_is_boolean(v))
        return rwf_fail(err, RWF_E_RECIPE, "%s: '%s' must be true or false", what,
                        o->name);
    *(bool *)at = json_is_true(v);
    return 0;
}

int tune__options_read(const char *what, const struct tune__option *table, size_t count,
                       const json_t *spec, void *out, struct rwf_err *err)
{
    const char *key, *names[32];
    json_t *value;
    rwf_assert(count < RWF_COUNT(names));
    for (size_t i = 0; i < count; i++)
        names[i] = table[i].name;
    json_object_foreach((json_t *)spec, key, value) {
        size_t i = 0;
        while (i < count && strcmp(key, names[i]))
            i++;
        if (!strcmp(key, "type"))
            continue;
        if (i == count)
            return unknown(what, "key", key, names, count, err);
        if (read_one(what, &table[i], value, out, err))
            return -1;
    }
    return 0;
}
