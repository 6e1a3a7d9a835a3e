/* SPDX-License-Identifier: Apache-2.0
 * What a tokenizer.json may hold, and what is refused, by name. */
#include "config.h"

#include <unistd.h>
#include "text_support.h"
#include "text/split.h"
#include "text/unicode.h"

/* small.json with a value set at a path of keys ("model.dropout"). */
static json_t *changed(const char *path, const char *value)
{
    json_t *root = golden_json("small.json"), *at = root;
    json_t *v = json_loads(value, JSON_DECODE_ANY, NULL);
    char *copy = rwf_xstrdup(path), *key = copy;

    ck_assert_ptr_nonnull(v);
    for (char *dot; (dot = strchr(key, '.')); key = dot + 1) {
        *dot = '\0';
        at = json_object_get(at, key);
    }
    ck_assert_int_eq(json_object_set_new(at, key, v), 0);
    free(copy);
    return root;
}

#define SPLIT(rest)                                                                    \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\"," rest "},"         \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}"
#define REGEX(regex)                                                                   \
    SPLIT("\"pattern\":{\"Regex\":\"" regex                                            \
          "\"},\"behavior\":\"Isolated\",\"invert\":false")
#define FRAME(ids)                                                                               \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"               \
    "{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"<s>\"}}],\"special_tokens\":{\"<s>\":"   \
    "{\"id\":\"<s>\",\"ids\":[" ids "]}}}"
#define ADDED(id, content)                                                             \
    "[{\"id\":" id ",\"content\":\"" content "\",\"special\":true}]"

static const struct {
    const char *path, *value, *text;
} refused[] = {
    {"normalizer", "{\"type\":\"NFKC\"}",
     "the normalizer NFKC is not supported, only NFC"},
    {"normalizer",
     "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},"
     "{\"type\":\"Lowercase\"}]}",
     "the normalizer Lowercase is not supported"},
    {"pre_tokenizer", "null", "the pre_tokenizer (none) is not supported"},
    {"pre_tokenizer", "{\"type\":\"Metaspace\"}", "the pre_tokenizer Metaspace"},
    {"pre_tokenizer",
     "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"}]}",
     "the pre_tokenizer Digits is not supported in a Sequence"},
    {"pre_tokenizer", "{\"type\":\"Sequence\",\"pretokenizers\":[]}",
     "does not end with ByteLevel"},
    {"pre_tokenizer", "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}",
     "add_prefix_space is not supported"},
    {"pre_tokenizer", SPLIT("\"behavior\":\"Isolated\""), "no pattern"},
    {"pre_tokenizer", SPLIT("\"pattern\":{\"String\":\"x\"},\"behavior\":\"Removed\""),
     "behavior Removed is not supported, only Isolated"},
    {"pre_tokenizer",
     SPLIT("\"pattern\":{\"String\":\"x\"},\"behavior\":\"Isolated\",\"invert\":true"),
     "invert is not supported"},
    {"pre_tokenizer", SPLIT("\"pattern\":{\"String\":\"\"},\"behavior\":\"Isolated\""),
     "the pattern is empty"},
    {"pre_tokenizer", REGEX("(x"),
     "pre_tokenizer Split: the pattern (x: missing closing"},
    {"pre_tokenizer", REGEX("x*"), "the pattern can match nothing at all: x*"},
    {"pre_tokenizer", REGEX("\\\\w+"), "the pattern's \\w is not supported"},
    {"pre_tokenizer", REGEX("a\\\\"), "the pattern's \\"},
    {"pre_tokenizer", REGEX("^a"), "the pattern's ^ is not supported"},
    {"pre_tokenizer", REGEX("[a&&b]"), "the pattern's & is not supported"},
    {"pre_tokenizer", REGEX("a{,3}b"), "the pattern's { is not supported"},
    {"post_processor", "{\"type\":\"BertProcessing\"}",
     "the post_processor BertProcessing is not supported"},
    {"post_processor",
     "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},"
     "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
     "{\"Sequence\":{\"id\":\"A\"}}]}]}",
     "post_processor: special_tokens says no ids of '<s>'"},
    {"post_processor", FRAME("99999"), "post_processor: an id of '<s>' is none of this tokenizer"},
    {"post_processor", "{\"type\":\"TemplateProcessing\",\"single\":[]}", "single is not one text"},
    {"post_processor",
     "{\"type\":\"Sequence\",\"processors\":[" FRAME("5") "," FRAME("5") "]}",
     "two templates that add tokens"},
    {"decoder", "{\"type\":\"WordPiece\"}", "the decoder WordPiece is not supported"},
    {"model", "null", "there is no model"},
    {"model.type", "\"Unigram\"", "the model Unigram is not supported, only BPE"},
    {"model.dropout", "0.1", "model: dropout is not supported"},
    {"model.continuing_subword_prefix", "\"##\"", "continuing_subword_prefix is not"},
    {"model.end_of_word_suffix", "\"</w>\"", "end_of_word_suffix is not supported"},
    {"model.byte_fallback", "true", "byte_fallback is not supported"},
    {"model.vocab", "{}", "model: no vocab"},
    {"model.vocab", "[]", "model: no vocab"},
    {"model.vocab", "{\"a\":-1}", "the id of token 'a' is not between 0 and"},
    {"model.vocab", "{\"a\":4294967296}", "the id of token 'a' is not between 0 and"},
    {"model.vocab", "{\"a\":\"b\"}", "the id of token 'a' is not a number"},
    {"model.vocab", "{\"a\":1,\"b\":1}", "has an id that another has, too"},
    {"model.merges", "null", "model: no merges"},
    {"model.merges", "[7]", "merge 0 is neither"},
    {"model.merges", "[\"a\"]", "merge 0 is neither"},
    {"model.merges", "[[\"o\",\"n\"],\"a b c\"]", "merge 1 is neither"},
    {"model.merges", "[[\"a\",7]]", "merge 0 is neither"},
    {"model.merges", "[[\"a\",\"zz\"]]", "'zz' of merge 0 is not in the vocab"},
    {"model.merges", "[[\"~\",\"~\"]]",
     "'~~', which merge 0 makes, is not in the vocab"},
    {"added_tokens", "{}", "added_tokens is not a list"},
    {"added_tokens", "[{\"id\":1}]", "one has no content or no id"},
    {"added_tokens", ADDED("9000", "<x>"), "'<x>' has id 9000, but would become 700"},
    {"added_tokens", ADDED("7", "<pad>"), "'<pad>' has id 7, but would become 1"},
};

