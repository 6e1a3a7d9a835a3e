/* SPDX-License-Identifier: Apache-2.0
 *
 * Training: distinct words with their counts while text comes in, merges at the end,
 * written as the tokenizer.json that Hugging Face's ByteLevelBPETokenizer would save.
 */
#include "config.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "text/learn.h"
#include "text/split.h"
#include "text/unicode.h"

#define MIN_FREQUENCY 2
#define MAX_VOCAB (1 << 24)

struct word {
    size_t start, len; /* in bytes */
    uint64_t count;
    uint32_t hash;
};

struct bpe_trainer {
    int32_t vocab_size;
    char **special;
    size_t special_count;
    struct rwf_str bytes; /* of all distinct words */
    struct word *words;
    size_t word_count, word_cap;
    uint32_t *slots; /* index + 1 of a word; 0: free */
    size_t slot_count;
};

static int check_special(const char *const *special, size_t count, struct rwf_err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (special[i][0] == '\0' || !rwf_utf8_valid(special[i], strlen(special[i])))
            return rwf_fail(err, RWF_E_INPUT, "tokenizer: special token %zu is %s",
                            i + 1, special[i][0] ? "not UTF-8" : "empty");
        for (size_t j = 0; j < i; j++)
            if (strcmp(special[i], special[j]) == 0)
                return rwf_fail(err, RWF_E_INPUT,
                                "tokenizer: the special token '%.64s' is there twice",
                                special[i]);
    }
    return 0;
}

struct bpe_trainer *bpe_trainer_create(int32_t vocab_size, const char *const *special,
                                       size_t special_count, struct rwf_err *err)
{
    if (check_special(special, special_count, err) != 0)
        return NULL;
    if (vocab_size > MAX_VOCAB || vocab_size < 256 ||
        (size_t)vocab_size - 256 < special_count) {
        rwf_fail(
            err, RWF_E_INPUT,
            "tokenizer: vocab_size %d: take one from %zu (256 bytes and %zu special "
            "tokens) to %d",
            vocab_size, 256 + special_count, special_count, MAX_VOCAB);
        return NULL;
    }
    text__unicode_init();
    struct bpe_trainer *t = rwf_xcalloc(1, sizeof(*t));
    t->vocab_size = vocab_size;
    t->special = rwf_xcalloc(special_count + 1, sizeof(*t->special));
    for (; t->special_count < special_count; t->special_count++)
        t->special[t->special_count] = rwf_xstrdup(special[t->special_count]);
    return t;
}

void bpe_trainer_destroy(struct bpe_trainer *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->special_count; i++)
        free(t->special[i]);
    free(t->special);
    rwf_str_free(&t->bytes);
    free(t->words);
    free(t->slots);
    free(t);
}

/* --- counting --- */

