/* SPDX-License-Identifier: Apache-2.0
 * Encoding against the ids that Hugging Face tokenizers gives (tests/data/tokenizer),
 * and decoding. */
#include "config.h"

#include <pthread.h>
#include "text_support.h"
#include "base/str.h"
#include "text/unicode.h"

static const char *const variants[] = {"small", "qwen", "odd", "digits"};

static void encode_case(const struct tokenizer *t, const char *name, const json_t *c,
                        struct tokenizer_ids *ids)
{
    const json_t *text = json_object_get(c, "t");
    char *what = json_dumps(text, JSON_ENCODE_ANY);
    char *title = rwf_xasprintf("%s: %s", name, what);

    ids->count = 0;
    tokenizer_encode(t, json_string_value(text), json_string_length(text), ids);
    expect_ids(title, json_object_get(c, name), ids);
    free(title);
    free(what);
}

/* Twice, so that the second time comes from the cache. */
START_TEST(ids_are_the_stored_ones)
{
    const char *name = variants[_i];
    struct tokenizer *t = golden_tokenizer(name);
    struct tokenizer_ids ids = {0};
    json_t *cases = golden_cases(), *each;
    size_t i;

    for (int round = 0; round < 2; round++)
        json_array_foreach(cases, i, each)
            encode_case(t, name, each, &ids);
    json_decref(cases);
    free(ids.ids);
    tokenizer_close(t);
}
END_TEST

/* ["a", "b"] as "a b", and words that are tokens taken whole: same ids here. */
START_TEST(merges_may_be_spelled_the_old_way)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct tokenizer_ids ids = {0};
    json_t *root = golden_variant("qwen"), *cases = golden_cases(), *each;
    json_t *model = json_object_get(root, "model"), *old = json_array();
    size_t i;

    json_array_append_new(old, json_string("#version: 0.2"));
    json_array_foreach(json_object_get(model, "merges"), i, each)
        json_array_append_new(
            old, json_sprintf("%s %s", json_string_value(json_array_get(each, 0)),
                              json_string_value(json_array_get(each, 1))));
    json_object_set_new(model, "merges", old);
    json_object_set_new(model, "ignore_merges", json_true());
    struct tokenizer *t = tokenizer_of(root, &err);
    ck_assert_msg(t != NULL, "%s", err.text);
    json_array_foreach(cases, i, each)
        encode_case(t, "qwen", each, &ids);
    json_decref(cases);
    json_decref(root);
    free(ids.ids);
    tokenizer_close(t);
}
END_TEST

/* Without normalization nothing is lost, and what is appended is appended. */
START_TEST(decoding_gives_the_text_back)
{
    struct tokenizer *t = golden_tokenizer("small");
    json_t *cases = golden_cases(), *each;
    size_t i;

    json_array_foreach(cases, i, each) {
        const json_t *text = json_object_get(each, "t");
        struct tokenizer_ids ids = {0};
        struct rwf_str out = {0};
        rwf_str_add(&out, ">");
        tokenizer_encode_plain(t, json_string_value(text), json_string_length(text),
                               &ids);
        tokenizer_decode(t, ids.ids, ids.count, &out);
        ck_assert_uint_eq(out.len, json_string_length(text) + 1);
        ck_assert_mem_eq(out.data + 1, json_string_value(text), out.len - 1);
        rwf_str_free(&out);
        free(ids.ids);
    }
    json_decref(cases);
    tokenizer_close(t);
}
END_TEST

START_TEST(bytes_that_are_not_utf8_stand_alone)
{
    static const char *const texts[] = {
        "\xff",
        "a\x80z",
        "\xc3",
        "\xe2\x82",
        "\xed\xa0\x80",
        "\xf4\x90\x80\x80",
        "\xc0\xaf",
        "ok \xf0\x9f\x98 ok",
        "\xf8\x88\x80\x80\x80",
    };
    struct tokenizer *t = golden_tokenizer(variants[_i]);

    for (size_t i = 0; i < RWF_COUNT(texts); i++) {
        struct tokenizer_ids ids = {0};
        struct rwf_str out = {0};
        tokenizer_encode(t, texts[i], strlen(texts[i]), &ids);
        tokenizer_decode(t, ids.ids, ids.count, &out);
        ck_assert_str_eq(out.data, texts[i]);
        rwf_str_free(&out);
        free(ids.ids);
    }
    tokenizer_close(t);
}
END_TEST

