/* SPDX-License-Identifier: Apache-2.0
 *
 * The simplest tokenizer.json of Qwen3's kind: ids 0 to 255 are the bytes, nothing is
 * merged, the ids behind are words that only the model says, and the added tokens are
 * Qwen3's, with Qwen3's ids where the vocabulary is as large, else at its end.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "llm/random_tokens.h"

#define QWEN3_FIRST 151643
#define PATTERN                                                                        \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"               \
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct {
    const char *text;
    bool special;
} added[] = {
    {"<|endoftext|>", true},      {"<|im_start|>", true},
    {"<|im_end|>", true},         {"<|object_ref_start|>", true},
    {"<|object_ref_end|>", true}, {"<|box_start|>", true},
    {"<|box_end|>", true},        {"<|quad_start|>", true},
    {"<|quad_end|>", true},       {"<|vision_start|>", true},
    {"<|vision_end|>", true},     {"<|vision_pad|>", true},
    {"<|image_pad|>", true},      {"<|video_pad|>", true},
    {"<tool_call>", false},       {"</tool_call>", false},
    {"<|fim_prefix|>", false},    {"<|fim_middle|>", false},
    {"<|fim_suffix|>", false},    {"<|fim_pad|>", false},
    {"<|repo_name|>", false},     {"<|file_sep|>", false},
    {"<tool_response>", false},   {"</tool_response>", false},
    {"<think>", false},           {"</think>", false},
};
#define ADDED ((int)RWF_COUNT(added))

static int64_t first_of(int64_t vocab)
{
    return vocab >= QWEN3_FIRST + ADDED ? QWEN3_FIRST : vocab - ADDED;
}

int64_t llm__random_end(int64_t vocab)
{
    return first_of(vocab) + 2;
}

/* GPT-2's letters for bytes: printable ones are themselves, the others come from U+0100
 * on. */
static int letter_of(int byte, int *others)
{
    bool itself = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) ||
                  (byte >= 0xae && byte <= 0xff);
    return itself ? byte : 0x100 + (*others)++;
}

/* No text becomes such a token, but a model says it: a space and a word of its own. */
static void add_word(json_t *v, int64_t id)
{
    char text[16] = "\xc4\xa0"; /* U+0120, the letter of a space */
    int at = 2;
    for (int64_t left = id; left > 0; left /= 26)
        text[at++] = (char)('a' + left % 26);
    text[at] = '\0';
    json_object_set_new(v, text, json_integer(id));
}

static json_t *vocabulary(int64_t vocab)
{
    json_t *v = json_object();
    int others = 0;
    for (int byte = 0; byte < 256; byte++) {
        int c = letter_of(byte, &others);
        char text[3] = {(char)c, 0, 0};
        if (c >= 0x80) {
            text[0] = (char)(0xc0 | c >> 6);
            text[1] = (char)(0x80 | (c & 0x3f));
        }
        json_object_set_new(v, text, json_integer(byte));
    }
    for (int64_t id = 256; id < first_of(vocab); id++)
        add_word(v, id);
    return v;
}

static json_t *added_tokens(int64_t vocab)
{
    json_t *list = json_array();
    for (int i = 0; i < ADDED; i++)
        json_array_append_new(list, json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}",
                                              "id", (json_int_t)(first_of(vocab) + i),
                                              "content", added[i].text, "single_word",
                                              0, "lstrip", 0, "rstrip", 0, "normalized",
                                              0, "special", (int)added[i].special));
    return list;
}

/* Hugging Face's reader wants all of its members, wherever it stands. */
static json_t *byte_level(void)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 0, "use_regex", 0);
}

static json_t *splitter(void)
{
    json_t *split = json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern",
                              "Regex", PATTERN, "behavior", "Isolated", "invert", 0);
    return json_pack("{s:s, s:[o,o]}", "type", "Sequence", "pretokenizers", split,
                     byte_level());
}

json_t *llm__random_tokenizer(int64_t vocab)
{
    json_t *model = json_pack(
        "{s:s, s:n, s:n, s:s, s:s, s:b, s:b, s:o, s:[]}", "type", "BPE", "dropout",
        "unk_token", "continuing_subword_prefix", "", "end_of_word_suffix", "",
        "fuse_unk", 0, "byte_fallback", 0, "vocab", vocabulary(vocab), "merges");
    return json_pack("{s:s, s:n, s:n, s:o, s:{s:s}, s:o, s:o, s:o, s:o}", "version",
                     "1.0", "truncation", "padding", "added_tokens",
                     added_tokens(vocab), "normalizer", "type", "NFC", "pre_tokenizer",
                     splitter(), "post_processor", byte_level(), "decoder", byte_level(),
                     "model", model);
}
