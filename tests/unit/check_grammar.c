/* SPDX-License-Identifier: Apache-2.0
 * Constrained decoding: what a schema lets through, what it refuses, masks against
 * brute force, and texts made by chance that are always right. */
#include "config.h"

#include "text_support.h"
#include "llm/grammar.h"

static bool reads(struct grammar *g, const char *text)
{
    int state = grammar_start(g);

    for (; *text && state != GRAMMAR_DEAD; text++)
        state = grammar_next(g, state, (uint8_t)*text);
    return state != GRAMMAR_DEAD && grammar_complete(g, state);
}

static struct grammar *of_schema(const char *schema)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *json = json_loads(schema, JSON_DECODE_ANY, NULL);
    struct grammar *g = grammar_schema(json, &err);

    ck_assert_msg(g != NULL, "%s: %s", schema, err.text);
    json_decref(json);
    return g;
}

#define TREE                                                                           \
    "{\"$ref\":\"#/$defs/t\",\"$defs\":{\"t\":{\"type\":\"object\",\"properties\":{"   \
    "\"v\":{\"type\":\"integer\"},\"next\":{\"anyOf\":[{\"$ref\":\"#/$defs/t\"},"      \
    "{\"type\":\"null\"}]}},\"required\":[\"v\"],\"additionalProperties\":false}}}"
#define OBJECT                                                                         \
    "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"},\"b\":{"         \
    "\"type\":"                                                                        \
    "\"number\"},\"c\":{\"enum\":[\"x\",1,null]}},\"required\":[\"b\"]}"

static const struct {
    const char *schema, *good[8], *bad[8];
} cases[] = {
    {"{}",
     {"1", "\"a\"", "{}", "[ 1, 2 ]", "{\"a\": {\"b\": []}}", "true"},
     {"", "{", "01", "\"a", "nul", "[1,]", "{a:1}"}},
    {"{\"type\":\"integer\"}",
     {"0", "-0", "12", "-7"},
     {"1.5", "+1", "1e3", "-", "00"}},
    {"{\"type\":\"number\"}",
     {"0", "1.5", "-2.25e-3", "1E+9"},
     {"1.", ".5", "1e", "NaN"}},
    {"{\"type\":\"boolean\"}", {"true", "false"}, {"True", "1"}},
    {"{\"type\":[\"string\",\"null\"]}", {"null", "\"\""}, {"1"}},
    {"{\"const\":{\"a\":[1]}}", {"{\"a\":[1]}"}, {"{\"a\":[2]}"}},
    {"{\"type\":\"string\",\"minLength\":1,\"maxLength\":2}",
     {"\"a\"", "\"\xc3\xa9\xf0\x9f\x98\x81\"", "\"\\n\\u00e9\""},
     {"\"\"", "\"abc\""}},
    {"{\"type\":\"string\"}",
     {"\"\\\\ \\\" /\"", "\"\xe2\x82\xac\""},
     {"\"\n\"", "\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\\x\"",
      "\"\\ud800\""}},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":"
     "3}",
     {"[1]", "[1, 2,3]", "[\n  1\n]"},
     {"[]", "[1,2,3,4]", "[\"a\"]", "[1 2]"}},
    {"{\"type\":\"array\",\"maxItems\":0}", {"[]"}, {"[1]"}},
    {OBJECT,
     {"{\"b\":1}", "{\"a\":\"x\",\"b\":1}", "{\"a\": \"\", \"b\": 1, \"c\": null}",
      "{\n  \"b\": 1,\n  \"c\": \"x\"\n}"},
     {"{}", "{\"a\":\"x\"}", "{\"b\":1,\"a\":\"x\"}", "{\"b\":1,\"d\":2}", "{\"b\":1,}",
      "{\"b\":1,\"c\":\"y\"}"}},
    {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"null\"}},"
     "\"additionalProperties\":"
     "{\"type\":\"integer\"}}",
     {"{}", "{\"a\":null}", "{\"a\":null,\"q\":1,\"r\":2}", "{\"q\":1}"},
     {"{\"q\":\"x\"}"}},
    {"{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}",
     {"{}", "{ }"},
     {"{\"a\":1}"}},
    {TREE,
     {"{\"v\":1}", "{\"v\":1,\"next\":{\"v\":2,\"next\":null}}",
      "{\"v\":1,\"next\":{\"v\":2,\"next\":{\"v\":3,\"next\":{\"v\":4}}}}"},
     {"{\"next\":null}", "{\"v\":1,\"next\":{}}", "{\"v\":1,\"next\":{\"v\":2}"}},
    {"{\"allOf\":[{\"type\":\"null\"}],\"description\":\"d\",\"title\":\"t\"}",
     {"null"},
     {"1"}},
};

