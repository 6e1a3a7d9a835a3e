/* SPDX-License-Identifier: Apache-2.0
 *
 * A driver of graphs for tests: it writes down what it is asked and answers by a
 * script.
 */
#ifndef RWF_TESTS_SERVE_GRAPH_H
#define RWF_TESTS_SERVE_GRAPH_H
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"
#include "serve/graph.h"
#include "serve_app.h"

/* --- the rig --- */

enum { RIG_CALLS = 1000 };

struct rig {
    struct serve_app *app;
    struct serve_flow *flow;
    struct serve_data input;
    char *answers;
    const char *header;
    bool at_once;
    uint64_t chance;
    struct serve_call *out[RIG_CALLS]; /* calls to answer, in order */
    int count;
    struct rwf_str calls;
    int done, status;
    char *output, why[300];
};

/* The first answer for a deployment in "a=200:text b=lost:why c=wait", taken out. */
static bool next_answer(struct rig *r, const char *name, char kind[16], char **ret_text)
{
    static char text[8000];

    for (char *at = r->answers; *at != '\0';) {
        size_t len = strcspn(at, " ");
        if (strncmp(at, name, 1) != 0) {
            at += len + (at[len] == ' ');
            continue;
        }
        size_t word = strcspn(at + 2, ": ");
        snprintf(kind, 16, "%.*s", (int)word, at + 2);
        bool more = at[2 + word] == ':';
        snprintf(text, sizeof(text), "%.*s", more ? (int)(len - word - 3) : 0,
                 at + 2 + word + more);
        *ret_text = text;
        *at = '#'; /* taken */
        return true;
    }
    return false;
}

static void answer(struct rig *r, struct serve_call *c)
{
    const char *name = r->app->deployments[c->deployment].name;
    char kind[16] = "wait", *text = NULL;

    if (!next_answer(r, name, kind, &text) || strcmp(kind, "wait") == 0) {
        r->out[r->count++] = c;
    } else if (strcmp(kind, "lost") == 0) {
        serve_flow_failed(c, 502, NULL, text);
    } else if (strcmp(kind, "cancel") == 0) {
        r->out[r->count++] = c;
        serve_flow_cancel(r->flow);
    } else if (strcmp(kind, "pass") == 0) {
        serve_flow_passed(c);
    } else if (strcmp(kind, "free") == 0) {
        r->out[r->count++] = c;
        serve_flow_cancel(r->flow);
        serve_flow_free(r->flow);
        r->flow = NULL;
    } else if (atoi(kind) >= 400) {
        struct serve_data data = {text, strlen(text), NULL};
        serve_flow_failed(c, atoi(kind), &data, NULL);
    } else {
        struct serve_data data = {text, strlen(text), NULL};
        serve_flow_output(c, atoi(kind), &data);
    }
}

static void rig_call(void *ctx, struct serve_call *c)
{
    struct rig *r = ctx;

    rwf_str_addf(&r->calls, "%s%s(%.*s%s%s)", r->calls.len > 0 ? " " : "",
                 r->app->deployments[c->deployment].name, (int)c->input.size,
                 (const char *)c->input.bytes, c->first ? ",first" : "",
                 c->last ? ",last" : "");
    if (r->at_once)
        answer(r, c);
    else
        r->out[r->count++] = c;
}

static void rig_cancel(void *ctx, struct serve_call *c)
{
    struct rig *r = ctx;
    int i = 0;

    rwf_str_addf(&r->calls, " cancel-%s", r->app->deployments[c->deployment].name);
    while (i < r->count && r->out[i] != c)
        i++;
    ck_assert_msg(i < r->count, "cancelled what is not out");
    memmove(&r->out[i], &r->out[i + 1], (size_t)(--r->count - i) * sizeof(*r->out));
}

static const char *rig_header(void *ctx, const char *name)
{
    ck_assert_str_eq(name, "X-User");
    return ((struct rig *)ctx)->header;
}

static void rig_done(void *ctx, int status, const struct serve_data *out,
                     const char *why)
{
    struct rig *r = ctx;

    r->done++;
    r->status = status;
    r->output = rwf_xstrndup(out->bytes != NULL ? out->bytes : "", out->size);
    snprintf(r->why, sizeof(r->why), "%s", why != NULL ? why : "");
    serve_flow_free(r->flow); /* it may */
    r->flow = NULL;
}

static const struct serve_flow_driver rig_driver = {
    .call = rig_call, .cancel = rig_cancel, .header = rig_header, .done = rig_done};

static void rig_start(struct rig *r, const char *graph, const char *input,
                      const char *answers, bool at_once)
{
    *r = (struct rig){.app = app_of(graph),
                      .answers = rwf_xstrdup(answers),
                      .at_once = at_once,
                      .chance = 1};
    r->input = (struct serve_data){input, strlen(input), NULL};
    r->flow = serve_flow_create(r->app, &rig_driver, r, &r->input, &r->chance);
}

/* Answers all that is out and has an answer. */
static void rig_settle(struct rig *r)
{
    for (int waits = 0; waits < r->count;) {
        struct serve_call *c = r->out[0];
        int before = r->count;
        memmove(r->out, r->out + 1, (size_t)(--r->count) * sizeof(*r->out));
        answer(r, c);
        waits = r->count == before && r->out[before - 1] == c ? waits + 1 : 0;
    }
}

static void rig_end(struct rig *r)
{
    serve_flow_free(r->flow);
    serve_app_free(r->app);
    rwf_str_free(&r->calls);
    free(r->answers);
    free(r->output);
}

#endif
