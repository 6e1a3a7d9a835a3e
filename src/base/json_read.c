/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/json_read.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/suggest.h"

#define FILE_MAX ((size_t)4 << 20)

void rwf_read_fail(struct rwf_reader *r, const char *fmt, ...)
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

static const json_t *value(const struct rwf_reader *r, const char *key)
{
    const json_t *v = json_object_get(r->object, key);
    return json_is_null(v) ? NULL : v;
}

int64_t rwf_read_int(struct rwf_reader *r, const char *key, int64_t fallback,
                     int64_t min, int64_t max)
{
    const json_t *v = value(r, key);
    if (v == NULL && fallback != RWF_READ_REQUIRED)
        return fallback;
    int64_t n = json_integer_value(v);
    if (v == NULL)
        rwf_read_fail(r, "'%s' is missing", key);
    else if (!json_is_integer(v))
        rwf_read_fail(r, "'%s' is not a whole number", key);
    else if (n < min || n > max)
        rwf_read_fail(r, "'%s' is %lld, not %lld to %lld", key, (long long)n,
                      (long long)min, (long long)max);
    return r->failed ? min : n;
}

double rwf_read_number(struct rwf_reader *r, const char *key, double fallback,
                       double min, double max)
{
    const json_t *v = value(r, key);
    if (v == NULL)
        return fallback;
    double n = json_number_value(v);
    if (!json_is_number(v))
        rwf_read_fail(r, "'%s' is not a number", key);
    else if (!(n >= min && n <= max))
        rwf_read_fail(r, "'%s' is %g, not %g to %g", key, n, min, max);
    return r->failed ? fallback : n;
}

bool rwf_read_bool(struct rwf_reader *r, const char *key, bool fallback)
{
    const json_t *v = value(r, key);
    if (v == NULL)
        return fallback;
    if (!json_is_boolean(v))
        rwf_read_fail(r, "'%s' is neither true nor false", key);
    return json_is_true(v);
}

const char *rwf_read_text(struct rwf_reader *r, const char *key, const char *fallback)
{
    const json_t *v = value(r, key);
    if (v == NULL)
        return fallback;
    if (!json_is_string(v))
        rwf_read_fail(r, "'%s' is not text", key);
    return r->failed ? fallback : json_string_value(v);
}

const json_t *rwf_read_object(struct rwf_reader *r, const char *key)
{
    const json_t *v = value(r, key);
    if (v != NULL && !json_is_object(v))
        rwf_read_fail(r, "'%s' is not an object", key);
    return json_is_object(v) ? v : NULL;
}

void rwf_read_known(struct rwf_reader *r, const char *const *names, size_t count)
{
    const char *key;
    const json_t *v;
    if (!json_is_object(r->object))
        rwf_read_fail(r, "is not a map of keys");
    json_object_foreach((json_t *)r->object, key, v) {
        bool known = false;
        for (size_t i = 0; i < count; i++)
            known = known || strcmp(key, names[i]) == 0;
        if (known)
            continue;
        char *choices = rwf_suggest_choices(key, names, count);
        rwf_read_fail(r, "there is no key '%s'; %s", key, choices);
        free(choices);
    }
}

json_t *rwf_read_json(const char *folder, const char *name, bool optional,
                      struct rwf_err *err)
{
    char *path = rwf_fs_join(folder, name);
    json_t *v = NULL;
    json_error_t bad;
    size_t len = 0;
    char *text = NULL;
    if (optional && !rwf_fs_exists(path))
        goto out;
    text = rwf_fs_read(path, FILE_MAX, &len, err);
    if (text == NULL) {
        if (err != NULL)
            err->code = RWF_E_INPUT;
        goto out;
    }
    v = json_loadb(text, len, JSON_REJECT_DUPLICATES, &bad);
    if (v == NULL)
        rwf_fail(err, RWF_E_INPUT, "%s:%d:%d: %s", path, bad.line, bad.column,
                 bad.text);
    else if (!json_is_object(v)) {
        rwf_fail(err, RWF_E_INPUT, "%s: is not an object", path);
        json_decref(v);
        v = NULL;
    }
out:
    free(text);
    free(path);
    return v;
}
