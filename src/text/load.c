/* SPDX-License-Identifier: Apache-2.0
 *
 * tokenizer.json of Hugging Face. Everything in it that decides ids is either done or
 * refused by name; truncation, padding and post-processors that add no token change no
 * id.
 */
#include "config.h"
#include "text/tokenizer_impl.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "text/unicode.h"

#define bad(err, ...) rwf_fail(err, RWF_E_INPUT, __VA_ARGS__)

static const char *type_of(const json_t *v)
{
    const char *type = json_string_value(json_object_get(v, "type"));

    return type ? type : "(no type)";
}

static bool is_type(const json_t *v, const char *type)
{
    return strcmp(type_of(v), type) == 0;
}

/* --- the parts before the model --- */

static int load_normalizer(struct tokenizer *t, const json_t *v, struct rwf_err *err)
{
    const json_t *each;
    size_t i;

    if (!v || json_is_null(v))
        return 0;
    if (is_type(v, "NFC")) {
        t->nfc = true;
        return 0;
    }
    if (is_type(v, "Sequence") && json_is_array(json_object_get(v, "normalizers"))) {
        json_array_foreach(json_object_get(v, "normalizers"), i, each)
            if (!is_type(each, "NFC"))
                return bad(err, "the normalizer %s is not supported, only NFC",
                           type_of(each));
        t->nfc = t->nfc || json_array_size(json_object_get(v, "normalizers")) > 0;
        return 0;
    }
    return bad(err, "the normalizer %s is not supported, only NFC", type_of(v));
}

static struct text__step *step_push(struct tokenizer *t)
{
    t->steps = rwf_xrealloc(t->steps, (t->step_count + 1) * sizeof(*t->steps));
    memset(&t->steps[t->step_count], 0, sizeof(*t->steps));
    return &t->steps[t->step_count++];
}

