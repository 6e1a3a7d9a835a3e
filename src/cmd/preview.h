/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run would do, step by step, told from the cache without running anything.
 */
#ifndef RWF_CMD_PREVIEW_H
#define RWF_CMD_PREVIEW_H
#include <jansson.h>
#include "plan/graph.h"
#include "run/cache.h"

enum preview_verdict {
    PREVIEW_RUN, /* will run; why says what is new */
    PREVIEW_CACHED,
    PREVIEW_SKIP,   /* its condition is false, or what it needs is skipped */
    PREVIEW_DECIDE, /* costs nothing: a comparison, done when the run is there */
    PREVIEW_VERDICT_COUNT
};
const char *preview_verdict_name(enum preview_verdict v);

struct preview_step {
    enum preview_verdict verdict;
    char *key;                 /* NULL while unknown */
    const char *why;           /* NULL for cached ones; interned */
    json_t *outputs, *metrics; /* of the cached result */
    const char *origin;        /* interned; NULL unless cached */
};

struct preview;

/* no_cache: everything runs. RWF_E_INPUT when a file that a step reads is missing. */
struct preview *preview_create(struct plan_graph *g, const char *root, bool no_cache,
                               struct rwf_err *err);
void preview_destroy(struct preview *p);
const struct preview_step *preview_at(const struct preview *p, uint32_t step);
size_t preview_count(const struct preview *p, enum preview_verdict v);
/* Keys by step, for planfile_make: borrowed strings; the array is the caller's. */
const char **preview_keys(const struct preview *p);

#endif