START_TEST(plain_text_has_no_added_tokens)
{
    static const char text[] = "<|im_start|>x<think>";
    struct tokenizer *t = golden_tokenizer("qwen");
    struct tokenizer_ids plain = {0}, ids = {0};

    tokenizer_encode(t, text, strlen(text), &ids);
    tokenizer_encode_plain(t, text, strlen(text), &plain);
    ck_assert_uint_eq(ids.count, 3);
    ck_assert_int_eq(ids.ids[0], tokenizer_id(t, "<|im_start|>"));
    ck_assert_int_eq(ids.ids[2], tokenizer_id(t, "<think>"));
    ck_assert_uint_gt(plain.count, 3);
    for (size_t i = 0; i < plain.count; i++)
        ck_assert_int_lt(plain.ids[i], tokenizer_id(t, "<|im_start|>"));
    free(ids.ids);
    free(plain.ids);
    tokenizer_close(t);
}
END_TEST

START_TEST(tokens_have_ids_and_ids_may_have_none)
{
    struct tokenizer *t = golden_tokenizer("qwen");
    const int32_t ids[] = {-1, tokenizer_id(t, "<think>"), tokenizer_count(t),
                           INT32_MAX, tokenizer_id(t, "\u0120")};
    struct rwf_str out = {0};

    ck_assert_int_eq(tokenizer_end(t), tokenizer_id(t, "<|endoftext|>"));
    ck_assert_int_eq(tokenizer_id(t, "no such token"), -1);
    ck_assert_int_eq(tokenizer_id(t, "</think>"), tokenizer_count(t) - 1);
    tokenizer_decode(t, ids, RWF_COUNT(ids), &out);
    ck_assert_str_eq(out.data, "<think> ");
    rwf_str_free(&out);
    tokenizer_close(t);
    t = golden_tokenizer("odd");
    ck_assert_int_eq(tokenizer_end(t), 0);
    tokenizer_close(t);
}
END_TEST

struct job {
    const struct tokenizer *t;
    const json_t *cases;
    size_t differ;
};

static void *encode_all(void *arg)
{
    struct job *job = arg;
    struct tokenizer_ids ids = {0};
    json_t *each, *id;
    size_t i, k;

    for (int round = 0; round < 3; round++)
        json_array_foreach(job->cases, i, each) {
            const json_t *text = json_object_get(each, "t");
            ids.count = 0;
            tokenizer_encode(job->t, json_string_value(text), json_string_length(text),
                             &ids);
            const json_t *want = json_object_get(each, "qwen");
            job->differ += ids.count != json_array_size(want);
            json_array_foreach(want, k, id)
                job->differ += k < ids.count && ids.ids[k] != json_integer_value(id);
        }
    free(ids.ids);
    return NULL;
}

