/* SPDX-License-Identifier: Apache-2.0
 *
 * What must not stand in rank.N.log. The engine's sinks redact streams; here it is
 * lines, so a value of several lines counts by each of them, too.
 */
#include "config.h"
#include "gang/inside.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/redact.h"

static void add_pair(void *ctx, const char *name, const char *value)
{
    json_array_append_new(ctx, json_pack("[s, s]", name, value));
}

/* The lines of what has several; a short one would hide everything. */
static void add_lines(const char *name, const char *value)
{
    char *copy = rwf_xstrdup(value), *save = NULL;
    size_t len = strlen(copy);

    if (strchr(copy, '\n') != NULL)
        for (char *line = strtok_r(copy, "\n", &save); line != NULL;
             line = strtok_r(NULL, "\n", &save))
            if (strlen(line) >= 8)
                (void)rwf_redact_add(name, line, NULL);
    explicit_bzero(copy, len);
    free(copy);
}

char *gang__secrets(void)
{
    json_t *pairs = json_array();
    char *text = NULL;

    rwf_redact_each(add_pair, pairs);
    if (json_array_size(pairs) > 0)
        text = json_dumps(pairs, JSON_COMPACT);
    json_decref(pairs);
    return text;
}

void gang_secrets_take(const char *text)
{
    json_t *pairs = json_loads(text, 0, NULL), *pair;
    size_t i;

    json_array_foreach(pairs, i, pair) {
        const char *name = json_string_value(json_array_get(pair, 0));
        const char *value = json_string_value(json_array_get(pair, 1));
        if (name == NULL || value == NULL)
            continue;
        (void)rwf_redact_add(name, value, NULL);
        add_lines(name, value);
    }
    json_decref(pairs);
}