static int load_split(struct tokenizer *t, const json_t *v, struct rwf_err *err)
{
    const json_t *pattern = json_object_get(v, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *literal = json_string_value(json_object_get(pattern, "String"));
    const char *behavior = json_string_value(json_object_get(v, "behavior"));

    if (!regex && !literal)
        return bad(err, "pre_tokenizer Split: no pattern that is a Regex or a String");
    if (!behavior || strcmp(behavior, "Isolated") != 0)
        return bad(err,
                   "pre_tokenizer Split: behavior %s is not supported, only Isolated",
                   behavior ? behavior : "(none)");
    if (json_is_true(json_object_get(v, "invert")))
        return bad(err, "pre_tokenizer Split: invert is not supported");
    if (text__step_init(step_push(t), regex ? regex : literal, !regex, err) == 0)
        return 0;
    return rwf_wrap(err, "pre_tokenizer Split");
}

static int load_byte_level(struct tokenizer *t, const json_t *v, struct rwf_err *err)
{
    const json_t *use_regex = json_object_get(v, "use_regex");

    if (json_is_true(json_object_get(v, "add_prefix_space")))
        return bad(err, "pre_tokenizer ByteLevel: add_prefix_space is not supported");
    if (use_regex && json_is_false(use_regex))
        return 0;
    return text__step_init(step_push(t), text__pattern_gpt2, false, err);
}

static int load_pre_tokenizer(struct tokenizer *t, const json_t *v, struct rwf_err *err)
{
    const json_t *list = json_object_get(v, "pretokenizers"), *each;
    size_t count = json_array_size(list), i;

    if (is_type(v, "ByteLevel"))
        return load_byte_level(t, v, err);
    if (!is_type(v, "Sequence"))
        return bad(err,
                   "the pre_tokenizer %s is not supported, only ByteLevel and a "
                   "Sequence of Split and ByteLevel",
                   json_is_object(v) ? type_of(v) : "(none)");
    json_array_foreach(list, i, each) {
        if (i == count - 1 && is_type(each, "ByteLevel"))
            return load_byte_level(t, each, err);
        if (!is_type(each, "Split"))
            return bad(err,
                       "the pre_tokenizer %s is not supported in a Sequence, only "
                       "Split, and ByteLevel as the last",
                       type_of(each));
        if (load_split(t, each, err) != 0)
            return -1;
    }
    return bad(err, "pre_tokenizer: the Sequence does not end with ByteLevel");
}

static int check_processor(const json_t *v, struct rwf_err *err)
{
    const json_t *each;
    size_t i;

    if (!v || json_is_null(v) || is_type(v, "ByteLevel") || is_type(v, "TemplateProcessing"))
        return 0;
    if (!is_type(v, "Sequence"))
        return bad(err, "the post_processor %s is not supported", type_of(v));
    json_array_foreach(json_object_get(v, "processors"), i, each)
        if (check_processor(each, err) != 0)
            return -1;
    return 0;
}

static int check_decoder(const json_t *v, struct rwf_err *err)
{
    if (!v || json_is_null(v) || is_type(v, "ByteLevel"))
        return 0;
    return bad(err, "the decoder %s is not supported, only ByteLevel", type_of(v));
}

/* --- the model --- */

static int32_t id_of(const struct tokenizer *t, const char *token, size_t len)
{
    return (int32_t)(intptr_t)rwf_map_getn(t->ids, token, len) - 1;
}

static int32_t id_of_byte(const struct tokenizer *t, uint8_t byte)
{
    uint8_t utf8[4];
    size_t len = text__encode(text__byte_char(byte), utf8);

    return id_of(t, (const char *)utf8, len);
}

static int add_id(struct tokenizer *t, const char *token, json_int_t id,
                  struct rwf_err *err)
{
    if (id < 0 || id > TOKENIZER__MAX_ID)
        return bad(err, "the id of token '%.64s' is not between 0 and %d", token,
                   TOKENIZER__MAX_ID);
    rwf_map_set(t->ids, token, (void *)(intptr_t)(id + 1));
    if (id >= t->count)
        t->count = (int32_t)id + 1;
    return 0;
}

static int load_vocab(struct tokenizer *t, json_t *vocab, struct rwf_err *err)
{
    const char *token;
    json_t *id;

    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return bad(err, "model: no vocab");
    json_object_foreach(vocab, token, id) {
        if (!json_is_integer(id))
            return bad(err, "model: the id of token '%.64s' is not a number", token);
        if (add_id(t, token, json_integer_value(id), err) != 0)
            return -1;
    }
    char *seen = rwf_xcalloc((size_t)t->count, 1);
    for (size_t i = 0; i < rwf_map_count(t->ids); i++) {
        char *s = &seen[(intptr_t)rwf_map_value_at(t->ids, i) - 1];
        if (*s) {
            free(seen);
            return bad(err, "model: token '%.64s' has an id that another has, too",
                       rwf_map_key_at(t->ids, i));
        }
        *s = 1;
    }
    free(seen);
    for (unsigned byte = 0; byte < 256; byte++)
        bpe__set_byte(t->bpe, (uint8_t)byte, id_of_byte(t, (uint8_t)byte));
    return 0;
}

/* "a b", split at the first space, or ["a", "b"]: *ret_a and *ret_b, with lengths. */
static int merge_parts(const json_t *v, const char **ret, size_t *ret_len)
{
    if (json_is_string(v)) {
        const char *text = json_string_value(v), *space = strchr(text, ' ');
        if (!space || strchr(space + 1, ' '))
            return -1;
        ret[0] = text;
        ret_len[0] = (size_t)(space - text);
        ret[1] = space + 1;
        ret_len[1] = strlen(space + 1);
        return 0;
    }
    if (json_array_size(v) != 2)
        return -1;
    for (size_t i = 0; i < 2; i++) {
        const json_t *part = json_array_get(v, i);
        if (!json_is_string(part))
            return -1;
        ret[i] = json_string_value(part);
        ret_len[i] = json_string_length(part);
    }
    return 0;
}

static int load_merge(struct tokenizer *t, const json_t *v, size_t rank,
                      struct rwf_str *both, struct rwf_err *err)
{
    const char *part[2];
    size_t len[2];
    int32_t id[2];

    if (merge_parts(v, part, len) != 0)
        return bad(err, "model: merge %zu is neither \"a b\" nor [\"a\", \"b\"]", rank);
    rwf_str_clear(both);
    for (int i = 0; i < 2; i++) {
        id[i] = id_of(t, part[i], len[i]);
        if (id[i] < 0)
            return bad(err, "model: '%.*s' of merge %zu is not in the vocab",
                       (int)(len[i] < 64 ? len[i] : 64), part[i], rank);
        rwf_str_addn(both, part[i], len[i]);
    }
    int32_t made = id_of(t, both->data, both->len);
    if (made < 0)
        return bad(err, "model: '%.64s', which merge %zu makes, is not in the vocab",
                   both->data, rank);
    bpe__add_merge(t->bpe, id[0], id[1], made, (int32_t)rank);
    return 0;
}

static int load_merges(struct tokenizer *t, const json_t *merges, struct rwf_err *err)
{
    struct rwf_str both = {0};
    const json_t *each;
    size_t i, rank = 0;
    int ret = 0;

    rwf_str_addc(&both, ' ');
    json_array_foreach(merges, i, each) {
        if (json_is_string(each) &&
            rwf_starts_with(json_string_value(each), "#version"))
            continue; /* the first line of a merges.txt */
        if ((ret = load_merge(t, each, rank++, &both, err)) != 0)
            break;
    }
    rwf_str_free(&both);
    return ret;
}

static bool is_set(const json_t *model, const char *key)
{
    const json_t *v = json_object_get(model, key);

    return v && !json_is_null(v) && !json_is_false(v) &&
           !(json_is_string(v) && json_string_length(v) == 0) &&
           !(json_is_number(v) && json_number_value(v) == 0);
}

static int check_model(const json_t *model, struct rwf_err *err)
{
    static const char *const refused[] = {
        "dropout",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "byte_fallback",
    };

    if (!json_is_object(model))
        return bad(err, "there is no model");
    if (json_object_get(model, "type") && !is_type(model, "BPE"))
        return bad(err, "the model %s is not supported, only BPE", type_of(model));
    for (size_t i = 0; i < RWF_COUNT(refused); i++)
        if (is_set(model, refused[i]))
            return bad(err, "model: %s is not supported", refused[i]);
    if (!json_is_array(json_object_get(model, "merges")))
        return bad(err, "model: no merges");
    return 0;
}

/* An unk_token is never used when every byte has a token. */
static int check_unk(const struct tokenizer *t, const json_t *model,
                     struct rwf_err *err)
{
    for (unsigned byte = 0; is_set(model, "unk_token") && byte < 256; byte++)
        if (id_of_byte(t, (uint8_t)byte) < 0)
            return bad(err,
                       "model: unk_token is not supported where a byte (0x%02X) has "
                       "no token",
                       byte);
    return 0;
}

static int load_model(struct tokenizer *t, const json_t *model, struct rwf_err *err)
{
    if (check_model(model, err) != 0)
        return -1;
    t->bpe = bpe__create(json_array_size(json_object_get(model, "merges")));
    if (load_vocab(t, json_object_get(model, "vocab"), err) != 0 ||
        check_unk(t, model, err) != 0 ||
        load_merges(t, json_object_get(model, "merges"), err) != 0)
        return -1;
    if (is_set(model, "ignore_merges"))
        bpe__set_whole(t->bpe, t->ids);
    return 0;
}

/* --- added tokens --- */

static bool flag(const json_t *v, const char *key)
{
    return json_is_true(json_object_get(v, key));
}

/* Gives an added token its id, in the file's order, as theirs do. */
static int add_token(struct tokenizer *t, const json_t *v, int32_t *next,
                     struct rwf_err *err)
{
    const char *content = json_string_value(json_object_get(v, "content"));
    const json_t *id = json_object_get(v, "id");

    if (!content || !json_is_integer(id))
        return bad(err, "added_tokens: one has no content or no id");
    if (content[0] == '\0')
        return 0;
    int32_t known = id_of(t, content, strlen(content));
    if (json_integer_value(id) != (known >= 0 ? known : *next))
        return bad(err,
                   "added_tokens: '%.64s' has id %lld, but would become %d: the ids of "
                   "tokens that the vocab lacks must follow it one by one",
                   content, (long long)json_integer_value(id),
                   known >= 0 ? known : *next);
    return known >= 0 ? 0 : add_id(t, content, (*next)++, err);
}

/* Has the token's text searched for. */
static void search_token(struct tokenizer *t, const json_t *v)
{
    const char *content = json_string_value(json_object_get(v, "content"));
    struct added__token token = {
        .id = (int32_t)json_integer_value(json_object_get(v, "id")),
        .single_word = flag(v, "single_word"),
        .lstrip = flag(v, "lstrip"),
        .rstrip = flag(v, "rstrip"),
    };
    struct rwf_str nfc = {0};

    if (!flag(v, "normalized")) {
        added__put(t->raw, content, strlen(content), &token);
        return;
    }
    if (t->nfc)
        text__nfc((const uint8_t *)content, strlen(content), &nfc);
    else
        rwf_str_add(&nfc, content);
    added__put(t->normalized, nfc.data, nfc.len, &token);
    rwf_str_free(&nfc);
}

static int load_added(struct tokenizer *t, const json_t *list, struct rwf_err *err)
{
    const json_t *each;
    size_t i;
    int32_t next = (int32_t)rwf_map_count(t->ids);

    if (list && !json_is_null(list) && !json_is_array(list))
        return bad(err, "added_tokens is not a list");
    json_array_foreach(list, i, each)
        if (add_token(t, each, &next, err) != 0)
            return -1;
    /* Of two with one text the first counts, and special ones come first. */
    for (int special = 1; special >= 0; special--)
        json_array_foreach(list, i, each)
            if (flag(each, "special") == special)
                search_token(t, each);
    return 0;
}

/* --- decoding --- */

/* Adds what a token of the vocab stands for: its characters' bytes, or its text when
 * not all of them stand for one. */
static void add_bytes(struct rwf_str *out, const char *token)
{
    size_t start = out->len, len = strlen(token), n;

    for (size_t i = 0; i < len; i += n) {
        int byte = text__char_byte(text__decode((const uint8_t *)token + i, &n));
        if (byte < 0) {
            out->len = start;
            rwf_str_addn(out, token, len);
            return;
        }
        rwf_str_addc(out, (char)byte);
    }
}

static void load_decoding(struct tokenizer *t, size_t vocab_count)
{
    size_t *entry = rwf_xcalloc((size_t)t->count, sizeof(*entry));
    struct rwf_str bytes = {0};

    for (size_t i = 0; i < rwf_map_count(t->ids); i++)
        entry[(intptr_t)rwf_map_value_at(t->ids, i) - 1] = i + 1;
    t->offsets = rwf_xmalloc(((size_t)t->count + 1) * sizeof(*t->offsets));
    for (int32_t id = 0; id < t->count; id++) {
        t->offsets[id] = bytes.len;
        if (entry[id] == 0)
            continue;
        const char *token = rwf_map_key_at(t->ids, entry[id] - 1);
        if (entry[id] - 1 < vocab_count)
            add_bytes(&bytes, token);
        else
            rwf_str_add(&bytes, token);
    }
    t->offsets[t->count] = bytes.len;
    t->bytes = rwf_str_take(&bytes);
    free(entry);
}

static void mark_special(struct tokenizer *t, const json_t *added)
{
    const json_t *each;
    size_t i;

    t->special = rwf_xcalloc((size_t)t->count + 1, sizeof(*t->special));
    json_array_foreach(added, i, each)
    {
        int32_t id = id_of(t, json_string_value(json_object_get(each, "content")),
                           json_string_length(json_object_get(each, "content")));
        if (id >= 0 && flag(each, "special"))
            t->special[id] = true;
    }
}

/* --- tokens around a text --- */

static int add_frame(struct tokenizer *t, const json_t *ids, const char *name,
                     struct tokenizer_ids *to, struct rwf_err *err)
{
    const json_t *id;
    size_t i;

    json_array_foreach(ids, i, id) {
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= t->count)
            return bad(err, "post_processor: an id of '%s' is none of this tokenizer", name);
        *RWF_PUSH(to->ids, to->count, to->cap) = (int32_t)json_integer_value(id);
    }
    return i > 0 ? 0 : bad(err, "post_processor: special_tokens says no ids of '%s'", name);
}