START_TEST(what_is_not_done_is_refused_by_name)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *root = changed(refused[_i].path, refused[_i].value);

    ck_assert_ptr_null(tokenizer_of(root, &err));
    ck_assert_int_eq(err.code, RWF_E_INPUT);
    ck_assert_msg(strncmp(err.text, "tokenizer t.json: ", 18) == 0 &&
                      strstr(err.text, refused[_i].text),
                  "'%s' lacks '%s'", err.text, refused[_i].text);
    json_decref(root);
}
END_TEST

static const struct {
    const char *path, *value;
} accepted[] = {
    {"model.dropout", "0.0"},
    {"model.unk_token", "\"<|endoftext|>\""},
    {"model.continuing_subword_prefix", "\"\""},
    {"model.merges", "[]"},
    {"truncation", "{\"max_length\":3}"},
    {"post_processor",
     "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"}]}"},
    {"post_processor", "{\"type\":\"TemplateProcessing\","
                       "\"single\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]}"},
    {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[]}"},
    {"added_tokens", "null"},
    {"added_tokens", "[]"},
    {"added_tokens", ADDED("700", "<x>")},
    {"added_tokens", ADDED("0", "")},
};

START_TEST(what_changes_no_id_is_accepted)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *root = changed(accepted[_i].path, accepted[_i].value);
    struct tokenizer *t = tokenizer_of(root, &err);

    ck_assert_msg(t != NULL, "%s: %s", accepted[_i].path, err.text);
    tokenizer_close(t);
    json_decref(root);
}
END_TEST

