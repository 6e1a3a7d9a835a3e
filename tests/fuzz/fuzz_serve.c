/* SPDX-License-Identifier: Apache-2.0
 *
 * Applications from any JSON, as a recipe says them and as a state file or socket
 * brings them whole. One that is taken gets a request: the bytes after the first
 * newline go through its graph, with deployments that answer, fail, and wait by what is
 * in the input.
 */
#include "config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "serve/balance.h"
#include "serve/graph.h"
#include "serve/route.h"
#include "serve/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUT_MAX = 64 };

struct world {
    struct serve_call *out[OUT_MAX];
    int count, done;
    uint64_t chance;
};

static void tell(struct world *w, struct serve_call *c)
{
    uint64_t chance = serve_random(&w->chance);
    struct serve_data data = c->input;

    if (chance % 8 == 0)
        serve_flow_failed(c, 400 + (int)(chance >> 8) % 200, &data, NULL);
    else if (chance % 8 == 1)
        serve_flow_failed(c, 502, NULL, "it died");
    else
        serve_flow_output(c, 200, &data);
}

static void call(void *ctx, struct serve_call *c)
{
    struct world *w = ctx;

    if (w->count == OUT_MAX || serve_random(&w->chance) % 2 == 0)
        tell(w, c);
    else
        w->out[w->count++] = c;
}

static void cancel(void *ctx, struct serve_call *c)
{
    struct world *w = ctx;
    int i = 0;

    while (i < w->count && w->out[i] != c)
        i++;
    if (i == w->count)
        abort(); /* cancelled what was not out */
    w->out[i] = w->out[--w->count];
}

static const char *header(void *ctx, const char *name)
{
    (void)ctx;
    return *name == 'X' ? name : NULL;
}

static void done(void *ctx, int status, const struct serve_data *out, const char *why)
{
    struct world *w = ctx;

    if (w->done++ || w->count > 0 || (status >= 400) != (why != NULL) ||
        (out->size > 0 && out->bytes == NULL))
        abort();
}

static void ask(const struct serve_app *a, const uint8_t *data, size_t size)
{
    static const struct serve_flow_driver driver = {call, cancel, header, done};
    struct serve_data input = {.bytes = data, .size = size};
    struct world w = {.chance = serve_hash(data, size)};
    uint64_t chance = 1;
    struct serve_flow *f = serve_flow_create(a, &driver, &w, &input, &chance);

    serve_flow_begin(f);
    while (w.count > 0) {
        struct serve_call *c = w.out[--w.count];
        tell(&w, c);
    }
    if (w.done != 1)
        abort();
    serve_flow_free(f);
}

static void check(const struct serve_app *a)
{
    struct serve_routes *routes = serve_routes_create();

    if (serve_routes_add(routes, a->prefix, (void *)(uintptr_t)a, NULL) != 0)
        abort(); /* a prefix that was taken is a route */
    serve_routes_destroy(routes);
    for (int i = 0; i < a->node_count; i++)
        for (int k = 0; k < a->nodes[i].branch_count; k++)
            if (a->nodes[i].branches[k].node <= i)
                abort(); /* no tree */
}

static void read_spec(json_t *spec, const uint8_t *data, size_t size)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct serve_app *a = serve_app_read(spec, &err);

    if (a == NULL && err.text[0] == '\0')
        abort();
    if (a != NULL) {
        check(a);
        ask(a, data, size);
    }
    serve_app_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t len = end != NULL ? (size_t)(end - data) : size;
    size_t rest = end != NULL ? size - len - 1 : 0;
    json_t *json =
        len > 0 ? json_loadb((const char *)data, len, JSON_ALLOW_NUL, NULL) : NULL;
    struct rwf_err err = RWF_ERR_INIT;

    if (json == NULL)
        return 0;
    json_t *spec = serve_spec_complete("fuzz", json, &err);
    if (spec == NULL && err.text[0] == '\0')
        abort();
    if (spec != NULL)
        read_spec(spec, data + size - rest, rest);
    read_spec(json, data + size - rest, rest);
    json_decref(spec);
    json_decref(json);
    return 0;
}
