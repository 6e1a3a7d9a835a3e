/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the parts of safetensors: the types' table, parsing of bytes, files and
 * folders.
 */
#ifndef RWF_TENSOR_SAFETENSORS_IMPL_H
#define RWF_TENSOR_SAFETENSORS_IMPL_H
#include <stdbool.h>
#include "base/arena.h"
#include "base/map.h"
#include "tensor/safetensors.h"

#define SAFETENSORS_HEADER_MAX ((uint64_t)100000000)

struct tensor__mapping {
    void *bytes;
    size_t size;
};

struct safetensors {
    struct rwf_arena *arena; /* names and texts */
    struct tensor__mapping *maps;
    size_t map_count, map_cap;
    struct safetensors_entry *entries;
    size_t count, cap;
    struct rwf_map *names; /* to entries; made last, for these move */
};

/* SAFETENSORS_OTHER when there is no such type. */
enum safetensors_type tensor__type_of(const char *dtype);
struct safetensors *tensor__create(void);
/* Adds the tensors of one file's bytes; shards: {name: shard}, of which only those of
 * `shard` are taken, or NULL for all. */
int tensor__add(struct safetensors *s, const void *bytes, size_t size, const char *file,
                const json_t *shards, const char *shard, struct rwf_err *err);
/* When all are added. */
void tensor__index(struct safetensors *s);

#endif
