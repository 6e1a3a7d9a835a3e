/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON as Python's json.dumps(x, ensure_ascii=False) writes it: ", " and ": " between, keys in
 * their order, numbers as repr() has them. Models were trained on prompts written so, and
 * prefix caches compare bytes.
 */
#ifndef RWF_LLM_JSON_TEXT_H
#define RWF_LLM_JSON_TEXT_H
#include <jansson.h>
#include "base/str.h"

void json_text_add(struct rwf_str *out, const json_t *value);
/* A text of len bytes, in quotes. What is no UTF-8 becomes U+FFFD. */
void json_text_add_string(struct rwf_str *out, const char *text, size_t len);
/* A float as Python's repr(). */
void json_text_add_real(struct rwf_str *out, double value);

#endif
