/* SPDX-License-Identifier: Apache-2.0
 *
 * Added tokens: texts that are cut out before anything else. The longest that starts
 * leftmost is taken, then the search goes on behind it.
 */
#ifndef RWF_TEXT_ADDED_H
#define RWF_TEXT_ADDED_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "text/fence.h"

struct added__token {
    int32_t id;
    bool single_word, lstrip, rstrip;
};

struct added;

struct added *added__create(void);
void added__destroy(struct added *a);
/* A text that is there already keeps what it has. */
void added__put(struct added *a, const char *text, size_t len,
                const struct added__token *token);
size_t added__count(const struct added *a);

/* What lies between tokens, and the tokens. */
struct added__sink {
    void (*text)(void *ctx, const uint8_t *p, size_t len);
    void (*token)(void *ctx, int32_t id);
    void *ctx;
};
/* A token that would touch what is in the fence is none there; what it strips may lie within. */
void added__cut(const struct added *a, const uint8_t *p, size_t len,
                const struct text__fence *fence, const struct added__sink *sink);

#endif