START_TEST(schemas_let_through_what_they_describe)
{
    struct grammar *g = of_schema(cases[_i].schema);

    for (int i = 0; i < 8 && cases[_i].good[i]; i++)
        ck_assert_msg(reads(g, cases[_i].good[i]), "refused: %s", cases[_i].good[i]);
    for (int i = 0; i < 8 && cases[_i].bad[i]; i++)
        ck_assert_msg(!reads(g, cases[_i].bad[i]), "let through: %s", cases[_i].bad[i]);
    grammar_drop(g);
}
END_TEST

static const struct {
    const char *schema, *error;
} refused[] = {
    {"5", "schema #: this is no schema"},
    {"{\"type\":\"text\"}", "type 'text'"},
    {"{\"properties\":{\"a\":{\"pattern\":\"x\"}}}",
     "schema #/properties/a: pattern is not"},
    {"{\"type\":\"integer\",\"minimum\":0}", "minimum is not supported"},
    {"{\"$ref\":\"#/$defs/none\"}", "names nothing"},
    {"{\"$ref\":\"other.json\"}", "names nothing"},
    {"{\"$ref\":\"#\"}", "comes back to itself"},
    {"{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"null\"}]}", "comes back to itself"},
    {"{\"enum\":[]}", "enum is"},
    {"{\"anyOf\":[]}", "anyOf is no list"},
    {"{\"allOf\":[{},{}]}", "allOf of more"},
    {"{\"type\":\"array\",\"minItems\":5,\"maxItems\":2}", "maxItems is less"},
    {"{\"type\":\"array\",\"minItems\":-1}", "minItems is no whole number"},
    {"{\"type\":\"array\",\"minItems\":100000}", "minItems is no whole number"},
    {"{\"type\":7}", "type is neither"},
};

START_TEST(what_cannot_be_obeyed_is_refused)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *json = json_loads(refused[_i].schema, JSON_DECODE_ANY, NULL);

    ck_assert_ptr_null(grammar_schema(json, &err));
    ck_assert_int_eq(err.code, RWF_E_USAGE);
    ck_assert_msg(strstr(err.text, refused[_i].error) != NULL, "%s", err.text);
    json_decref(json);
}
END_TEST

START_TEST(deep_schemas_and_texts_are_bounded)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *deep = json_object();

    for (int i = 0; i < 100; i++)
        deep = json_pack("{s:s, s:o}", "type", "array", "items", deep);
    ck_assert_ptr_null(grammar_schema(deep, &err));
    ck_assert_msg(strstr(err.text, "nested too deeply") != NULL, "%s", err.text);
    json_decref(deep);
    struct grammar *g = grammar_object();
    struct rwf_str text = {NULL, 0, 0};
    for (int i = 0; i < 2000; i++)
        rwf_str_add(&text, "{\"a\":");
    rwf_str_add(&text, "1");
    for (int i = 0; i < 2000; i++)
        rwf_str_add(&text, "}");
    ck_assert(reads(g, text.data));
    rwf_str_free(&text);
    grammar_drop(g);
}
END_TEST

