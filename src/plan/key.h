/* SPDX-License-Identifier: Apache-2.0
 *
 * The key of a step's result: SHA-256 over the canonical JSON of its parts,
 *   {"epoch":1,"op":"task","version":1,"spec":{…},"files":{"path":"sha256:…"}}
 * and for what needs a service step "served": {ADDRESS: its key}, with spec resolved in PLAN_KEY mode. Parts are kept with the result, so that
 * `raywf why` can say which one changed. Names, order, comments, retries, timeouts and
 * resources are no part of it.
 */
#ifndef RWF_PLAN_KEY_H
#define RWF_PLAN_KEY_H
#include <jansson.h>
#include "base/digest.h"
#include "plan/graph.h"

#define PLAN_KEY_EPOCH 1

/* SHA-256 of a file's content, possibly remembered by (path, size, mtime, inode). */
typedef int (*plan_digest_fn)(void *ctx, const char *path, char out[RWF_DIGEST_LEN],
                              struct rwf_err *err);

/* Needs the results of all steps that step references (see plan_graph_resolve_as, mode
 * PLAN_KEY). *ret_parts (caller decrefs) may be NULL. A missing file: RWF_E_INPUT. */
int plan_step_key(const struct plan_graph *g, const struct plan_step *step,
                  plan_digest_fn digest, void *ctx, char out[RWF_DIGEST_LEN],
                  json_t **ret_parts, struct rwf_err *err);

/* What differs between two key parts: a list of
 * {"part":"spec.argv[2]","was":…,"now":…}. Caller decrefs. */
json_t *plan_key_diff(const json_t *was, const json_t *now);

#endif
