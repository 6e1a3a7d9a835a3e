/* SPDX-License-Identifier: Apache-2.0
 *
 * The names of a request's parameters: which are known, and what becomes of those that are not.
 * What would change the answer and is not here is refused; what changes nothing is accepted; a
 * name that nobody knows is accepted too, and the log says so once.
 */
#ifndef RWF_LLM_API_NAMES_H
#define RWF_LLM_API_NAMES_H
#include <jansson.h>
#include "base/err.h"

/* Whose parameters they are; bits. */
enum {
    API_CHAT = 1,
    API_COMPLETE = 2,
    API_EMBED = 4,
    API_TOKENIZE = 8,
    API_DETOKENIZE = 16,
};

struct api_names; /* those that the log has told of */

struct api_names *api_names_create(void);
void api_names_destroy(struct api_names *n);
/* API_UNSUPPORTED: *ret_param is refused. */
int api_names_check(struct api_names *n, unsigned where, const json_t *request,
                    const char **ret_param, struct rwf_err *err);

#endif
