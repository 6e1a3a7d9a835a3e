/* SPDX-License-Identifier: Apache-2.0
 *
 * What a tokenizer is made of, for load.c, which fills it, and tokenizer.c, which uses
 * it.
 */
#ifndef RWF_TEXT_TOKENIZER_IMPL_H
#define RWF_TEXT_TOKENIZER_IMPL_H
#include <pthread.h>
#include <stdbool.h>
#include "base/map.h"
#include "text/added.h"
#include "text/bpe.h"
#include "text/split.h"
#include "text/tokenizer.h"

/* Ids above this are refused: tables are as long as the highest id. */
#define TOKENIZER__MAX_ID (1 << 24)

struct tokenizer {
    struct rwf_map *ids; /* a token's text as the file spells it, to id + 1 */
    int32_t count;
    /* Token i decodes to bytes[offsets[i]..offsets[i + 1]). */
    char *bytes;
    size_t *offsets;
    bool *special; /* [count] an added token marked so */

    struct added *raw;        /* added tokens searched in the text as it is */
    struct added *normalized; /* those searched after normalization */
    bool nfc;
    struct text__step *steps;
    size_t step_count;
    struct bpe *bpe;

    struct tokenizer_ids before, after; /* a text, where a template says so */

    /* What encoding needs and is idle. */
    pthread_mutex_t lock;
    struct tokenizer__work *idle;
};

/* Fills *t, which is zero, from a tokenizer.json. */
int tokenizer__load(struct tokenizer *t, const char *json, size_t len,
                    struct rwf_err *err);

#endif
