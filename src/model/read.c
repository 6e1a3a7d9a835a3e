/* SPDX-License-Identifier: Apache-2.0
 *
 * Checked values of a JSON object. A reader keeps its first failure, so that reading is
 * a list of lines and one test at its end.
 */
#include "config.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/suggest.h"
#include "model/inside.h"

void model__read_fail(struct reader *r, const char *fmt, ...)
{
    if (r->failed)
        return;
    va_list args;
    va_start(args, fmt);
    char *text = rwf_xvasprintf(fmt, args);
    va_end(args);
    rwf_fail(r->err, r->code, "%s: %s", r->what, text);
    free(text);
    r->failed = true;
}

static const json_t *value(struct reader *r, const char *key)
{
    const json_t *v = json_object_get(r->object, key);
    return json_is_null(v) ? NULL : v;
}

int64_t model__read_int(struct reader *r, const char *key, int64_t fallback,
                        int64_t min, int64_t max)
{
    const json_t *v = value(r, key);
    if (v == NULL && fallback != READ_REQUIRED)
        return fallback;
    int64_t n = json_integer_value(v);
    if (v == NULL)
        model__read_fail(r, "'%s' is missing", key);
    else if (!json_is_integer(v))
        model__read_fail(r, "'%s' is not a whole number", key);
    else if (n < min || n > max)
        model__read_fail(r, "'%s' is %lld, not %lld to %lld", key, (long long)n,
                         (long long)min, (long long)max);
    return r->failed ? min : n;
}

double model__read_number(struct reader *r, const char *key, double fallback,
                          double min, double max)
{
    const json_t *v = value(r, key);
    if (v == NULL)
        return fallback;
    double n = json_number_value(v);
    if (!json_is_number(v))
        model__read_fail(r, "'%s' is not a number", key);
    else if (!(n >= min && n <= max))
        model__read_fail(r, "'%s' is %g, not %g to %g", key, n, min, max);
    return r->failed ? fallback : n;
}

bool model__read_bool(struct reader *r, const char *key, bool fallback)
{
    const json_t *v = value(r, key);
    if (v == NULL)
        return fallback;
    if (!json_is_boolean(v))
        model__read_fail(r, "'%s' is neither true nor false", key);
    return json_is_true(v);
}

const char *model__read_text(struct reader *r, const char *key, const char *fallback)
{
    const json_t *v = value(r, key);
    if (v == NULL)
        return fallback;
    if (!json_is_string(v))
        model__read_fail(r, "'%s' is not text", key);
    return r->failed ? fallback : json_string_value(v);
}

char *model__choices(const char *name, const char *const *names, size_t count)
{
    struct rwf_str out = {0};
    struct rwf_suggest s;
    rwf_suggest_init(&s, name);
    for (size_t i = 0; i < count; i++)
        rwf_suggest_try(&s, names[i]);
    const char *best = rwf_suggest_best(&s);
    if (best != NULL)
        rwf_str_addf(&out, "did you mean '%s'? ", best);
    rwf_str_add(&out, best != NULL ? "One of " : "one of ");
    for (size_t i = 0; i < count; i++)
        rwf_str_addf(&out, "%s%s", i > 0 ? ", " : "", names[i]);
    return rwf_str_take(&out);
}

void model__read_known(struct reader *r, const char *const *names, size_t count)
{
    const char *key;
    const json_t *v;
    if (!json_is_object(r->object))
        model__read_fail(r, "is not a map of keys");
    json_object_foreach((json_t *)r->object, key, v) {
        bool known = false;
        for (size_t i = 0; i < count; i++)
            known = known || strcmp(key, names[i]) == 0;
        if (known)
            continue;
        char *choices = model__choices(key, names, count);
        model__read_fail(r, "there is no key '%s'; %s", key, choices);
        free(choices);
    }
}
