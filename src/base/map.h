/* SPDX-License-Identifier: Apache-2.0
 *
 * A string-keyed hash map that keeps the order of insertion. Keys are copied; values are
 * the caller's. The hash is seeded per process, so hostile keys cannot collide on purpose.
 */
#ifndef RWF_BASE_MAP_H
#define RWF_BASE_MAP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rwf_map;

struct rwf_map *rwf_map_create(void);
void rwf_map_destroy(struct rwf_map *m, void (*free_value)(void *));
/* Sets key to value; returns the value it had, or NULL. value must not be NULL. */
void *rwf_map_set(struct rwf_map *m, const char *key, void *value);
void *rwf_map_get(const struct rwf_map *m, const char *key);
void *rwf_map_getn(const struct rwf_map *m, const char *key, size_t len);
size_t rwf_map_count(const struct rwf_map *m);
/* The i-th entry in order of insertion, 0 <= i < count. */
const char *rwf_map_key_at(const struct rwf_map *m, size_t i);
void *rwf_map_value_at(const struct rwf_map *m, size_t i);

/* The seeded hash behind the map, for indexes kept elsewhere. */
uint32_t rwf_map_hash(const char *key, size_t len);

#endif