START_TEST(threads_share_a_tokenizer)
{
    struct tokenizer *t = golden_tokenizer("qwen");
    json_t *cases = golden_cases();
    struct job jobs[4];
    pthread_t threads[4];

    for (int i = 0; i < 4; i++) {
        jobs[i] = (struct job){t, cases, 0};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, encode_all, &jobs[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_uint_eq(jobs[i].differ, 0);
    }
    json_decref(cases);
    tokenizer_close(t);
}
END_TEST

/* Short words go one way, long ones another; the border must not show. */
START_TEST(long_words_merge_as_short_ones)
{
    struct tokenizer *t = golden_tokenizer("small");
    static const char unit[] = "rights";
    struct rwf_str text = {0};
    struct tokenizer_ids one = {0}, ids = {0};

    tokenizer_encode(t, unit, strlen(unit), &one);
    for (size_t n = 1; n <= 60; n++) {
        rwf_str_add(&text, unit);
        rwf_str_add(&text, "7");
        ids.count = 0;
        tokenizer_encode(t, text.data, text.len, &ids);
        ck_assert_uint_eq(ids.count, n * (one.count + 1));
    }
    rwf_str_clear(&text);
    for (size_t n = 1; n < 200; n++) {
        struct rwf_str out = {0};
        rwf_str_addc(&text, "aeb"[n % 3]);
        ids.count = 0;
        tokenizer_encode(t, text.data, text.len, &ids);
        tokenizer_decode(t, ids.ids, ids.count, &out);
        ck_assert_str_eq(out.data, text.data);
        rwf_str_free(&out);
    }
    rwf_str_free(&text);
    free(one.ids);
    free(ids.ids);
    tokenizer_close(t);
}
END_TEST

START_TEST(bytes_and_characters_map_both_ways)
{
    text__unicode_init();
    for (unsigned byte = 0; byte < 256; byte++)
        ck_assert_int_eq(text__char_byte(text__byte_char((uint8_t)byte)), (int)byte);
    ck_assert_uint_eq(text__byte_char(' '), 0x120);
    ck_assert_uint_eq(text__byte_char('\n'), 0x10A);
    ck_assert_uint_eq(text__byte_char(0xAD), 0x143);
    ck_assert_int_eq(text__char_byte(' '), -1);
    ck_assert_int_eq(text__char_byte(0x144), -1);
    ck_assert_int_eq(text__char_byte(0x10FFFF), -1);
}
END_TEST

static const struct {
    const char *text, *nfc;
} forms[] = {
    {"abc", "abc"},
    {"e\u0301", "\u00e9"},
    {"e\u0323\u0302", "\u1ec7"},
    {"e\u0302\u0323", "\u1ec7"},
    {"\u00ea\u0323x", "\u1ec7x"},
    {"a\u0315\u0300\u05ae\u0300b", "\u00e0\u05ae\u0300\u0315b"},
    {"\u212b", "\u00c5"},
    {"\u0958", "\u0915\u093c"},
    {"\u0344", "\u0308\u0301"},
    {"\u1100\u1161\u11a8", "\uac01"},
    {"\uac00\u11a8", "\uac01"},
    {"\uac00\u11a7", "\uac00\u11a7"},
    {"\u0301e", "\u0301e"},
    {"\u09c7\u09be", "\u09cb"},
    {"\u09c7\u0334\u09be", "\u09c7\u0334\u09be"},
    /* later than Unicode 9: inert */
    {"\U00011935\U00011930", "\U00011935\U00011930"},
    {"a\u0898\u0327", "a\u0898\u0327"},
};

START_TEST(nfc_composes_by_unicode_9)
{
    struct rwf_str out = {0};

    text__unicode_init();
    const uint8_t *text = (const uint8_t *)forms[_i].text;
    size_t len = strlen(forms[_i].text);
    text__nfc(text, len, &out);
    ck_assert_str_eq(out.data, forms[_i].nfc);
    if (text__nfc_quick(text, len))
        ck_assert_str_eq(out.data, forms[_i].text);
    rwf_str_free(&out);
}
END_TEST

static Suite *tokenizer_suite(void)
{
    Suite *s = suite_create("tokenizer");
    TCase *tc = tcase_create("encode");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, ids_are_the_stored_ones, 0, RWF_COUNT(variants));
    tcase_add_test(tc, merges_may_be_spelled_the_old_way);
    tcase_add_test(tc, decoding_gives_the_text_back);
    tcase_add_loop_test(tc, bytes_that_are_not_utf8_stand_alone, 0,
                        RWF_COUNT(variants));
    tcase_add_test(tc, plain_text_has_no_added_tokens);
    tcase_add_test(tc, tokens_have_ids_and_ids_may_have_none);
    tcase_add_test(tc, threads_share_a_tokenizer);
    tcase_add_test(tc, long_words_merge_as_short_ones);
    tcase_add_test(tc, bytes_and_characters_map_both_ways);
    tcase_add_loop_test(tc, nfc_composes_by_unicode_9, 0, RWF_COUNT(forms));
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    text__unicode_init(); /* once, not in each test's process */
    SRunner *r = srunner_create(tokenizer_suite());

    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
