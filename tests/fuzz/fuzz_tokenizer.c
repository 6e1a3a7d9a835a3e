/* SPDX-License-Identifier: Apache-2.0
 *
 * The input up to its first NUL as a tokenizer.json, the rest as text for it; and all
 * of it as text for two tokenizers that are there, as text to learn from, and for NFC.
 * Ids are below the count, bytes come back where nothing is normalized, what was
 * learned loads.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/mem.h"
#include "text/split.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char qwen_head[] =
    "{\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\","
    "\"pretokenizers\":[{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{"
    "\"Regex\":"
    "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}|"
    " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|"
    "\\\\s+\"}},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},";

/* A tokenizer.json learned from text; with_head: and Qwen3's pipeline before its model.
 */
static struct tokenizer *learn(const char *text, size_t len, bool with_head)
{
    static const char *const special[] = {"<|endoftext|>"};
    struct rwf_err err = RWF_ERR_INIT;
    struct bpe_trainer *b = bpe_trainer_create(300, special, 1, &err);
    struct rwf_str json = {0};
    size_t n;

    if (!b)
        abort();
    bpe_trainer_add(b, text, len);
    char *made = bpe_trainer_finish(b, &n, &err);
    bpe_trainer_destroy(b);
    if (!made) {
        if (len > 0)
            abort();
        return NULL;
    }
    rwf_str_add(&json, with_head ? qwen_head : "");
    rwf_str_add(&json, with_head ? strstr(made, "\"model\"") : made);
    struct tokenizer *t = tokenizer_parse(json.data, json.len, "learned", &err);
    if (!t)
        abort();
    rwf_str_free(&json);
    free(made);
    return t;
}

static void check(const struct tokenizer *t, const char *text, size_t len, bool same)
{
    struct tokenizer_ids ids = {0};
    struct rwf_str out = {0};

    tokenizer_encode_plain(t, text, len, &ids);
    tokenizer_decode(t, ids.ids, ids.count, &out);
    if (same && (out.len != len || (len && memcmp(out.data, text, len) != 0)))
        abort();
    tokenizer_encode(t, text, len, &ids);
    for (size_t i = 0; i < ids.count; i++)
        if (ids.ids[i] < 0 || ids.ids[i] >= tokenizer_count(t))
            abort();
    tokenizer_decode(t, ids.ids, ids.count, &out);
    rwf_str_free(&out);
    free(ids.ids);
}

/* A range of all of the text: as plain; one within it: still the same bytes. */
static void check_fenced(const struct tokenizer *t, const char *text, size_t len, bool same)
{
    struct tokenizer_range r = {0, len};
    const struct tokenizer_ranges ranges = {&r, len > 0, 1};
    struct tokenizer_ids plain = {0}, ids = {0};
    struct rwf_str out = {0};

    tokenizer_encode_plain(t, text, len, &plain);
    tokenizer_encode_fenced(t, text, len, &ranges, &ids);
    if (plain.count != ids.count ||
        (ids.count && memcmp(plain.ids, ids.ids, ids.count * sizeof(*ids.ids)) != 0))
        abort();
    for (r.start = len / 3; r.start < len && (text[r.start] & 0xC0) == 0x80;)
        r.start++;
    for (r.stop = r.start + (len - r.start) / 2; r.stop < len && (text[r.stop] & 0xC0) == 0x80;)
        r.stop++;
    ids.count = 0;
    tokenizer_encode_fenced(t, text, len, r.start < r.stop ? &ranges : NULL, &ids);
    tokenizer_decode(t, ids.ids, ids.count, &out);
    if (same && (out.len != len || (len && memcmp(out.data, text, len) != 0)))
        abort();
    rwf_str_free(&out);
    free(plain.ids);
    free(ids.ids);
}

/* NFC of what is NFC is the same. */
static void check_nfc(const char *text, size_t len)
{
    struct rwf_str once = {0}, twice = {0};

    len = text__valid_prefix((const uint8_t *)text, len);
    text__nfc((const uint8_t *)text, len, &once);
    text__nfc((const uint8_t *)once.data, once.len, &twice);
    if (once.len != twice.len ||
        (once.len && memcmp(once.data, twice.data, once.len) != 0))
        abort();
    if (text__nfc_quick((const uint8_t *)text, len) && once.len != len)
        abort();
    rwf_str_free(&once);
    rwf_str_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char lesson[] =
        "the cat sat on the mat; the dog's log: \u00e9t\u00e9 12 12";
    static struct tokenizer *gpt2, *qwen;
    const char *text = (const char *)data;
    const char *nul = memchr(text, '\0', size);
    size_t json = nul ? (size_t)(nul - text) : size;
    struct rwf_err err = RWF_ERR_INIT;

    if (!gpt2) {
        gpt2 = learn(lesson, strlen(lesson), false);
        qwen = learn(lesson, strlen(lesson), true);
    }
    check(gpt2, text, size, true);
    check(qwen, text, size, false);
    check_fenced(gpt2, text, size, true);
    check_fenced(qwen, text, size, false);
    check_nfc(text, size);
    struct tokenizer *t = learn(text, size, false);
    if (t)
        check(t, text, size, true);
    tokenizer_close(t);
    t = tokenizer_parse(text, json, "input", &err);
    if (t)
        check(t, text + json, size - json, false);
    else if (err.text[0] == '\0')
        abort();
    tokenizer_close(t);
    return 0;
}
