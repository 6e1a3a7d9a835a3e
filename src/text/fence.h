/* SPDX-License-Identifier: Apache-2.0
 *
 * Parts of a text that added tokens may not touch, and where they are once it is normalized.
 */
#ifndef RWF_TEXT_FENCE_H
#define RWF_TEXT_FENCE_H
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"
#include "text/tokenizer.h"

/* ranges of the bytes from base on; ascending, apart, at borders of characters. */
struct text__fence {
    const uint8_t *base;
    const struct tokenizer_range *ranges;
    size_t count;
};

/* The first of its ranges that ends behind p; count: none does. */
size_t text__fence_at(const struct text__fence *f, const uint8_t *p);
/* Adds the NFC of p[0..len), well-formed, to out, which is empty, and to ret what of it comes from
 * within f: a character that was made from both sides of a border counts as within. */
void text__fence_nfc(const struct text__fence *f, const uint8_t *p, size_t len, struct rwf_str *out,
                     struct tokenizer_ranges *ret);

#endif
