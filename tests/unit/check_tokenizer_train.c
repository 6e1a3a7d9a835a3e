/* SPDX-License-Identifier: Apache-2.0
 * Training gives the tokenizer.json that Hugging Face's trainer gives. */
#include "config.h"

#include "text_support.h"
#include "text/unicode.h"

static const char *const special[] = {"<|endoftext|>", "<pad>", "the"};

START_TEST(the_same_text_gives_the_same_file)
{
    struct rwf_err err = RWF_ERR_INIT;
    size_t len;
    char *text = golden_text("corpus.txt", &len);
    struct bpe_trainer *b = bpe_trainer_create(700, special, RWF_COUNT(special), &err);

    ck_assert_msg(b != NULL, "%s", err.text);
    bpe_trainer_add(b, text, len);
    free(text);
    char *json = bpe_trainer_finish(b, &len, &err);
    ck_assert_msg(json != NULL, "%s", err.text);
    json_t *want = golden_json("small.json"), *got = json_loadb(json, len, 0, NULL);
    ck_assert_ptr_nonnull(got);
    ck_assert_msg(json_equal(want, got), "differs: %.3000s", json);
    json_decref(want);
    json_decref(got);
    free(json);
    bpe_trainer_destroy(b);
}
END_TEST

/* Learns from texts, a NULL at their end. */
static struct tokenizer *learn(int32_t vocab_size, const char *const *texts,
                               char **ret_json)
{
    struct rwf_err err = RWF_ERR_INIT;
    size_t len;
    struct bpe_trainer *b = bpe_trainer_create(vocab_size, NULL, 0, &err);

    ck_assert_msg(b != NULL, "%s", err.text);
    for (; *texts; texts++)
        bpe_trainer_add(b, *texts, strlen(*texts));
    char *json = bpe_trainer_finish(b, &len, &err);
    ck_assert_msg(json != NULL, "%s", err.text);
    struct tokenizer *t = tokenizer_parse(json, len, "trained", &err);
    ck_assert_msg(t != NULL, "%s", err.text);
    bpe_trainer_destroy(b);
    if (ret_json)
        *ret_json = json;
    else
        free(json);
    return t;
}

/* The merges that the text gives, "a+b c+d". From ByteLevelBPETokenizer. */
static const struct {
    const char *text, *merges;
} ties[] = {
    {"ab ab cd cd", "a+b c+d \u0120+cd"},
    {"ba ba ab ab", "a+b b+a \u0120+ab"},
    {"aaaa aaaa", "a+a aa+aa"},
    {"aaaaa aaaaa aaa", "a+a aa+a aa+aaa"},
    {"abcabc abcabc", "a+b ab+c abc+abc"},
    {"xyz", ""},
};

START_TEST(ties_are_decided_as_theirs)
{
    const char *const texts[] = {ties[_i].text, NULL};
    char *json;
    struct tokenizer *t = learn(300, texts, &json);
    json_t *root = json_loads(json, 0, NULL), *each;
    struct rwf_str got = {0};
    size_t i;

    rwf_str_add(&got, "");
    json_array_foreach(json_object_get(json_object_get(root, "model"), "merges"), i,
                       each)
        rwf_str_addf(&got, "%s%s+%s", i ? " " : "",
                     json_string_value(json_array_get(each, 0)),
                     json_string_value(json_array_get(each, 1)));
    ck_assert_str_eq(got.data, ties[_i].merges);
    rwf_str_free(&got);
    json_decref(root);
    free(json);
    tokenizer_close(t);
}
END_TEST

START_TEST(a_vocabulary_of_bytes_is_enough_for_any_text)
{
    const char *const texts[] = {"some text, some text", "\xff\xfe", NULL};
    struct tokenizer *t = learn(256, texts, NULL);
    struct tokenizer_ids ids = {0};

    ck_assert_int_eq(tokenizer_count(t), 256);
    ck_assert_int_eq(tokenizer_end(t), -1);
    tokenizer_encode(t, "\xff\u00e9 some", 8, &ids);
    ck_assert_uint_eq(ids.count, 8);
    free(ids.ids);
    tokenizer_close(t);
}
END_TEST

/* The vocabulary is filled exactly when the text has enough pairs, and is smaller else.
 */
START_TEST(the_size_is_a_limit)
{
    const char *const texts[] = {"low lower lowest low lower lowest", NULL};
    struct tokenizer *t = learn(258, texts, NULL);
    ck_assert_int_eq(tokenizer_count(t), 258);
    tokenizer_close(t);
    t = learn(10000, texts, NULL);
    ck_assert_int_gt(tokenizer_count(t), 258);
    ck_assert_int_lt(tokenizer_count(t), 300);
    tokenizer_close(t);
}
END_TEST

START_TEST(wrong_use_is_refused)
{
    static const char *const twice[] = {"<a>", "<a>"}, *const empty[] = {""},
                             *const bytes[] = {"\xff"};
    static const struct {
        int32_t size;
        const char *const *special;
        size_t count;
        const char *text;
    } cases[] = {
        {255, NULL, 0, "vocab_size 255: take one from 256"},
        {258, special, 3, "take one from 259 (256 bytes and 3 special tokens)"},
        {INT32_MAX, NULL, 0, "to 16777216"},
        {-1, NULL, 0, "vocab_size -1"},
        {300, twice, 2, "the special token '<a>' is there twice"},
        {300, empty, 1, "special token 1 is empty"},
        {300, bytes, 1, "special token 1 is not UTF-8"},
    };
    struct rwf_err err = RWF_ERR_INIT;

    for (size_t i = 0; i < RWF_COUNT(cases); i++) {
        ck_assert_ptr_null(
            bpe_trainer_create(cases[i].size, cases[i].special, cases[i].count, &err));
        ck_assert_msg(strstr(err.text, cases[i].text) != NULL, "%s", err.text);
        ck_assert_int_eq(err.code, RWF_E_INPUT);
    }
    struct bpe_trainer *b = bpe_trainer_create(300, NULL, 0, &err);
    bpe_trainer_add(b, "", 0);
    ck_assert_ptr_null(bpe_trainer_finish(b, NULL, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "there is no text to learn from"));
    bpe_trainer_destroy(b);
    bpe_trainer_destroy(NULL);
}
END_TEST

static Suite *train_suite(void)
{
    Suite *s = suite_create("tokenizer_train");
    TCase *tc = tcase_create("train");

    tcase_add_test(tc, the_same_text_gives_the_same_file);
    tcase_add_loop_test(tc, ties_are_decided_as_theirs, 0, RWF_COUNT(ties));
    tcase_add_test(tc, a_vocabulary_of_bytes_is_enough_for_any_text);
    tcase_add_test(tc, the_size_is_a_limit);
    tcase_add_test(tc, wrong_use_is_refused);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    text__unicode_init(); /* once, not in each test's process */
    SRunner *r = srunner_create(train_suite());

    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