static int load_template(struct tokenizer *t, const json_t *v, struct rwf_err *err)
{
    const json_t *single = json_object_get(v, "single"), *each;
    size_t i, texts = 0, before = t->before.count + t->after.count;

    json_array_foreach(single, i, each) {
        const json_t *special = json_object_get(each, "SpecialToken");
        const char *name = json_string_value(json_object_get(special, "id"));
        const json_t *entry = name ? json_object_get(json_object_get(v, "special_tokens"), name) : NULL;
        texts += json_object_get(each, "Sequence") != NULL;
        if (name && add_frame(t, json_object_get(entry, "ids"), name,
                              texts ? &t->after : &t->before, err) != 0)
            return -1;
    }
    if (texts != 1)
        return bad(err, "post_processor TemplateProcessing: single is not one text with tokens around it");
    if (before > 0 && t->before.count + t->after.count > before)
        return bad(err, "post_processor: two templates that add tokens are not supported");
    return 0;
}

static int load_frame(struct tokenizer *t, const json_t *v, struct rwf_err *err)
{
    const json_t *each;
    size_t i;

    if (is_type(v, "TemplateProcessing"))
        return load_template(t, v, err);
    json_array_foreach(json_object_get(v, "processors"), i, each)
        if (load_frame(t, each, err) != 0)
            return -1;
    return 0;
}

