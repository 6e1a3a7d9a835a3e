/* SPDX-License-Identifier: Apache-2.0
 *
 * Recorded calls: what the stream is told between record and record_end becomes a
 * graph, which replay launches as one. A failure while recording is no failure of the
 * context: there is no graph then, and the caller does the calls himself.
 */
#include <stdio.h>
#include <stdlib.h>
#include "cuda.h"

struct kernel_graph {
    cudaGraphExec_t ready;
};

void cuda__record(struct kernel_context *c)
{
    /* Relaxed: what libraries load when they are first used may allocate. */
    c->recording =
        !c->failed[0] &&
        cudaStreamBeginCapture(c->stream, cudaStreamCaptureModeRelaxed) == cudaSuccess;
    cudaGetLastError();
}

struct kernel_graph *cuda__record_end(struct kernel_context *c)
{
    cudaGraph_t graph = NULL;
    struct kernel_graph *g = NULL;
    if (!c->recording)
        return NULL;
    c->recording = false;
    if (cudaStreamEndCapture(c->stream, &graph) == cudaSuccess && !c->failed[0] &&
        (g = calloc(1, sizeof *g)) &&
        cudaGraphInstantiate(&g->ready, graph, 0) != cudaSuccess) {
        free(g);
        g = NULL;
    }
    if (graph)
        cudaGraphDestroy(graph);
    if (!g)
        c->failed[0] = '\0';
    cudaGetLastError();
    return g;
}

void cuda__replay(struct kernel_context *c, struct kernel_graph *g)
{
    cuda__check(c, "replay", cudaGraphLaunch(g->ready, c->stream));
}

void cuda__graph_free(struct kernel_context *c, struct kernel_graph *g)
{
    if (!g)
        return;
    cuda__check(c, "graph_free", cudaGraphExecDestroy(g->ready));
    free(g);
}