/* Around a text, not within. */
START_TEST(a_template_frames_a_text)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *root = changed("post_processor", FRAME("5,7"));
    struct tokenizer *t = tokenizer_of(root, &err);
    struct tokenizer_ids plain = {0}, framed = {0}, none = {0};

    ck_assert_msg(t != NULL, "%s", err.text);
    tokenizer_encode(t, "human rights", 12, &plain);
    tokenizer_encode_framed(t, "human rights", 12, &framed);
    ck_assert_uint_eq(framed.count, plain.count + 4);
    ck_assert_mem_eq(framed.ids + 2, plain.ids, plain.count * sizeof(*plain.ids));
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(framed.ids[i == 0 ? 0 : framed.count - 2], 5);
        ck_assert_int_eq(framed.ids[i == 0 ? 1 : framed.count - 1], 7);
    }
    tokenizer_encode_framed(t, "", 0, &none);
    ck_assert_uint_eq(none.count, 4);
    free(plain.ids);
    free(framed.ids);
    free(none.ids);
    tokenizer_close(t);
    json_decref(root);
}
END_TEST

static const struct {
    const char *regex, *text, *words; /* separated by | */
} patterns[] = {
    {"\\p{L}+", "human rights", "human| |rights"},
    {"[\\p{L}\\s]", "h u1", "h| |u|1"},
    {"\\S+|\\s", "human  human", "human| | |human"},
    {"[^h]+", "human hat", "h|uman |h|at"},
    {"(?i:HUMAN)|\\P{L}", "humanHuman.x", "human|Human|.|x"},
    {"\\p{N}{1,3}", "1111x22", "111|1|x|22"},
    {"\\p{N}", "\U00010d40\u0663", "\U00010d40|\u0663"},
    {"[\\p{N}x]+", "x\U00010d40\u0663-", "x\U00010d40\u0663|-"},
    {"\\P{L}+", "\U00011380+1\u1c89", "\U00011380|+1|\u1c89"},
    {"\\p{M}", "e\u0301\U0001e08f", "e|\u0301|\U0001e08f"},
    {"\\s", "\u180e \u2028", "\u180e| |\u2028"},
    {"x", "", ""},
    /* by hand */
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| "
     "?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
     "It's  'LL 12a'll\n\n x ", "It|'s| | '|LL| 12|a|'ll|\n\n| x| "},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
     " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     "It'S  'x'\u017f 12a!?\r\n\n \n x \ty",
     "It|'S| | '|x|'\u017f| |1|2|a|!?\r\n\n| \n| x| |\ty"},
};

static void put_word(void *ctx, const uint8_t *word, size_t len)
{
    struct rwf_str *out = ctx;

    if (out->len)
        rwf_str_addc(out, '|');
    rwf_str_addn(out, (const char *)word, len);
}

START_TEST(patterns_cut_text_into_words)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct text__step step;
    struct rwf_str out = {0};
    void *match = NULL;

    text__unicode_init();
    ck_assert_msg(text__step_init(&step, patterns[_i].regex, false, &err) == 0, "%s",
                  err.text);
    ck_assert((step.word != NULL) == (strlen(patterns[_i].regex) > 60));
    rwf_str_clear(&out);
    text__split(&step, 1, (const uint8_t *)patterns[_i].text, strlen(patterns[_i].text),
                &match, put_word, &out);
    ck_assert_str_eq(out.len ? out.data : "", patterns[_i].words);
    rwf_str_free(&out);
    text__match_free(match);
    text__step_free(&step);
}
END_TEST

START_TEST(a_literal_pattern_cuts)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct tokenizer_ids ids = {0}, whole = {0};
    json_t *root = changed("pre_tokenizer", SPLIT("\"pattern\":{\"String\":\"h.\"},"
                                                  "\"behavior\":\"Isolated\""));
    struct tokenizer *t = tokenizer_of(root, &err);

    ck_assert_msg(t != NULL, "%s", err.text);
    tokenizer_encode(t, "righth.rights", 13, &ids);
    tokenizer_encode(t, "right", 5, &whole);
    ck_assert_uint_gt(ids.count, whole.count);
    ck_assert_int_eq(ids.ids[0], whole.ids[0]);
    free(ids.ids);
    free(whole.ids);
    tokenizer_close(t);
    json_decref(root);
}
END_TEST

