/* SPDX-License-Identifier: Apache-2.0
 *
 * Random graphs whose calls end in random order, at once or later, against a plain
 * recursive evaluation. What a deployment answers is a function of its name and its
 * input.
 */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"
#include "serve/graph.h"
#include "serve_app.h"
#include "serve_random.h"

static int status_of(char name, const char *input, size_t size)
{
    static const int statuses[] = {200, 200, 200, 200, 200, 201, 500, 404, 503, 429};
    uint64_t hash = serve_hash(input, size) + (uint64_t)(unsigned char)name;

    return statuses[serve_random(&hash) % 10];
}

static char *body_of(char name, const char *input, size_t size)
{
    uint64_t hash = serve_hash(input, size) ^ (uint64_t)(unsigned char)name;

    return rwf_xasprintf("{\"k\":%d,\"by\":\"%c\"}", (int)(serve_random(&hash) % 4),
                         name);
}

/* --- random graphs --- */

static json_t *random_node(uint64_t *chance, int depth);

static json_t *random_name(uint64_t *chance)
{
    char name[2] = {(char)('a' + random_below(chance, 6)), '\0'};

    return json_string(name);
}

static json_t *random_list(uint64_t *chance, int depth)
{
    json_t *out = json_array();

    for (int n = 1 + random_below(chance, 3); n > 0; n--)
        json_array_append_new(out, random_node(chance, depth));
    return out;
}

static json_t *random_map(uint64_t *chance, int depth, const char *keys)
{
    json_t *out = json_object();

    for (; *keys != '\0'; keys++) {
        char key[2] = {*keys, '\0'};
        if (random_below(chance, 2) == 0 || keys[1] == '\0')
            json_object_set_new(out, key, random_node(chance, depth));
    }
    return out;
}

static json_t *random_switch(uint64_t *chance, int depth)
{
    json_t *out = json_pack("{s:s, s:o}", "field", "k", "cases",
                            random_map(chance, depth, "0123"));

    if (random_below(chance, 2) == 0)
        json_object_set_new(out, "otherwise", random_node(chance, depth));
    return out;
}

static json_t *random_node(uint64_t *chance, int depth)
{
    switch (depth <= 0 ? 5 : random_below(chance, 6)) {
    case 0:
        return json_pack("{s:o}", "sequence", random_list(chance, depth - 1));
    case 1:
        return json_pack("{s:o}", "fallback", random_list(chance, depth - 1));
    case 2:
        return json_pack("{s:o}", "fanout", random_map(chance, depth - 1, "xyz"));
    case 3:
        return json_pack("{s:o}", "switch", random_switch(chance, depth - 1));
    case 4:
        return json_pack("{s:{s:{s:i, s:i}, s:s}}", "split", "weights", "a", 1, "b", 2,
                         "by", "X-User");
    default:
        return random_name(chance);
    }
}

/* --- the plain evaluation --- */

struct value {
    int status; /* of a fanout that may fail in several ways: of any of them; see any */
    char *text;
    bool unsure; /* which failure it is depends on what ends first */
};

static struct value eval(const struct serve_app *a, int at, const char *input,
                         bool first);

static struct value eval_call(const struct serve_app *a, const struct serve_node *n,
                              const char *input)
{
    char name = a->deployments[n->deployment].name[0];

    return (struct value){status_of(name, input, strlen(input)),
                          body_of(name, input, strlen(input)), false};
}

static struct value eval_list(const struct serve_app *a, const struct serve_node *n,
                              const char *input, bool first)
{
    struct value v = {0};
    char *now = rwf_xstrdup(input);

    for (int i = 0; i < n->branch_count; i++) {
        bool unsure = v.unsure;
        free(v.text);
        v = eval(a, n->branches[i].node, now,
                 first && (i == 0 || n->kind == SERVE_FALLBACK));
        v.unsure = v.unsure || unsure;
        if (n->kind == SERVE_SEQUENCE && v.status >= 400)
            break;
        if (n->kind == SERVE_FALLBACK && v.status < 500 && v.status != 429)
            break;
        if (n->kind == SERVE_SEQUENCE) {
            free(now);
            now = rwf_xstrdup(v.text);
        }
    }
    free(now);
    return v;
}

static struct value eval_fanout(const struct serve_app *a, const struct serve_node *n,
                                const char *input, bool first)
{
    struct value out = {200, NULL, false};
    struct rwf_str text = {0};
    int failures = 0;

    for (int i = 0; i < n->branch_count; i++) {
        struct value v = eval(a, n->branches[i].node, input, first);
        rwf_str_addf(&text, "%c\"%s\":%s", i ? ',' : '{', n->branches[i].name, v.text);
        out.unsure = out.unsure || v.unsure;
        if (v.status >= 400 && failures++ == 0) {
            out.status = v.status;
            out.text = rwf_xstrdup(v.text);
        }
        free(v.text);
    }
    rwf_str_addc(&text, '}');
    if (failures == 0)
        out.text = rwf_str_take(&text);
    out.unsure = out.unsure || failures > 1;
    rwf_str_free(&text);
    return out;
}

