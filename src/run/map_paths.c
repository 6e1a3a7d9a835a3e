/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "run/map_paths.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"

/* May stand in a name: before the first slash of a path, or after a folder's last
 * letter, it makes another path of it. */
static bool goes_on(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("._-~+%@,#", c) != NULL) || (unsigned char)c >= 0x80;
}

/* A comma, too, may stand between two paths; and ".", at the end of a sentence. */
static bool may_precede(char c)
{
    return !goes_on(c) || c == ',' || c == '@' || c == '%' || c == '+';
}

/* Whether at is the start of folder as a path; text: where it all begins. */
static bool is_at(const char *text, const char *at, const char *folder, size_t len)
{
    if (strncmp(at, folder, len) != 0)
        return false;
    char after = at[len];
    if (after == ',' || after == '.')
        after =
            goes_on(at[len + 1]) || (after == '.' && at[len + 1] == '/') ? 'x' : ' ';
    return (at == text || (may_precede(at[-1]) && at[-1] != '/')) && !goes_on(after);
}

static const struct run_mapping *longest(const struct run_mapping *maps, size_t count,
                                         const char *text, const char *at)
{
    const struct run_mapping *best = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(maps[i].here);
        if (is_at(text, at, maps[i].here, len) &&
            (best == NULL || len > strlen(best->here)))
            best = &maps[i];
    }
    return best;
}

char *run__map_text(const struct run_mapping *maps, size_t count, const char *text)
{
    struct rwf_str out = {NULL, 0, 0};
    for (const char *at = text; *at != '\0';) {
        const struct run_mapping *m =
            *at == '/' ? longest(maps, count, text, at) : NULL;
        if (m == NULL) {
            rwf_str_addc(&out, *at++);
            continue;
        }
        rwf_str_add(&out, m->there);
        at += strlen(m->here);
    }
    return out.data == NULL ? rwf_xstrdup("") : rwf_str_take(&out);
}

static json_t *map_string(const struct run_mapping *maps, size_t count,
                          const json_t *value)
{
    char *text = run__map_text(maps, count, json_string_value(value));
    json_t *out = json_string_nocheck(text);
    free(text);
    return out;
}

json_t *run__map_json(const struct run_mapping *maps, size_t count, const json_t *value)
{
    const char *key;
    json_t *item, *out;
    size_t i;
    if (json_is_string(value))
        return map_string(maps, count, value);
    if (json_is_object(value)) {
        out = json_object();
        json_object_foreach((json_t *)(uintptr_t)value, key, item)
            json_object_set_new_nocheck(out, key, run__map_json(maps, count, item));
        return out;
    }
    if (json_is_array(value)) {
        out = json_array();
        json_array_foreach(value, i, item)
            json_array_append_new(out, run__map_json(maps, count, item));
        return out;
    }
    return json_incref((json_t *)(uintptr_t)value);
}

static bool text_names(const char *text, const char *path)
{
    size_t len = strlen(path);
    for (const char *at = text; (at = strstr(at, path)) != NULL; at++)
        if (is_at(text, at, path, len))
            return true;
    return false;
}

bool run__names_path(const json_t *value, const char *path)
{
    const char *key;
    json_t *item;
    size_t i;
    bool found = false;
    if (json_is_string(value))
        return text_names(json_string_value(value), path);
    if (json_is_object(value))
        json_object_foreach((json_t *)(uintptr_t)value, key, item)
            found |= run__names_path(item, path);
    else if (json_is_array(value))
        json_array_foreach(value, i, item)
            found |= run__names_path(item, path);
    return found;
}