/* A byte that has no token is left out, as theirs do. */
START_TEST(bytes_without_a_token_are_left_out)
{
    static const char json[] =
        "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
        "\"model\":{\"vocab\":{\"a\":0,\"b\":2,\"ab\":4},\"merges\":[\"a b\"]}}";
    struct rwf_err err = RWF_ERR_INIT;
    struct tokenizer *t = tokenizer_parse(json, strlen(json), "t.json", &err);
    struct tokenizer_ids ids = {0};
    const int32_t every[] = {0, 1, 2, 3, 4};
    struct rwf_str out = {0};

    ck_assert_msg(t != NULL, "%s", err.text);
    ck_assert_int_eq(tokenizer_count(t), 5);
    tokenizer_encode(t, "a?b\xff", 4, &ids);
    ck_assert_uint_eq(ids.count, 2);
    tokenizer_encode(t, "??ab", 4, &ids);
    ck_assert_uint_eq(ids.count, 3);
    ck_assert_int_eq(ids.ids[2], 4);
    tokenizer_decode(t, every, 5, &out);
    ck_assert_str_eq(out.data, "abab");
    ck_assert_int_eq(tokenizer_end(t), -1);
    rwf_str_free(&out);
    free(ids.ids);
    tokenizer_close(t);
}
END_TEST

static const struct {
    const char *json, *text;
} broken[] = {
    {"", "line 1"},
    {"{", "line 1"},
    {"[]", "not a JSON object"},
    {"7", "line 1"},
    {"{}", "the pre_tokenizer (none)"},
    {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\n\n\"model\":}", "line 3"},
    {"{\"model\":{\"vocab\":{\"\xff\":1}}}", "line 1"},
};

START_TEST(broken_files_are_named)
{
    struct rwf_err err = RWF_ERR_INIT;

    ck_assert_ptr_null(
        tokenizer_parse(broken[_i].json, strlen(broken[_i].json), "x.json", &err));
    ck_assert_int_eq(err.code, RWF_E_INPUT);
    ck_assert_msg(strstr(err.text, broken[_i].text) && strstr(err.text, "x.json"), "%s",
                  err.text);
}
END_TEST

START_TEST(a_folder_means_its_tokenizer_json)
{
    struct rwf_err err = RWF_ERR_INIT;
    char dir[] = "/tmp/check_tokenizer.XXXXXX";
    size_t len;
    char *text = golden_text("small.json", &len);

    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_ptr_null(tokenizer_open(dir, &err));
    ck_assert_int_eq(err.code, RWF_E_INPUT);
    ck_assert_ptr_nonnull(strstr(err.text, "tokenizer.json"));
    char *file = rwf_fs_join(dir, "tokenizer.json");
    ck_assert_int_eq(rwf_fs_write(file, text, len, false, &err), 0);
    struct tokenizer *t = tokenizer_open(dir, &err), *same = tokenizer_open(file, &err);
    ck_assert_msg(t && same, "%s", err.text);
    ck_assert_int_eq(tokenizer_count(t), tokenizer_count(same));
    tokenizer_close(t);
    tokenizer_close(same);
    tokenizer_close(NULL);
    rwf_fs_rmtree(dir, NULL);
    free(file);
    free(text);
}
END_TEST

static Suite *load_suite(void)
{
    Suite *s = suite_create("tokenizer_load");
    TCase *tc = tcase_create("load");

    tcase_add_loop_test(tc, what_is_not_done_is_refused_by_name, 0, RWF_COUNT(refused));
    tcase_add_loop_test(tc, what_changes_no_id_is_accepted, 0, RWF_COUNT(accepted));
    tcase_add_test(tc, a_template_frames_a_text);
    tcase_add_loop_test(tc, patterns_cut_text_into_words, 0, RWF_COUNT(patterns));
    tcase_add_test(tc, a_literal_pattern_cuts);
    tcase_add_test(tc, bytes_without_a_token_are_left_out);
    tcase_add_loop_test(tc, broken_files_are_named, 0, RWF_COUNT(broken));
    tcase_add_test(tc, a_folder_means_its_tokenizer_json);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    text__unicode_init(); /* once, not in each test's process */
    SRunner *r = srunner_create(load_suite());

    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