START_TEST(choices_and_calls)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *texts = json_pack("[s,s]", "yes", "no");
    struct grammar *g = grammar_choice(texts, &err);
    json_t *tools = json_loads(
        "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":"
        "\"object\","
        "\"properties\":{\"x\":{\"type\":\"integer\"}},\"required\":[\"x\"]}}},"
        "{\"type\":\"function\",\"function\":{\"name\":\"g\"}}]",
        0, NULL);

    ck_assert(reads(g, "yes") && reads(g, "no") && !reads(g, "ye") &&
              !reads(g, "yesno"));
    grammar_drop(g);
    json_array_append_new(texts, json_integer(1));
    ck_assert_ptr_null(grammar_choice(texts, &err));
    json_decref(texts);

    static const char f[] =
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>";
    static const char both[] =
        "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>\n"
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n"
        "</tool_call>";
    g = grammar_calls(tools, NULL, true, &err);
    ck_assert_msg(g != NULL, "%s", err.text);
    ck_assert(reads(g, f) && reads(g, both) && !reads(g, "<tool_call>"));
    grammar_drop(g);
    g = grammar_calls(tools, "f", false, &err);
    ck_assert(reads(g, f) && !reads(g, both) && !reads(g, "hello"));
    grammar_drop(g);
    ck_assert_ptr_null(grammar_calls(tools, "h", false, &err));
    ck_assert_msg(strstr(err.text, "no tool 'h'") != NULL, "%s", err.text);
    json_decref(tools);
}
END_TEST

/* --- tokens --- */

static bool has(const uint32_t *mask, int32_t id)
{
    return mask[id / 32] >> id % 32 & 1;
}

static int after_token(struct grammar *g, int state, const struct tokenizer *t,
                       int32_t id)
{
    struct rwf_str bytes = {NULL, 0, 0};

    tokenizer_decode(t, &id, 1, &bytes);
    if (bytes.len == 0 || tokenizer_special(t, id))
        state = GRAMMAR_DEAD;
    for (size_t i = 0; i < bytes.len && state != GRAMMAR_DEAD; i++)
        state = grammar_next(g, state, (uint8_t)bytes.data[i]);
    rwf_str_free(&bytes);
    return state;
}

static void check_mask(struct grammar *g, int state, const struct tokenizer *t,
                       const uint32_t *mask, int32_t vocab)
{
    for (int32_t id = 1; id < vocab; id++)
        ck_assert_msg(has(mask, id) == (after_token(g, state, t, id) != GRAMMAR_DEAD),
                      "token %d", id);
    ck_assert(has(mask, 0) == grammar_complete(g, state)); /* the end */
}

/* Draws tokens that the mask allows until the end; the text is what the schema wants.
 */
static void draw(const struct tokenizer *t, struct vocabulary *v, const char *schema,
                 unsigned seed)
{
    int32_t vocab = tokenizer_count(t) + 40; /* ids that stand for nothing */
    struct grammar *g = of_schema(schema);
    struct llm_constraint c;
    uint32_t *mask = rwf_xcalloc((size_t)vocab / 32 + 1, sizeof(*mask));
    struct rwf_str text = {NULL, 0, 0};
    int state = grammar_start(g), drawn = 0;
    int32_t id = -1;

    grammar_keep(g);
    grammar_constrain(g, v, -1, -1, &c);
    while (drawn++ < 300) {
        ck_assert(c.mask(c.ctx, mask));
        if (drawn < 12)
            check_mask(g, state, t, mask, vocab);
        if (has(mask, 0) && (drawn > 5 || grammar_complete(g, state)))
            break;
        do
            id = (int32_t)((unsigned)rand_r(&seed) % (unsigned)vocab);
        while (!has(mask, id));
        if (drawn > 100 &&
            has(mask, tokenizer_id(t, "\""))) /* ends strings that go on */
            id = tokenizer_id(t, "\"");
        state = after_token(g, state, t, id);
        tokenizer_decode(t, &id, 1, &text);
        c.accept(c.ctx, id);
    }
    if (grammar_complete(g, state)) {
        json_error_t why;
        json_t *json = json_loadb(text.data, text.len, JSON_DECODE_ANY, &why);
        ck_assert_msg(json != NULL || strstr(why.text, "too big") != NULL, "%s: %s",
                      text.data, why.text);
        json_decref(json);
        ck_assert(reads(g, text.data));
    }
    c.free(c.ctx);
    grammar_drop(g);
    rwf_str_free(&text);
    free(mask);
}

