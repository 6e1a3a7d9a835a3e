/* SPDX-License-Identifier: Apache-2.0
 *
 * What constrained decoding costs: masks over Qwen3's 151,936 ids (bytes and words) for
 * a reply of TOKENS tokens that are drawn from what each mask allows.
 *
 *     make tests/bench/llm_grammar && tests/bench/llm_grammar [TOKENS]
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/mem.h"
#include "llm/grammar.h"
#include "llm/random_tokens.h"

#define VOCAB 151936
#define WORDS ((VOCAB + 31) / 32)

static const struct {
    const char *name, *schema;
} schemas[] = {
    {"rows of a table", "{\"type\":\"array\",\"items\":{\"type\":\"object\","
                        "\"properties\":{\"name\":{\"type\":\"string\"},"
                        "\"age\":{\"type\":\"integer\"},\"kind\":{\"enum\":[\"a\","
                        "\"b\"]}},\"required\":[\"name\",\"age\"],"
                        "\"additionalProperties\":false}}"},
    {"a string of at most 1,000 characters, many times",
     "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"maxLength\":1000}}"},
    {"any JSON", "{}"},
};

static uint64_t state = 1;

static uint64_t draw(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return state >> 33;
}

static double us_since(int64_t from)
{
    return (double)(rwf_clock_mono() - from) / 1e3;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* One that is allowed, from a random place on; the end only when there is no other. */
static int32_t choose(const uint32_t *mask, int32_t end)
{
    int32_t from = (int32_t)(draw() % VOCAB);

    for (int32_t i = 0; i < VOCAB; i++) {
        int32_t id = (from + i) % VOCAB;
        if (id != end && mask[id / 32] >> id % 32 & 1)
            return id;
    }
    return end;
}

static void measure(struct vocabulary *v, size_t which, int tokens, int32_t end)
{
    static uint32_t mask[WORDS];
    double *times = rwf_xcalloc((size_t)tokens, sizeof(*times)), first = 0;
    json_t *schema = json_loads(schemas[which].schema, 0, NULL);
    struct llm_constraint c;
    struct rusage use;
    int n = 0;

    int64_t from = rwf_clock_mono();
    struct grammar *g = grammar_schema(schema, NULL);
    double made = us_since(from);
    grammar_keep(g);
    grammar_constrain(g, v, -1, -1, &c);
    for (; n < tokens; n++) {
        from = rwf_clock_mono();
        c.mask(c.ctx, mask);
        times[n] = us_since(from);
        first = n == 0 ? times[0] : first;
        int32_t id = choose(mask, end);
        if (id == end) { /* over: once more */
            c.free(c.ctx);
            grammar_keep(g);
            grammar_constrain(g, v, -1, -1, &c);
            continue;
        }
        c.accept(c.ctx, id);
    }
    qsort(times, (size_t)n, sizeof(*times), by_size);
    getrusage(RUSAGE_SELF, &use);
    printf("%s: made %.0f us, first mask %.0f us, later ones median %.1f, 99 %% %.0f, "
           "most %.0f us; "
           "%d states, %ld MiB\n",
           schemas[which].name, made, first, times[n / 2], times[n * 99 / 100],
           times[n - 1], grammar_states(g), use.ru_maxrss / 1024);
    c.free(c.ctx);
    grammar_drop(g);
    json_decref(schema);
    free(times);
}

int main(int argc, char **argv)
{
    int tokens = argc > 1 ? atoi(argv[1]) : 16384;
    json_t *json = llm__random_tokenizer(VOCAB);
    char *text = json_dumps(json, JSON_COMPACT);
    struct rwf_err err = RWF_ERR_INIT;
    struct tokenizer *t = tokenizer_parse(text, strlen(text), "tokenizer.json", &err);
    int32_t end = (int32_t)llm__random_end(VOCAB);

    if (t == NULL) {
        fprintf(stderr, "llm_grammar: %s\n", err.text);
        return 1;
    }
    int64_t from = rwf_clock_mono();
    struct vocabulary *v = vocabulary_create(t, VOCAB, &end, 1);
    printf("vocabulary of %d: %.1f ms\n", VOCAB, us_since(from) / 1e3);
    for (size_t i = 0; i < RWF_COUNT(schemas); i++)
        measure(v, i, tokens, end);
    vocabulary_destroy(v);
    tokenizer_close(t);
    free(text);
    json_decref(json);
    return 0;
}
