/* SPDX-License-Identifier: Apache-2.0
 *
 * Instances by name: what stands in [ ] behind an entry's address.
 */
#include "config.h"
#include "plan/inside.h"

#include <stdlib.h>
#include <string.h>

void plan__add_value(struct rwf_str *out, const struct recipe_node *value)
{
    if (value->kind == RECIPE_SCALAR) {
        rwf_str_add(out, value->text);
        return;
    }
    json_t *json = recipe_to_json(value);
    char *text = json_dumps(json, JSON_SORT_KEYS | JSON_COMPACT);
    rwf_str_add(out, text ? text : "");
    free(text);
    json_decref(json);
}

const struct recipe_node *plan__binding(const struct plan__instance *i,
                                        const char *axis)
{
    for (uint32_t k = 0; k < i->count; k++)
        if (strcmp(i->bindings[k].axis, axis) == 0)
            return i->bindings[k].value;
    return NULL;
}

/* A value as it is when that is unmistakable, else in double quotes. */
static void add_address_value(struct rwf_str *out, const char *text)
{
    size_t len = strlen(text);
    bool plain = len > 0 && text[0] != ' ' && text[len - 1] != ' ';

    for (size_t i = 0; i < len && plain; i++)
        plain = (unsigned char)text[i] >= ' ' && text[i] != 0x7f &&
                !strchr("[],=\"\\", text[i]);
    if (plain) {
        rwf_str_addn(out, text, len);
        return;
    }
    rwf_str_addc(out, '"');
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            rwf_str_addf(out, "\\x%02x", (unsigned char)*text);
        else if (*text == '"' || *text == '\\')
            rwf_str_addf(out, "\\%c", *text);
        else
            rwf_str_addc(out, *text);
    }
    rwf_str_addc(out, '"');
}

void plan__add_suffix(struct rwf_str *out, const struct plan__entry *e,
                      uint32_t instance)
{
    const struct plan__instance *i = &e->instances[instance];
    size_t shown = i->added ? i->count : e->axis_count;

    if (shown == 0)
        return;
    rwf_str_addc(out, '[');
    if (strcmp(i->bindings[0].axis, "item") == 0 && e->axis_count == 1) {
        if (i->bindings[0].value->kind == RECIPE_SCALAR)
            add_address_value(out, i->bindings[0].value->text);
        else
            rwf_str_addf(out, "%u", (unsigned)instance);
        shown = 0;
    }
    for (size_t k = 0; k < shown; k++) {
        rwf_str_addf(out, "%s%s=", k ? "," : "", i->bindings[k].axis);
        add_address_value(out, i->bindings[k].value->text);
    }
    rwf_str_addc(out, ']');
}
