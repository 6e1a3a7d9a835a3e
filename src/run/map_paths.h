/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths in texts, called as another machine calls them. Pure.
 */
#ifndef RWF_RUN_MAP_PATHS_H
#define RWF_RUN_MAP_PATHS_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A folder here, absolute and without a slash at its end, and what it is there. */
struct run_mapping {
    const char *here, *there;
};

/* text with every path beneath a folder of maps replaced, also within a text ("cat /a/b
 * > out"): a path begins where no name goes on, and the folder ends at a slash or where
 * no name goes on. The longest folder counts. The caller frees. */
char *run__map_text(const struct run_mapping *maps, size_t count, const char *text);
/* The same for all texts in value; keys stay. New. */
json_t *run__map_json(const struct run_mapping *maps, size_t count,
                      const json_t *value);
/* Whether text, or a text in value, names path or something beneath it. */
bool run__names_path(const json_t *value, const char *path);

#endif
