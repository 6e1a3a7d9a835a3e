/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin for recipes/native.yaml: functions and a class that know a little about words.
 * What a recipe passes is JSON text in argument 0, and what it gets back is JSON text in
 * return value 0. A plugin of yours would use a JSON library; the few lines here read
 * just what this recipe sends.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <raywf.h>

/* --- reading what the recipe sends --- */

struct text {
    const char *start, *end;
};

static struct text argument(const struct raywf_call *call)
{
    size_t size;
    const char *data = raywf_arg(call, 0, &size);

    return (struct text){data, data + size};
}

/* The text of "name":"…" from at on, without escapes; start is NULL when there is none. */
static struct text member(struct text json, const char *name)
{
    char quoted[64];
    int len = snprintf(quoted, sizeof(quoted), "\"%s\":\"", name);
    struct text out = {memmem(json.start, (size_t)(json.end - json.start), quoted,
                              (size_t)len),
                       json.end};

    if (out.start == NULL)
        return out;
    out.start += len;
    out.end = memchr(out.start, '"', (size_t)(json.end - out.start));
    return out.end != NULL ? out : (struct text){NULL, NULL};
}

static int count_words(struct text t)
{
    int words = 0;

    for (const char *c = t.start; c < t.end; c++)
        words += !isspace((unsigned char)*c) &&
                 (c == t.start || isspace((unsigned char)c[-1]));
    return words;
}

/* --- functions --- */

/* {"text": "…"} -> {"words": 3, "letters": 14, "metrics": {"words": 3}} */
static int measure(struct raywf_call *call)
{
    struct text t = member(argument(call), "text");
    char out[128];
    int letters = 0;

    if (t.start == NULL)
        return raywf_fail(call, "there is no text to measure");
    for (const char *c = t.start; c < t.end; c++)
        letters += isalpha((unsigned char)*c) != 0;
    int words = count_words(t);
    int len =
        snprintf(out, sizeof(out),
                 "{\"words\":%d,\"letters\":%d,\"metrics\":{\"words\":%d}}", words,
                 letters, words);
    return raywf_return(call, 0, out, (size_t)len);
}

/* {"rows": [{"text": "…"}, …]} -> [{"words": 3}, …]: a result for each row */
static int measure_rows(struct raywf_call *call)
{
    struct text json = argument(call), t;
    size_t room = (size_t)(json.end - json.start) + 64, used = 0;
    char *out = malloc(room);

    if (out == NULL)
        return raywf_fail(call, "no memory for %zu bytes", room);
    out[used++] = '[';
    while ((t = member(json, "text")).start != NULL) {
        /* Shorter than the row it stands for, so that out has room for it. */
        used += (size_t)snprintf(out + used, room - used, "%s{\"words\":%d}",
                                 used > 1 ? "," : "", count_words(t));
        json.start = t.end;
    }
    out[used++] = ']';
    int rc = raywf_return(call, 0, out, used);
    free(out);
    return rc;
}

static const struct raywf_function functions[] = {
    {"measure", measure, "how many words and letters a text has"},
    {"measure_rows", measure_rows, "the same for rows, many in one call"},
    {0},
};

/* --- a class --- */

/* Knows the words that it was made with. */
struct lexicon {
    char *words; /* " a b c " */
    int asked;
};

static int lexicon_create(struct raywf_call *call, void **ret_state)
{
    struct text t = member(argument(call), "words");
    struct lexicon *l = calloc(1, sizeof(*l));

    if (t.start == NULL || l == NULL ||
        asprintf(&l->words, " %.*s ", (int)(t.end - t.start), t.start) < 0) {
        free(l);
        return raywf_fail(call, "a lexicon is made of words");
    }
    *ret_state = l;
    return 0;
}

static void lexicon_destroy(void *state)
{
    struct lexicon *l = state;

    free(l->words);
    free(l);
}

/* {"word": "…"} -> true or false */
static int lexicon_knows(struct raywf_call *call)
{
    struct lexicon *l = raywf_state(call);
    struct text t = member(argument(call), "word");
    char word[64];

    if (t.start == NULL || t.end - t.start > 60)
        return raywf_fail(call, "there is no word to look up");
    snprintf(word, sizeof(word), " %.*s ", (int)(t.end - t.start), t.start);
    l->asked++;
    return strstr(l->words, word) != NULL ? raywf_return(call, 0, "true", 4)
                                          : raywf_return(call, 0, "false", 5);
}

static const struct raywf_function methods[] = {
    {"knows", lexicon_knows, "whether a word is in it"},
    {0},
};

static const struct raywf_class classes[] = {
    {"lexicon", lexicon_create, lexicon_destroy, methods, "a set of words"},
    {0},
};

RAYWF_PLUGIN(.functions = functions, .classes = classes);