static struct value eval_switch(const struct serve_app *a, const struct serve_node *n,
                                const char *input, bool first)
{
    json_t *json = json_loads(input, JSON_DECODE_ANY, NULL);
    const json_t *k = json_object_get(json, "k");
    char text[20] = "?";
    int branch = -1;

    if (k != NULL)
        snprintf(text, sizeof(text), "%d", (int)json_integer_value(k));
    for (int i = 0; i < n->branch_count; i++)
        if (n->branches[i].value != NULL && strcmp(n->branches[i].value, text) == 0)
            branch = i;
    if (branch < 0 && n->branches[n->branch_count - 1].value == NULL)
        branch = n->branch_count - 1;
    json_decref(json);
    if (branch < 0)
        return (struct value){first ? 400 : 502, rwf_xstrdup(""), false};
    return eval(a, n->branches[branch].node, input, first);
}

static struct value eval(const struct serve_app *a, int at, const char *input,
                         bool first)
{
    const struct serve_node *n = &a->nodes[at];

    switch (n->kind) {
    case SERVE_CALL:
        return eval_call(a, n, input);
    case SERVE_FANOUT:
        return eval_fanout(a, n, input, first);
    case SERVE_SWITCH:
        return eval_switch(a, n, input, first);
    case SERVE_SPLIT: {
        uint64_t state = serve_hash("u", 1) + (uint64_t)at;
        double x = (double)(serve_random(&state) >> 11) * 0x1p-53;
        return eval(a, n->branches[serve_split_pick(n, x)].node, input, first);
    }
    default:
        return eval_list(a, n, input, first);
    }
}

/* --- the same as a flow --- */

enum { CALLS_MAX = 1000 };

struct world {
    struct serve_app *app;
    struct serve_flow *flow;
    struct serve_call *out[CALLS_MAX];
    int count, done, status;
    uint64_t chance;
    char *text;
};

static void tell(struct world *w, struct serve_call *c)
{
    char name = w->app->deployments[c->deployment].name[0];
    int status = status_of(name, c->input.bytes, c->input.size);
    char *text = body_of(name, c->input.bytes, c->input.size);
    struct serve_data data = {text, strlen(text), "application/json"};

    if (status < 400)
        serve_flow_output(c, status, &data);
    else
        serve_flow_failed(c, status, &data, NULL);
    free(text);
}

static void on_call(void *ctx, struct serve_call *c)
{
    struct world *w = ctx;

    ck_assert_int_lt(w->count, CALLS_MAX);
    if (random_below(&w->chance, 3) == 0)
        tell(w, c);
    else
        w->out[w->count++] = c;
}

static void on_cancel(void *ctx, struct serve_call *c)
{
    struct world *w = ctx;
    int i = 0;

    while (i < w->count && w->out[i] != c)
        i++;
    ck_assert_int_lt(i, w->count);
    w->out[i] = w->out[--w->count];
}

static const char *on_header(void *ctx, const char *name)
{
    (void)ctx, (void)name;
    return "u";
}

static void on_done(void *ctx, int status, const struct serve_data *out,
                    const char *why)
{
    struct world *w = ctx;

    ck_assert_int_eq(w->done++, 0);
    ck_assert_int_eq(w->count, 0); /* nothing is left out */
    ck_assert_int_eq(status >= 400, why != NULL);
    w->status = status;
    w->text = rwf_xstrndup(out->size > 0 ? out->bytes : "", out->size);
}

static const struct serve_flow_driver driver = {on_call, on_cancel, on_header, on_done};

static void run(struct world *w, const char *input, bool cut)
{
    struct serve_data data = {input, strlen(input), NULL};
    uint64_t chance = 1;

    w->flow = serve_flow_create(w->app, &driver, w, &data, &chance);
    serve_flow_begin(w->flow);
    while (w->count > 0) {
        int i = random_below(&w->chance, w->count);
        struct serve_call *c = w->out[i];
        if (cut && random_below(&w->chance, 3) == 0) {
            serve_flow_cancel(w->flow);
            break;
        }
        w->out[i] = w->out[--w->count];
        tell(w, c);
    }
    ck_assert_int_eq(w->count, 0);
    serve_flow_free(w->flow);
}

static void compare(uint64_t *chance, int seed)
{
    json_t *node = random_node(chance, 4);
    char *graph = json_dumps(node, JSON_ENCODE_ANY), input[20];
    struct world w = {.app = app_of(graph), .chance = *chance};

    snprintf(input, sizeof(input), "{\"k\":%d}", random_below(chance, 4));
    struct value want = eval(w.app, 0, input, true);
    bool cut = random_below(chance, 5) == 0;
    run(&w, input, cut);
    if (!cut)
        ck_assert_int_eq(w.done, 1);
    if (w.done == 1 && !want.unsure)
        ck_assert_msg(w.status == want.status && strcmp(w.text, want.text) == 0,
                      "seed %d: %s of %s: %d %s, not %d %s", seed, graph, input,
                      w.status, w.text, want.status, want.text);
    free(w.text);
    free(want.text);
    free(graph);
    json_decref(node);
    serve_app_free(w.app);
}

START_TEST(random_graph)
{
    uint64_t chance = (uint64_t)_i;

    for (int i = 0; i < 100; i++)
        compare(&chance, _i);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve random graphs");
    TCase *t = tcase_create("graph");

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, random_graph, 0, 30);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
