/* SPDX-License-Identifier: Apache-2.0
 *
 * What a replica on another node needs of this one: RAYWF_FILES (far/plugins.c).
 */
#ifndef RWF_SERVE_BROUGHT_H
#define RWF_SERVE_BROUGHT_H
#include <stddef.h>

struct serve_deployment;
struct serve_pool;

/* The value of RAYWF_FILES for a replica of d, whose constructor gets the text `how`.
 * The caller's. */
char *serve__files_of(const struct serve_pool *p, const struct serve_deployment *d,
                      const char *how);
/* In the worker: text (JSON) with the paths that were brought as they are here. The
 * caller's. */
char *serve__brought(const char *text, size_t size);

#endif