static int load_root(struct tokenizer *t, const json_t *root, struct rwf_err *err)
{
    if (!json_is_object(root))
        return bad(err, "not a JSON object");
    if (load_normalizer(t, json_object_get(root, "normalizer"), err) != 0 ||
        load_pre_tokenizer(t, json_object_get(root, "pre_tokenizer"), err) != 0 ||
        check_processor(json_object_get(root, "post_processor"), err) != 0 ||
        check_decoder(json_object_get(root, "decoder"), err) != 0 ||
        load_model(t, json_object_get(root, "model"), err) != 0)
        return -1;
    size_t vocab_count = rwf_map_count(t->ids);
    if (load_added(t, json_object_get(root, "added_tokens"), err) != 0)
        return -1;
    load_decoding(t, vocab_count);
    mark_special(t, json_object_get(root, "added_tokens"));
    return load_frame(t, json_object_get(root, "post_processor"), err);
}

int tokenizer__load(struct tokenizer *t, const char *json, size_t len,
                    struct rwf_err *err)
{
    json_error_t what;

    t->ids = rwf_map_create();
    t->raw = added__create();
    t->normalized = added__create();
    json_t *root = json_loadb(json, len, 0, &what);
    if (!root)
        return bad(err, "line %d: %s", what.line, what.text);
    int ret = load_root(t, root, err);
    json_decref(root);
    return ret;
}