START_TEST(masks_are_those_of_brute_force_and_texts_are_right)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *root = golden_json("small.json");
    struct tokenizer *t = tokenizer_of(root, &err);
    struct vocabulary *v =
        vocabulary_create(t, tokenizer_count(t) + 40, (int32_t[]){0}, 1);

    for (unsigned seed = 0; seed < 8; seed++)
        draw(t, v, cases[_i].schema, seed);
    vocabulary_destroy(v);
    tokenizer_close(t);
    json_decref(root);
}
END_TEST

START_TEST(it_holds_from_a_token_on)
{
    json_t *root = golden_json("small.json");
    struct tokenizer *t = tokenizer_of(root, NULL);
    struct vocabulary *v = vocabulary_create(t, tokenizer_count(t), (int32_t[]){0}, 1);
    struct llm_constraint c;
    uint32_t *mask = rwf_xcalloc((size_t)tokenizer_count(t) / 32 + 1, sizeof(*mask));

    grammar_constrain(grammar_object(), v, -1, 1, &c);
    ck_assert(c.mask(c.ctx, mask));
    ck_assert(!has(mask, 0) && has(mask, 1) && has(mask, 7));
    c.accept(c.ctx, 7);
    ck_assert(c.mask(c.ctx, mask));
    ck_assert(!has(mask, 0) && has(mask, tokenizer_id(t, "a")));
    c.accept(c.ctx, 1);
    ck_assert(c.mask(c.ctx, mask));
    ck_assert(has(mask, tokenizer_id(t, "{")) && !has(mask, tokenizer_id(t, "a")));
    c.free(c.ctx);
    free(mask);
    vocabulary_destroy(v);
    tokenizer_close(t);
    json_decref(root);
}
END_TEST

/* Thinking may come first, or not: then the reply is held from its first token. */
START_TEST(it_holds_unless_a_token_begins_what_is_free)
{
    json_t *root = golden_json("small.json");
    struct tokenizer *t = tokenizer_of(root, NULL);
    struct vocabulary *v = vocabulary_create(t, tokenizer_count(t), (int32_t[]){0}, 1);
    uint32_t *mask = rwf_xcalloc((size_t)tokenizer_count(t) / 32 + 1, sizeof(*mask));
    int32_t brace = tokenizer_id(t, "{"), a = tokenizer_id(t, "a");

    for (int thinks = 0; thinks < 2; thinks++) {
        struct llm_constraint c;
        grammar_constrain(grammar_object(), v, 2, 1, &c);
        ck_assert(c.mask(c.ctx, mask));
        ck_assert(has(mask, 2) && has(mask, brace) && !has(mask, a));
        c.accept(c.ctx, thinks ? 2 : brace);
        if (thinks) {
            ck_assert(c.mask(c.ctx, mask));
            ck_assert(has(mask, a) && !has(mask, 0));
            c.accept(c.ctx, a);
            c.accept(c.ctx, 2);
            ck_assert(c.mask(c.ctx, mask));
            ck_assert(has(mask, a) && !has(mask, 0));
            c.accept(c.ctx, 1);
        }
        ck_assert(c.mask(c.ctx, mask));
        ck_assert(!has(mask, 2) && has(mask, brace) == (thinks == 1));
        c.free(c.ctx);
    }
    free(mask);
    vocabulary_destroy(v);
    tokenizer_close(t);
    json_decref(root);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("grammar");
    TCase *t = tcase_create("grammar");

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, schemas_let_through_what_they_describe, 0, RWF_COUNT(cases));
    tcase_add_loop_test(t, what_cannot_be_obeyed_is_refused, 0, RWF_COUNT(refused));
    tcase_add_test(t, deep_schemas_and_texts_are_bounded);
    tcase_add_test(t, choices_and_calls);
    tcase_add_loop_test(t, masks_are_those_of_brute_force_and_texts_are_right, 0,
                        RWF_COUNT(cases));
    tcase_add_test(t, it_holds_from_a_token_on);
    tcase_add_test(t, it_holds_unless_a_token_begins_what_is_free);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
