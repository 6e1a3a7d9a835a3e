/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of one safetensors file. All of the header is checked before an entry
 * exists, so that whoever has an entry may read all of its bytes.
 */
#include "config.h"
#include "tensor/safetensors.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/mem.h"
#include "tensor/safetensors_impl.h"

enum { HEAD = 8 };

struct safetensors *tensor__create(void)
{
    struct safetensors *s = rwf_xcalloc(1, sizeof(*s));
    s->arena = rwf_arena_create();
    s->names = rwf_map_create();
    return s;
}

void safetensors_close(struct safetensors *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->map_count; i++)
        munmap(s->maps[i].bytes, s->maps[i].size);
    rwf_map_destroy(s->names, NULL);
    rwf_arena_destroy(s->arena);
    free(s->maps);
    free(s->entries);
    free(s);
}

size_t safetensors_count(const struct safetensors *s)
{
    return s->count;
}

const struct safetensors_entry *safetensors_at(const struct safetensors *s, size_t i)
{
    rwf_assert(i < s->count);
    return &s->entries[i];
}

const struct safetensors_entry *safetensors_find(const struct safetensors *s,
                                                 const char *name)
{
    return rwf_map_get(s->names, name);
}

void tensor__index(struct safetensors *s)
{
    for (size_t i = 0; i < s->count; i++)
        rwf_map_set(s->names, s->entries[i].name, &s->entries[i]);
}

/* --- one tensor of the header --- */

static int bad(struct rwf_err *err, const struct safetensors_entry *e, const char *what)
{
    return rwf_fail(err, RWF_E_INPUT, "'%s': tensor '%s': %s", e->file, e->name, what);
}

static int read_type(struct safetensors *s, struct safetensors_entry *e,
                     const json_t *dtype, struct rwf_err *err)
{
    if (!json_is_string(dtype))
        return bad(err, e, "dtype must be a text");
    e->type = tensor__type_of(json_string_value(dtype));
    e->dtype = e->type == SAFETENSORS_OTHER
                   ? rwf_arena_strdup(s->arena, json_string_value(dtype))
                   : safetensors_type_name(e->type);
    return 0;
}

/* Also the number of bytes that type and shape come to. */
static int read_shape(struct safetensors_entry *e, const json_t *shape,
                      size_t *ret_bytes, struct rwf_err *err)
{
    size_t i, bytes = safetensors_type_size(e->type);
    const json_t *n;
    if (!json_is_array(shape))
        return bad(err, e, "shape must be a list of numbers");
    if (json_array_size(shape) > SAFETENSORS_DIMS_MAX)
        return bad(err, e, "shape has more than 8 dimensions");
    json_array_foreach(shape, i, n) {
        if (!json_is_integer(n) || json_integer_value(n) < 0)
            return bad(err, e, "shape must be a list of whole numbers from 0 on");
        e->shape[i] = json_integer_value(n);
        if (__builtin_mul_overflow(bytes, (size_t)e->shape[i], &bytes))
            return bad(err, e, "shape has more values than any file can hold");
    }
    e->dims = (int)json_array_size(shape);
    *ret_bytes = bytes;
    return 0;
}

static int read_offsets(struct safetensors_entry *e, const json_t *offsets,
                        const uint8_t *body, size_t size, struct rwf_err *err)
{
    const json_t *b = json_array_get(offsets, 0), *z = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(b) || !json_is_integer(z))
        return bad(err, e, "data_offsets must be two whole numbers");
    json_int_t begin = json_integer_value(b), end = json_integer_value(z);
    if (begin < 0 || end < begin)
        return bad(err, e, "data_offsets must grow");
    if ((uint64_t)end > size)
        return rwf_fail(err, RWF_E_INPUT,
                        "'%s': tensor '%s' ends at byte %" JSON_INTEGER_FORMAT
                        " of the data, of which there are %zu: the file is cut short",
                        e->file, e->name, end, size);
    e->data = body + begin;
    e->bytes = (size_t)(end - begin);
    return 0;
}

static int read_entry(struct safetensors *s, struct safetensors_entry *e,
                      const json_t *info, const uint8_t *body, size_t size,
                      struct rwf_err *err)
{
    size_t bytes = 0;
    if (!json_is_object(info))
        return bad(err, e, "must be an object of dtype, shape and data_offsets");
    if (read_type(s, e, json_object_get(info, "dtype"), err) < 0 ||
        read_shape(e, json_object_get(info, "shape"), &bytes, err) < 0 ||
        read_offsets(e, json_object_get(info, "data_offsets"), body, size, err) < 0)
        return -1;
    if (e->type != SAFETENSORS_OTHER && bytes != e->bytes)
        return rwf_fail(
            err, RWF_E_INPUT,
            "'%s': tensor '%s': %s of its shape is %zu bytes, its data_offsets "
            "span %zu",
            e->file, e->name, e->dtype, bytes, e->bytes);
    return 0;
}

/* --- the header --- */

static int by_offset(const void *left, const void *right)
{
    const struct safetensors_entry *a = left, *b = right;
    if (a->data != b->data)
        return (uintptr_t)a->data < (uintptr_t)b->data ? -1 : 1;
    return a->bytes < b->bytes ? -1 : a->bytes > b->bytes;
}

