/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory of flows, and the two kinds of nodes that look into data.
 */
#include "config.h"
#include "serve/graph_impl.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/json_text.h"
#include "base/mem.h"

/* --- memory --- */

enum { BLOCK = 16384, ALIGN = 16 };

struct flow_block {
    struct flow_block *next;
    _Alignas(ALIGN) unsigned char bytes[];
};

static void *add_block(struct flow_arena *a, size_t size)
{
    struct flow_block *b = rwf_xmalloc(sizeof(*b) + size);

    b->next = a->blocks;
    a->blocks = b;
    return b->bytes;
}

void *flow_alloc(struct flow_arena *a, size_t size)
{
    rwf_assert(size < SIZE_MAX / 2);
    size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (size > a->left && size > BLOCK / 4)
        return add_block(a, size);
    if (size > a->left) {
        a->at = add_block(a, BLOCK);
        a->left = BLOCK;
    }
    void *out = a->at;
    a->at += size;
    a->left -= size;
    return out;
}

void flow_release(struct flow_arena *a)
{
    while (a->blocks != NULL) {
        struct flow_block *next = a->blocks->next;
        free(a->blocks);
        a->blocks = next;
    }
}

static char *copy_text(struct flow_arena *a, const char *text)
{
    size_t size = strlen(text) + 1;

    return memcpy(flow_alloc(a, size), text, size);
}

struct serve_data flow_copy(struct flow_arena *a, const struct serve_data *data)
{
    struct serve_data out = {0};

    if (data == NULL)
        return out;
    char *bytes = flow_alloc(a, data->size + 1);
    if (data->size > 0)
        memcpy(bytes, data->bytes, data->size);
    bytes[data->size] = '\0';
    out.bytes = bytes;
    out.size = data->size;
    out.type = data->type != NULL ? copy_text(a, data->type) : NULL;
    return out;
}

char *flow_printf(struct flow_arena *a, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return copy_text(a, text);
}

/* --- switch --- */

/* The value at "a.b.c"; NULL: there is none. */
static const json_t *at_path(const json_t *json, const char *path)
{
    while (json != NULL && *path != '\0') {
        size_t len = strcspn(path, ".");
        json = json_object_getn(json, path, len);
        path += len + (path[len] == '.');
    }
    return json;
}

/* The text that a case is compared with. */
static const char *text_of(struct flow_arena *a, const json_t *value)
{
    char *text, *copy;

    if (json_is_string(value))
        return json_string_value(value);
    if (value == NULL || json_is_object(value) || json_is_array(value))
        return NULL;
    text = rwf_json_text(value);
    copy = text != NULL ? copy_text(a, text) : NULL;
    free(text);
    return copy;
}

static int find_case(const struct serve_node *node, const char *text)
{
    int otherwise = -1;

    for (int i = 0; i < node->branch_count; i++) {
        if (node->branches[i].value == NULL)
            otherwise = i;
        else if (text != NULL && strcmp(node->branches[i].value, text) == 0)
            return i;
    }
    return otherwise;
}

int flow_switch(struct flow_arena *a, const struct serve_node *node,
                const struct serve_data *input, const char **ret_why)
{
    json_error_t wrong;
    json_t *json = json_loadb(input->size > 0 ? input->bytes : "", input->size,
                              JSON_DECODE_ANY, &wrong);
    const char *text = text_of(a, at_path(json, node->field));
    int found = json != NULL ? find_case(node, text) : -1;

    if (json == NULL)
        *ret_why = flow_printf(a, "switch: the input is not JSON: %s", wrong.text);
    else if (found < 0 && text != NULL)
        *ret_why =
            flow_printf(a, "switch: there is no case '%.100s' of the field '%.100s'",
                        text, node->field);
    else if (found < 0)
        *ret_why =
            flow_printf(a, "switch: the input has no field '%.100s'", node->field);
    json_decref(json);
    return found;
}

/* --- join --- */

static bool is_json(const struct serve_data *data)
{
    json_t *json = data->size > 0
                       ? json_loadb(data->bytes, data->size, JSON_DECODE_ANY, NULL)
                       : NULL;
    bool good = json != NULL;

    json_decref(json);
    return good;
}

static char *quoted(const char *name)
{
    json_t *text = json_string(name);
    char *out = rwf_json_text(text);

    json_decref(text);
    return out;
}

int flow_join(struct flow_arena *a, const struct serve_node *node,
              const struct serve_data *outputs, struct serve_data *ret,
              const char **ret_why)
{
    size_t size = 3, len = 0;
    char *out;

    for (int i = 0; i < node->branch_count; i++) {
        if (!is_json(&outputs[i])) {
            *ret_why = flow_printf(
                a,
                "fanout: what the branch '%.100s' gave is not JSON, so it cannot be "
                "joined",
                node->branches[i].name);
            return -1;
        }
        size += outputs[i].size + 6 * strlen(node->branches[i].name) + 4;
    }
    out = flow_alloc(a, size);
    for (int i = 0; i < node->branch_count; i++) {
        char *name = quoted(node->branches[i].name);
        len += (size_t)sprintf(out + len, "%c%s:", i == 0 ? '{' : ',', name);
        free(name);
        memcpy(out + len, outputs[i].bytes, outputs[i].size);
        len += outputs[i].size;
    }
    out[len++] = '}';
    out[len] = '\0';
    *ret = (struct serve_data){.bytes = out, .size = len};
    return 0;
}