static uint32_t hash_word(const uint8_t *p, size_t len)
{
    uint64_t h = len, word = 0;

    for (; len >= 8; p += 8, len -= 8) {
        memcpy(&word, p, 8);
        h = (h ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        h ^= h >> 32;
    }
    word = 0;
    memcpy(&word, p, len);
    h = (h ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(h ^ h >> 32);
}

static void more_slots(struct bpe_trainer *t)
{
    t->slot_count = t->slot_count ? 2 * t->slot_count : 1 << 14;
    free(t->slots);
    t->slots = rwf_xcalloc(t->slot_count, sizeof(*t->slots));
    for (size_t w = 0; w < t->word_count; w++) {
        size_t i = t->words[w].hash & (t->slot_count - 1);
        while (t->slots[i])
            i = (i + 1) & (t->slot_count - 1);
        t->slots[i] = (uint32_t)w + 1;
    }
}

static void count_word(struct bpe_trainer *t, const uint8_t *p, size_t len)
{
    uint32_t hash = hash_word(p, len);

    if (2 * t->word_count >= t->slot_count)
        more_slots(t);
    size_t i = hash & (t->slot_count - 1);
    for (; t->slots[i]; i = (i + 1) & (t->slot_count - 1)) {
        struct word *w = &t->words[t->slots[i] - 1];
        if (w->hash == hash && w->len == len &&
            memcmp(t->bytes.data + w->start, p, len) == 0) {
            w->count++;
            return;
        }
    }
    struct word *w = RWF_PUSH(t->words, t->word_count, t->word_cap);
    *w = (struct word){t->bytes.len, len, 1, hash};
    rwf_str_addn(&t->bytes, (const char *)p, len);
    t->slots[i] = (uint32_t)t->word_count;
}

void bpe_trainer_add(struct bpe_trainer *t, const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *)text, *end = p + len;

    while (p < end) {
        const uint8_t *stop = p + text__valid_prefix(p, (size_t)(end - p));
        for (size_t n; p < stop; p += n) {
            n = text__word_gpt2(p, stop);
            count_word(t, p, n);
        }
        if (p < end) /* not UTF-8: alone, as when it is encoded */
            count_word(t, p++, 1);
    }
}

/* --- learning --- */

static void add_token(struct rwf_map *ids, const char *token)
{
    if (!rwf_map_get(ids, token))
        rwf_map_set(ids, token, (void *)(intptr_t)(rwf_map_count(ids) + 1));
}

/* The special tokens, then the bytes by the character that stands for each. */
static struct rwf_map *first_tokens(const struct bpe_trainer *t, int32_t *ret_bytes)
{
    struct rwf_map *ids = rwf_map_create();
    char text[5];

    for (size_t i = 0; i < t->special_count; i++)
        add_token(ids, t->special[i]);
    for (uint32_t c = 0; c < 0x144; c++) {
        int byte = text__char_byte(c);
        if (byte < 0)
            continue;
        text[text__encode(c, (uint8_t *)text)] = '\0';
        add_token(ids, text);
        ret_bytes[byte] = (int32_t)(intptr_t)rwf_map_get(ids, text) - 1;
    }
    return ids;
}

static void learn(const struct bpe_trainer *t, struct learn *l)
{
    int32_t byte_ids[256];

    l->vocab_size = t->vocab_size;
    l->min_frequency = MIN_FREQUENCY;
    l->ids = first_tokens(t, byte_ids);
    l->word_count = t->word_count;
    l->words = rwf_xcalloc(t->word_count, sizeof(*l->words));
    l->symbols = rwf_xcalloc(t->bytes.len, sizeof(*l->symbols));
    for (size_t i = 0; i < t->bytes.len; i++)
        l->symbols[i] = byte_ids[(uint8_t)t->bytes.data[i]];
    for (size_t w = 0; w < t->word_count; w++)
        l->words[w] =
            (struct learn_word){t->words[w].start, t->words[w].len, t->words[w].count};
    learn__run(l);
    free(l->words);
    free(l->symbols);
}

/* --- writing --- */

static void add_json(struct rwf_str *out, const char *text)
{
    rwf_str_addc(out, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            rwf_str_addf(out, "\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            rwf_str_addf(out, "\\u%04x", (unsigned)*text);
        else
            rwf_str_addc(out, *text);
    }
    rwf_str_addc(out, '"');
}

static void add_head(struct rwf_str *out, const struct bpe_trainer *t,
                     const struct rwf_map *ids)
{
    rwf_str_add(out, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n"
                     "  \"padding\": null,\n  \"added_tokens\": [");
    for (size_t i = 0; i < t->special_count; i++) {
        int id = (int)(intptr_t)rwf_map_get(ids, t->special[i]) - 1;
        rwf_str_addf(out, "%s\n    {\"id\": %d, \"content\": ", i ? "," : "", id);
        add_json(out, t->special[i]);
        rwf_str_add(out,
                    ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
                    "\"normalized\": false, \"special\": true}");
    }
    rwf_str_add(out, t->special_count ? "\n  ],\n" : "],\n");
    rwf_str_add(out,
                "  \"normalizer\": null,\n"
                "  \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": "
                "false, \"trim_offsets\": true, \"use_regex\": true},\n"
                "  \"post_processor\": {\"type\": \"ByteLevel\", \"add_prefix_space\": "
                "true, \"trim_offsets\": false, \"use_regex\": true},\n"
                "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
                "\"trim_offsets\": true, \"use_regex\": true},\n");
}

static void add_model(struct rwf_str *out, const struct learn *l)
{
    const char *comma = "";

    rwf_str_add(out,
                "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n"
                "    \"unk_token\": null,\n    \"continuing_subword_prefix\": null,\n"
                "    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n"
                "    \"byte_fallback\": false,\n    \"ignore_merges\": false,\n"
                "    \"vocab\": {");
    for (size_t i = 0; i < rwf_map_count(l->ids); i++) {
        rwf_str_add(out, i ? ",\n      " : "\n      ");
        add_json(out, rwf_map_key_at(l->ids, i));
        rwf_str_addf(out, ": %zu", i);
    }
    rwf_str_add(out, "\n    },\n    \"merges\": [");
    for (size_t i = 0; i < l->merge_count; i++) {
        if (l->merges[i].left < 0)
            continue;
        rwf_str_addf(out, "%s\n      [", comma);
        add_json(out, rwf_map_key_at(l->ids, (size_t)l->merges[i].left));
        rwf_str_add(out, ", ");
        add_json(out, rwf_map_key_at(l->ids, (size_t)l->merges[i].right));
        rwf_str_addc(out, ']');
        comma = ",";
    }
    rwf_str_add(out, "\n    ]\n  }\n}\n");
}

char *bpe_trainer_finish(struct bpe_trainer *t, size_t *ret_len, struct rwf_err *err)
{
    struct learn l = {0};
    struct rwf_str out = {0};

    if (t->word_count == 0) {
        rwf_fail(err, RWF_E_INPUT, "tokenizer: there is no text to learn from");
        return NULL;
    }
    learn(t, &l);
    add_head(&out, t, l.ids);
    add_model(&out, &l);
    rwf_map_destroy(l.ids, NULL);
    free(l.merges);
    if (ret_len)
        *ret_len = out.len;
    return rwf_str_take(&out);
}