static int check_metadata(const json_t *metadata, const char *file, struct rwf_err *err)
{
    const char *name;
    const json_t *value;
    if (!json_is_object(metadata))
        return rwf_fail(err, RWF_E_INPUT, "'%s': __metadata__ must be an object", file);
    json_object_foreach((json_t *)(uintptr_t)metadata, name, value)
        if (!json_is_string(value))
            return rwf_fail(err, RWF_E_INPUT, "'%s': __metadata__: '%s' must be a text",
                            file, name);
    return 0;
}

/* One after the other from the first byte to the last. */
static int check_order(const struct safetensors_entry *e, size_t count,
                       const uint8_t *body, size_t size, const char *file,
                       struct rwf_err *err)
{
    const uint8_t *at = body;
    for (size_t i = 0; i < count; at += e[i++].bytes)
        if ((const uint8_t *)e[i].data != at)
            return bad(err, &e[i],
                       (const uint8_t *)e[i].data < at
                           ? "its bytes overlap those of another tensor"
                           : "bytes before it belong to no tensor");
    if (at != body + size)
        return rwf_fail(err, RWF_E_INPUT,
                        "'%s': %zu bytes after the last tensor belong to no tensor",
                        file, (size_t)(body + size - at));
    return 0;
}

static bool wanted(const struct safetensors_entry *e, const json_t *shards,
                   const char *shard)
{
    const char *in =
        shards ? json_string_value(json_object_get(shards, e->name)) : NULL;
    return !shards || (in && strcmp(in, shard) == 0);
}

static int add_entries(struct safetensors *s, const json_t *header, const uint8_t *body,
                       size_t size, const char *file, struct safetensors_entry *all,
                       size_t *ret_count, struct rwf_err *err)
{
    const char *name;
    const json_t *info;
    size_t count = 0;
    json_object_foreach((json_t *)(uintptr_t)header, name, info) {
        struct safetensors_entry *e = &all[count];
        if (strcmp(name, "__metadata__") == 0) {
            if (check_metadata(info, file, err) < 0)
                return -1;
            continue;
        }
        *e = (struct safetensors_entry){ .file = file };
        e->name = rwf_arena_strdup(s->arena, name);
        if (read_entry(s, e, info, body, size, err) < 0)
            return -1;
        count++;
    }
    *ret_count = count;
    return 0;
}

static int parse_header(const uint8_t *bytes, size_t size, const char *file,
                        json_t **ret_header, size_t *ret_len, struct rwf_err *err)
{
    uint64_t len = 0;
    json_error_t bad_json;
    if (size < HEAD)
        return rwf_fail(
            err, RWF_E_INPUT,
            "'%s' is no safetensors file: it has %zu bytes, less than the 8 "
            "of the header's length",
            file, size);
    for (int i = HEAD - 1; i >= 0; i--)
        len = len << 8 | bytes[i];
    if (len > SAFETENSORS_HEADER_MAX || len > size - HEAD)
        return rwf_fail(
            err, RWF_E_INPUT,
            "'%s' is no safetensors file, or cut short: its header would be "
            "%" PRIu64 " bytes (of at most %" PRIu64 "), the file has %zu",
            file, len, SAFETENSORS_HEADER_MAX, size);
    if (len == 0 || bytes[HEAD] != '{')
        return rwf_fail(
            err, RWF_E_INPUT,
            "'%s' is no safetensors file: its header does not start with '{'", file);
    *ret_header = json_loadb((const char *)bytes + HEAD, (size_t)len,
                             JSON_REJECT_DUPLICATES, &bad_json);
    if (!*ret_header)
        return rwf_fail(err, RWF_E_INPUT, "'%s': the header is no JSON: byte %d: %s",
                        file, bad_json.position + HEAD, bad_json.text);
    *ret_len = (size_t)len;
    return 0;
}

int tensor__add(struct safetensors *s, const void *bytes, size_t size, const char *file,
                const json_t *shards, const char *shard, struct rwf_err *err)
{
    json_t *header = NULL;
    size_t len = 0, count = 0;
    file = rwf_arena_strdup(s->arena, file);
    if (parse_header(bytes, size, file, &header, &len, err) < 0)
        return -1;
    const uint8_t *body = (const uint8_t *)bytes + HEAD + len;
    size -= HEAD + len;
    struct safetensors_entry *all =
        rwf_xcalloc(json_object_size(header) + 1, sizeof(*all));
    int rc = add_entries(s, header, body, size, file, all, &count, err);
    if (rc == 0) {
        qsort(all, count, sizeof(*all), by_offset);
        rc = check_order(all, count, body, size, file, err);
    }
    for (size_t i = 0; rc == 0 && i < count; i++)
        if (wanted(&all[i], shards, shard))
            *RWF_PUSH(s->entries, s->count, s->cap) = all[i];
    free(all);
    json_decref(header);
    return rc;
}

struct safetensors *safetensors_parse(const void *bytes, size_t size, const char *name,
                                      struct rwf_err *err)
{
    struct safetensors *s = tensor__create();
    if (tensor__add(s, bytes, size, name, NULL, NULL, err) < 0) {
        safetensors_close(s);
        return NULL;
    }
    tensor__index(s);
    return s;
}
