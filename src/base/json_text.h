/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RWF_BASE_JSON_TEXT_H
#define RWF_BASE_JSON_TEXT_H
#include <jansson.h>

/* Any value as compact JSON, with numbers as people write them: 0.9, not
 * 0.90000000000000002; it reads back as the very same. For the caller to free; NULL: value
 * is NULL, or no JSON. */
char *rwf_json_text(const json_t *value);

#endif
