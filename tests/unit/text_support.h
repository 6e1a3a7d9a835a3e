/* SPDX-License-Identifier: Apache-2.0
 * The golden files of tests/data/tokenizer, for the tests of the tokenizer. */
#ifndef RWF_TESTS_TEXT_SUPPORT_H
#define RWF_TESTS_TEXT_SUPPORT_H
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "text/tokenizer.h"

static inline char *golden_path(const char *name)
{
    const char *top = getenv("abs_top_srcdir");

    return rwf_xasprintf("%s/tests/data/tokenizer/%s", top ? top : "..", name);
}

static inline char *golden_text(const char *name, size_t *ret_len)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *path = golden_path(name);
    char *text = rwf_fs_read(path, 1 << 20, ret_len, &err);

    ck_assert_msg(text != NULL, "%s", err.text);
    free(path);
    return text;
}

static inline json_t *golden_json(const char *name)
{
    size_t len;
    char *text = golden_text(name, &len);
    json_t *root = json_loadb(text, len, 0, NULL);

    ck_assert_ptr_nonnull(root);
    free(text);
    return root;
}

/* The tokenizer of a JSON value, or NULL and *err. */
static inline struct tokenizer *tokenizer_of(const json_t *root, struct rwf_err *err)
{
    char *text = json_dumps(root, 0);
    struct tokenizer *t = tokenizer_parse(text, strlen(text), "t.json", err);

    free(text);
    return t;
}

/* small.json with the keys of a variant; "small": as it is. */
static inline json_t *golden_variant(const char *name)
{
    json_t *root = golden_json("small.json"), *variants = golden_json("variants.json");

    if (strcmp(name, "small") != 0)
        ck_assert_int_eq(json_object_update(root, json_object_get(variants, name)), 0);
    json_decref(variants);
    return root;
}

static inline struct tokenizer *golden_tokenizer(const char *name)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *root = golden_variant(name);
    struct tokenizer *t = tokenizer_of(root, &err);

    ck_assert_msg(t != NULL, "%s: %s", name, err.text);
    json_decref(root);
    return t;
}

/* The cases, one for each line. */
static inline json_t *golden_cases(void)
{
    size_t len;
    char *text = golden_text("cases.jsonl", &len), *save = NULL;
    json_t *list = json_array();

    for (char *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        json_t *each = json_loads(line, JSON_ALLOW_NUL, NULL);
        ck_assert_ptr_nonnull(each);
        json_array_append_new(list, each);
    }
    free(text);
    ck_assert_uint_ge(json_array_size(list), 300);
    return list;
}

static inline void expect_ids(const char *what, const json_t *want,
                              const struct tokenizer_ids *got)
{
    ck_assert_msg(json_array_size(want) == got->count, "%s: %zu ids, want %zu", what,
                  got->count, json_array_size(want));
    for (size_t i = 0; i < got->count; i++)
        ck_assert_msg(json_integer_value(json_array_get(want, i)) == got->ids[i],
                      "%s: id %zu is %d, want %lld", what, i, got->ids[i],
                      (long long)json_integer_value(json_array_get(want, i)));
}

#endif
