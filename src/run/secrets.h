/* SPDX-License-Identifier: Apache-2.0
 *
 * Secrets on their way to a built-in step: in its spec a value is replaced by the mark
 * "[secret:NAME]", and travels in the environment as RAYWF_SECRET_NAME.
 */
#ifndef RWF_RUN_SECRETS_H
#define RWF_RUN_SECRETS_H
#include <jansson.h>
#include "recipe/recipe.h"

/* A copy of spec with marks; adds the values it needs to env. Caller decrefs. */
json_t *run__secrets_mark(const struct recipe *r, const json_t *spec, json_t *env);
/* The other side: puts the values back from our environment, adds them to the redaction
 * set, and removes them from the environment. Caller decrefs. */
json_t *run__secrets_unmark(const json_t *spec);

#endif
