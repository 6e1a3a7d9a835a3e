/* SPDX-License-Identifier: Apache-2.0
 *
 * What a recipe takes from outside its files: environment variables and the names that
 * match a pattern. Each is looked up once and then stays as it was, for this recipe and
 * for every recipe loaded from its snapshot.
 */
#include "config.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "recipe/load.h"

const char *recipe_getenv(const struct recipe *r, const char *name)
{
    json_t *known = json_object_get(r->env, name);
    if (known == NULL) {
        const char *value = getenv(name);
        known =
            r->frozen != NULL
                ? json_incref(json_object_get(json_object_get(r->frozen, "env"), name))
            : value != NULL ? json_string(value)
                            : json_null();
        if (value != NULL && known == NULL && r->frozen == NULL)
            rwf_log(RWF_LOG_WARN, "recipe",
                    "variable %s is not UTF-8: taken as not set", name);
        if (known == NULL)
            known = json_null();
        json_object_set_new(r->env, name, known);
    }
    return json_string_value(known);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_escaped(struct rwf_str *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (strchr("*?[]\\", *text) != NULL)
            rwf_str_addc(out, '\\');
        rwf_str_addc(out, *text);
    }
}

/* A folder that cannot be listed has no matches, but that is said. */
static int cannot_list(const char *path, int number)
{
    if (number != ENOENT && number != ENOTDIR)
        rwf_log(RWF_LOG_WARN, "recipe", "cannot list %s: %s", path, strerror(number));
    return 0;
}

/* Names are given relative to the recipe's folder; order is that of the bytes, so that
 * the locale does not change a plan. */
static json_t *look_up(const struct recipe *r, const char *pattern)
{
    struct rwf_str full = {0};
    glob_t found = {0};
    json_t *names = json_array();
    size_t skip = pattern[0] == '/' ? 0 : strlen(r->dir) + 1;
    if (skip > 0) {
        add_escaped(&full, r->dir);
        rwf_str_addc(&full, '/');
    }
    rwf_str_add(&full, pattern);
    int rc = glob(full.data, GLOB_NOSORT, cannot_list, &found);
    if (rc == GLOB_NOSPACE)
        rwf_out_of_memory(full.len);
    if (rc == 0) {
        qsort(found.gl_pathv, found.gl_pathc, sizeof(char *), compare_texts);
        for (size_t i = 0; i < found.gl_pathc; i++) {
            json_t *name = json_string(found.gl_pathv[i] + skip);
            if (name == NULL)
                rwf_log(RWF_LOG_WARN, "recipe",
                        "pattern '%s' skips a name that is not "
                        "UTF-8",
                        pattern);
            else
                json_array_append_new(names, name);
        }
    }
    globfree(&found);
    rwf_str_free(&full);
    return names;
}

const json_t *recipe_glob(const struct recipe *r, const char *pattern)
{
    json_t *known = json_object_get(r->globs, pattern);
    if (known != NULL)
        return known;
    if (r->frozen != NULL) {
        json_t *frozen = json_object_get(json_object_get(r->frozen, "globs"), pattern);
        known = json_is_array(frozen) ? json_incref(frozen) : json_array();
    } else {
        known = look_up(r, pattern);
    }
    json_object_set_new(r->globs, pattern, known);
    return known;
}
