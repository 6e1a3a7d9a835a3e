/* SPDX-License-Identifier: Apache-2.0
 *
 * The texts a recipe is made of: files, and one entry per value of the command line. A
 * place in a text is a byte offset until it is turned into a line and a column.
 */
#ifndef RWF_RECIPE_SOURCES_H
#define RWF_RECIPE_SOURCES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "recipe/node.h"

struct recipe_sources;

struct recipe_sources *recipe__sources_create(void);
void recipe__sources_destroy(struct recipe_sources *s);
/* Takes text. shown is how messages name it; path is the absolute path or, for a value
 * of the command line, NULL: such a text has no lines. Returns the file's number. */
uint32_t recipe__sources_add(struct recipe_sources *s, const char *shown,
                             const char *path, char *text, size_t len);
size_t recipe__sources_count(const struct recipe_sources *s);
const char *recipe__source_text(const struct recipe_sources *s, uint32_t file,
                                size_t *ret_len);
/* The absolute path, or NULL. */
const char *recipe__source_path(const struct recipe_sources *s, uint32_t file);
/* The span of the bytes from start to end, both offsets into the text. */
struct recipe_span recipe__source_span(const struct recipe_sources *s, uint32_t file,
                                       size_t start, size_t end);

#endif
