/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm/bench.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "text/tokenizer.h"

#define DATASET_MAX ((size_t)2 << 30)

/* splitmix64 */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static int within(uint64_t *state, int length, double ratio)
{
    int least = (int)(length * (1 - ratio)), most = (int)(length * (1 + ratio));
    int n = least + (int)(next(state) % (uint64_t)(most - least + 1));

    return n > 1 ? n : 1;
}

static int32_t random_id(const struct tokenizer *t, uint64_t *state)
{
    struct rwf_str text = {NULL, 0, 0};
    int32_t id;

    do {
        rwf_str_clear(&text);
        id = (int32_t)(next(state) % (uint64_t)tokenizer_count(t));
        tokenizer_decode(t, &id, 1, &text);
    } while (text.len == 0 || tokenizer_special(t, id));
    rwf_str_free(&text);
    return id;
}

static void as_text(const struct tokenizer *t, struct bench_prompt *p)
{
    struct rwf_str text = {NULL, 0, 0};

    tokenizer_decode(t, p->ids, (size_t)p->count, &text);
    for (size_t i = 0; i < text.len; i++) /* pieces of characters would be no JSON */
        if ((unsigned char)text.data[i] >= 0x80)
            text.data[i] = '?';
    p->text = rwf_str_take(&text);
    free(p->ids);
    p->ids = NULL;
}

static void invent(const struct bench_options *o, const struct tokenizer *t, bool ids,
                   struct bench_prompt *p)
{
    uint64_t state = o->seed, shared = ~o->seed;

    for (int i = 0; i < o->num_prompts; i++) {
        uint64_t prefix = shared;
        p[i].count = o->prefix_len + within(&state, o->input_len, o->range_ratio);
        p[i].output_len = within(&state, o->output_len, o->range_ratio);
        p[i].ids = rwf_xcalloc((size_t)p[i].count, sizeof(*p[i].ids));
        for (int k = 0; k < p[i].count; k++)
            p[i].ids[k] = random_id(t, k < o->prefix_len ? &prefix : &state);
        if (!ids)
            as_text(t, &p[i]);
    }
}

/* --- a dataset --- */

/* The prompt and the answer of one entry; false: it has none. */
static bool entry(const json_t *one, const char **prompt, const char **answer,
                  int *output_len)
{
    const json_t *turns = json_object_get(one, "conversations");

    *answer = NULL;
    *output_len = (int)json_integer_value(json_object_get(one, "output_len"));
    *prompt = json_string_value(json_object_get(one, "prompt"));
    if (*prompt == NULL && json_array_size(turns) >= 2) {
        *prompt = json_string_value(json_object_get(json_array_get(turns, 0), "value"));
        *answer = json_string_value(json_object_get(json_array_get(turns, 1), "value"));
    }
    return *prompt != NULL && **prompt != '\0';
}

static void take_entry(const struct bench_options *o, const struct tokenizer *t,
                       bool ids, const json_t *one, struct bench_prompt *p, int *count)
{
    struct tokenizer_ids said = {0}, asked = {0};
    const char *prompt, *answer;
    int output_len;

    if (!entry(one, &prompt, &answer, &output_len))
        return;
    struct bench_prompt *to = &p[*count];
    tokenizer_encode(t, prompt, strlen(prompt), &asked);
    if (answer != NULL)
        tokenizer_encode(t, answer, strlen(answer), &said);
    to->count = (int)asked.count;
    to->output_len = o->output_len > 0 ? o->output_len
                     : output_len > 0  ? output_len
                     : said.count > 0  ? (int)said.count
                                       : 128;
    if (ids) {
        to->ids = asked.ids;
    } else {
        to->text = rwf_xstrdup(prompt);
        free(asked.ids);
    }
    free(said.ids);
    (*count)++;
}

/* A JSON array, or a value on each line, as one array. */
static json_t *load_entries(const char *path, struct rwf_err *err)
{
    size_t len;
    char *text = rwf_fs_read(path, DATASET_MAX, &len, err);
    json_error_t why;

    if (text == NULL)
        return NULL;
    json_t *all = json_loadb(text, len, 0, &why);
    if (!json_is_array(all)) {
        char *rest = text, *line;
        json_decref(all);
        all = json_array();
        while ((line = strsep(&rest, "\n")) != NULL)
            json_array_append_new(all, json_loads(line, 0, NULL));
    }
    free(text);
    return all;
}

static int from_dataset(const struct bench_options *o, const struct tokenizer *t,
                        bool ids, struct bench_prompt *p, struct rwf_err *err)
{
    json_t *entries = load_entries(o->dataset, err), *one;
    int count = 0;
    size_t i;

    if (entries == NULL)
        return -1;
    json_array_foreach(entries, i, one)
        if (count < o->num_prompts)
            take_entry(o, t, ids, one, p, &count);
    json_decref(entries);
    if (count < o->num_prompts)
        return rwf_fail(err, RWF_E_INPUT,
                        "%s: %d prompts are in it, and %d are asked for", o->dataset,
                        count, o->num_prompts);
    return 0;
}

struct bench_prompt *bench_prompts(const struct bench_options *o, bool ids,
                                   struct rwf_err *err)
{
    struct tokenizer *t = tokenizer_open(o->tokenizer, err);
    struct bench_prompt *p;

    if (t == NULL)
        return NULL;
    p = rwf_xcalloc((size_t)o->num_prompts + 1, sizeof(*p));
    if (o->dataset == NULL) {
        invent(o, t, ids, p);
    } else if (from_dataset(o, t, ids, p, err) != 0) {
        bench_prompts_free(p, o->num_prompts);
        p = NULL;
    }
    tokenizer_close(t);
    return p;
}

void bench_prompts_free(struct bench_prompt *p, int count)
{
    if (p == NULL)
        return;
    for (int i = 0; i < count; i++) {
        free(p[i].text);
        free(p[i].ids);
    }
    free(p);
}
