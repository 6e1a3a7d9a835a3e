/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "run/secrets.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/redact.h"
#include "base/str.h"
#include "run/log.h"

#define MARK "[secret:"
#define PREFIX "RAYWF_SECRET_"

/* The next mark in text: its start, and its name in *ret_name (caller frees). */
static const char *find_mark(const char *text, char **ret_name)
{
    const char *at = strstr(text, MARK);
    const char *end = at == NULL ? NULL : strchr(at, ']');
    if (end == NULL)
        return NULL;
    const char *name = at + strlen(MARK);
    *ret_name = rwf_xstrndup(name, (size_t)(end - name));
    return at;
}

static void collect(const struct recipe *r, const char *text, json_t *env)
{
    char *name;
    for (const char *at = text; (at = find_mark(at, &name)) != NULL;) {
        const char *value = recipe_secret(r, name);
        char *variable = rwf_xasprintf("%s%s", PREFIX, name);
        if (value != NULL)
            json_object_set_new(env, variable, json_string(value));
        at += strlen(MARK) + strlen(name);
        free(variable);
        free(name);
    }
}

static void walk(const struct recipe *r, const json_t *value, json_t *env)
{
    const char *key;
    json_t *item;
    size_t i;
    if (json_is_string(value))
        collect(r, json_string_value(value), env);
    else if (json_is_object(value))
        json_object_foreach((json_t *)(uintptr_t)value, key, item)
            walk(r, item, env);
    else if (json_is_array(value))
        json_array_foreach(value, i, item)
            walk(r, item, env);
}

json_t *run__secrets_mark(const struct recipe *r, const json_t *spec, json_t *env)
{
    if (!rwf_redact_active())
        return json_deep_copy(spec);
    json_t *marked = run_redacted(spec);
    walk(r, marked, env);
    return marked;
}

/* --- the other side --- */

static json_t *put_back(const char *text)
{
    struct rwf_str out = {NULL, 0, 0};
    const char *at;
    char *name;
    while ((at = find_mark(text, &name)) != NULL) {
        char *variable = rwf_xasprintf("%s%s", PREFIX, name);
        const char *value = getenv(variable);
        size_t mark = strlen(MARK) + strlen(name) + 1;
        rwf_str_addn(&out, text, (size_t)(at - text));
        if (value != NULL)
            rwf_str_add(&out, value);
        else
            rwf_str_addn(&out, at, mark);
        text = at + mark;
        free(variable);
        free(name);
    }
    rwf_str_add(&out, text);
    json_t *whole = run_text(out.data);
    rwf_str_free(&out);
    return whole;
}

static json_t *unmarked(const json_t *value)
{
    const char *key;
    json_t *item, *copy;
    size_t i;
    if (json_is_string(value))
        return put_back(json_string_value(value));
    if (json_is_object(value)) {
        copy = json_object();
        json_object_foreach((json_t *)(uintptr_t)value, key, item)
            json_object_set_new(copy, key, unmarked(item));
        return copy;
    }
    if (json_is_array(value)) {
        copy = json_array();
        json_array_foreach(value, i, item)
            json_array_append_new(copy, unmarked(item));
        return copy;
    }
    return json_incref((json_t *)(uintptr_t)value);
}

extern char **environ;

/* Programs that the step starts shall not inherit them. */
static void hide(void)
{
    for (char **v = environ; *v != NULL;) {
        char *end = strchr(*v, '=');
        if (end == NULL || !rwf_starts_with(*v, PREFIX)) {
            v++;
            continue;
        }
        char *name = rwf_xstrndup(*v, (size_t)(end - *v));
        (void)rwf_redact_add(name + strlen(PREFIX), end + 1, NULL);
        explicit_bzero(end + 1, strlen(end + 1));
        unsetenv(name);
        free(name);
        v = environ;
    }
}

json_t *run__secrets_unmark(const json_t *spec)
{
    json_t *copy = unmarked(spec);
    hide();
    return copy;
}
