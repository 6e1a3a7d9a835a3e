/* SPDX-License-Identifier: Apache-2.0
 *
 * What serve-graph.yaml and serve-canary.yaml serve: small functions over JSON, each a
 * node of a graph. Argument i is the body of request i of a batch, and return i its answer;
 * without batching there is one. Built by the recipes:
 *
 *   cc -O2 -shared -fPIC -I "$RAYWF_INCLUDE" -o text.so text.c
 */
#include <ctype.h>
#include <raywf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUT_MAX 8192

/* The text behind "KEY": in a body, at its opening quote or first digit; NULL: none. A
 * server in earnest would use a JSON library here. */
static const char *member(const char *json, const char *key)
{
    char quoted[32];
    const char *at;

    snprintf(quoted, sizeof(quoted), "\"%s\"", key);
    at = strstr(json, quoted);
    if (at)
        at = strchr(at + strlen(quoted), ':');
    return at ? at + 1 + strspn(at + 1, " ") : NULL;
}

/* A body as text that ends with NUL; the caller frees. */
static char *body(struct raywf_call *call, size_t i)
{
    size_t size;
    const char *data = raywf_arg(call, i, &size);
    char *text = malloc(size + 1);

    if (text) {
        memcpy(text, data, size);
        text[size] = '\0';
    }
    return text;
}

/* {"text":"A small Text"} -> {"tokens":["a","small","text"]} */
static int tokenise_one(struct raywf_call *call, size_t i, const char *json)
{
    static const char wrong[] = "{\"error\":\"a body is to be {\\\"text\\\": \\\"…\\\"}\"}";
    const char *at = member(json, "text");
    char out[OUT_MAX];
    size_t len = (size_t)snprintf(out, sizeof(out), "{\"tokens\":[");
    int tokens = 0;

    if (!at || *at != '"')
        return raywf_reply(call, i, 400, NULL, wrong, strlen(wrong));
    for (at++; *at && *at != '"' && len < sizeof(out) - 64;) {
        if (!isalnum((unsigned char)*at)) {
            at++;
            continue;
        }
        len += (size_t)snprintf(out + len, 4, tokens++ ? ",\"" : "\"");
        while (isalnum((unsigned char)*at) && len < sizeof(out) - 8)
            out[len++] = (char)tolower((unsigned char)*at++);
        out[len++] = '"';
    }
    len += (size_t)snprintf(out + len, 4, "]}");
    return raywf_return(call, i, out, len);
}

static const char *const good[] = {"good", "great", "fine", "kind", "bright", NULL};
static const char *const long_words[] = {NULL};

static int counts(const char *token, size_t len, const char *const *words)
{
    if (words == long_words)
        return len > 5;
    for (; *words; words++)
        if (strlen(*words) == len && memcmp(*words, token, len) == 0)
            return 1;
    return 0;
}

/* {"tokens":[…]} -> {"score":the share of tokens that count} */
static int score_one(struct raywf_call *call, size_t i, const char *json,
                     const char *const *words)
{
    const char *at = strchr(json, '[');
    int all = 0, hits = 0;
    char out[64];

    while (at && (at = strchr(at, '"')) != NULL) {
        size_t len = strcspn(at + 1, "\"");
        all++;
        hits += counts(at + 1, len, words);
        at += len + 2;
    }
    int n = snprintf(out, sizeof(out), "{\"score\":%.3f}", all ? (double)hits / all : 0.0);
    return raywf_return(call, i, out, (size_t)n);
}

/* {"kind":{"score":a},"hard":{"score":b}} -> {"kind":a,"hard":b,"score":(a+1-b)/2} */
static int merge_one(struct raywf_call *call, size_t i, const char *json)
{
    const char *kind = member(json, "kind"), *hard = member(json, "hard");
    const char *a = kind ? member(kind, "score") : NULL;
    const char *b = hard ? member(hard, "score") : NULL;
    char out[128];

    if (!a || !b)
        return raywf_fail(call, "a score is missing in %s", json);
    double x = strtod(a, NULL), y = strtod(b, NULL);
    int n = snprintf(out, sizeof(out), "{\"kind\":%.3f,\"hard\":%.3f,\"score\":%.3f}", x, y,
                     (x + 1 - y) / 2);
    return raywf_return(call, i, out, (size_t)n);
}

static int kind_one(struct raywf_call *call, size_t i, const char *json)
{
    return score_one(call, i, json, good);
}

static int hard_one(struct raywf_call *call, size_t i, const char *json)
{
    return score_one(call, i, json, long_words);
}

static int each(struct raywf_call *call,
                int (*one)(struct raywf_call *call, size_t i, const char *json))
{
    for (size_t i = 0; i < raywf_arg_count(call); i++) {
        char *text = body(call, i);
        int result = text ? one(call, i, text) : raywf_fail(call, "no memory");
        free(text);
        if (result < 0)
            return -1;
    }
    return 0;
}

static int tokenise(struct raywf_call *call)
{
    return each(call, tokenise_one);
}

static int kind(struct raywf_call *call)
{
    return each(call, kind_one);
}

static int hard(struct raywf_call *call)
{
    return each(call, hard_one);
}

static int merge(struct raywf_call *call)
{
    return each(call, merge_one);
}

/* Two versions of the same thing. */
static int say(struct raywf_call *call, const char *version)
{
    char out[64];
    int n = snprintf(out, sizeof(out), "{\"version\":\"%s\"}", version);

    for (size_t i = 0; i < raywf_arg_count(call); i++)
        if (raywf_return(call, i, out, (size_t)n) < 0)
            return -1;
    return 0;
}

static int stable(struct raywf_call *call)
{
    return say(call, "stable");
}

static int canary(struct raywf_call *call)
{
    return say(call, "canary");
}

static const struct raywf_function functions[] = {
    {"tokenise", tokenise, "text to lower-case words"},
    {"kind", kind, "how many of them are kind"},
    {"hard", hard, "how many of them are long"},
    {"merge", merge, "one score of two"},
    {"stable", stable, "what is served to most"},
    {"canary", canary, "what is served to a few"},
    {0}};

RAYWF_PLUGIN(.functions = functions);
