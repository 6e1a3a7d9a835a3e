/* SPDX-License-Identifier: Apache-2.0
 *
 * SVG through Graphviz, opened only here. What it is given is our own dot text of a
 * bounded size, so that a layout takes well under a second.
 */
#include "config.h"
#include "plan/picture.h"

#include <string.h>
#include "base/dl.h"
#include "base/mem.h"

/* Graphviz's own types stay opaque. */
static struct {
    void *(*context)(void);
    int (*layout)(void *gvc, void *graph, const char *engine);
    int (*free_layout)(void *gvc, void *graph);
    int (*render)(void *gvc, void *graph, const char *format, char **result,
                  size_t *len);
    void (*free_render)(char *result);
    void *(*read)(const char *text);
    int (*close)(void *graph);
    int (*set_errors)(int level);
} api;

#ifdef __SANITIZE_ADDRESS__
/* The libraries beneath Graphviz's plug-ins keep their fonts for ever. The sanitizer
 * finds this by name. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfontconfig\nleak:libpango\nleak:libgobject\nleak:libglib\n";
}
#endif

#define NO_MESSAGES 2 /* AGMAX: above every level */

static int open_graphviz(struct rwf_err *err)
{
    static const char *const gvc[] = {"libgvc.so.6", "libgvc.so.7", "libgvc.so", NULL};
    static const char *const cgraph[] = {"libcgraph.so.6", "libcgraph.so.8",
                                         "libcgraph.so", NULL};
    static const struct rwf_dl_symbol gvc_symbols[] = {
        {"gvContext", &api.context},
        {"gvLayout", &api.layout},
        {"gvFreeLayout", &api.free_layout},
        {"gvRenderData", &api.render},
        {"gvFreeRenderData", &api.free_render},
    };
    static const struct rwf_dl_symbol cgraph_symbols[] = {
        {"agmemread", &api.read},
        {"agclose", &api.close},
        {"agseterr", &api.set_errors},
    };

    if (api.set_errors)
        return 0;
    if (rwf_dl_open(gvc, gvc_symbols, RWF_COUNT(gvc_symbols), err) < 0 ||
        rwf_dl_open(cgraph, cgraph_symbols, RWF_COUNT(cgraph_symbols), err) < 0) {
        if (err)
            err->code = RWF_E_ENV;
        return rwf_wrap(err,
                        "drawing SVG needs Graphviz (install libgraphviz-dev, or use "
                        "--format dot or mermaid)");
    }
    return 0;
}

/* Without the XML prologue and comments before <svg>. */
static void add_element(struct rwf_str *out, const char *svg)
{
    const char *start = strstr(svg, "<svg");

    rwf_str_add(out, start ? start : svg);
}

static int draw(void *gvc, void *graph, struct rwf_str *out, struct rwf_err *err)
{
    char *svg = NULL;
    size_t len = 0;
    int rc = -1;

    if (api.layout(gvc, graph, "dot") != 0)
        return rwf_fail(err, RWF_E_ENV,
                        "Graphviz has no layout 'dot': its plug-ins are not "
                        "installed (try `dot -c` as root)");
    if (api.render(gvc, graph, "svg", &svg, &len) == 0 && svg) {
        add_element(out, svg);
        rc = 0;
    } else {
        rwf_fail(err, RWF_E_ENV,
                 "Graphviz cannot write SVG: its plug-ins are not installed "
                 "(try `dot -c` as root)");
    }
    if (svg)
        api.free_render(svg);
    api.free_layout(gvc, graph);
    return rc;
}

int plan_picture_svg(const struct plan_graph *g, plan_class_fn cls, void *ctx,
                     struct rwf_str *out, struct rwf_err *err)
{
    static void *gvc; /* kept: plug-ins are opened once */
    struct rwf_str dot = {0};
    void *graph;
    int rc = -1;

    if (open_graphviz(err) < 0)
        return -1;
    plan_picture_dot(g, cls, ctx, &dot);
    api.set_errors(NO_MESSAGES);
    if (!gvc)
        gvc = api.context();
    graph = gvc ? api.read(dot.data) : NULL;
    if (graph)
        rc = draw(gvc, graph, out, err);
    else
        rwf_fail(err, RWF_E_ENV, "Graphviz cannot read the graph");
    if (graph)
        api.close(graph);
    rwf_str_free(&dot);
    return rc;
}
