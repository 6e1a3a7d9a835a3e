/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of graphs share: the memory of a flow, and what nodes do with JSON.
 */
#ifndef RWF_SERVE_GRAPH_IMPL_H
#define RWF_SERVE_GRAPH_IMPL_H
#include "serve/graph.h"

/* Memory that dies with its flow: the first block lies in the flow itself. */
struct flow_arena {
    struct flow_block *blocks;
    unsigned char *at;
    size_t left;
};

void *flow_alloc(struct flow_arena *a, size_t size); /* not zeroed */
struct serve_data flow_copy(struct flow_arena *a, const struct serve_data *data);
char *flow_printf(struct flow_arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void flow_release(struct flow_arena *a);

/* The branch of a switch for an input; -1: none, *ret_why (in the arena) says why. */
int flow_switch(struct flow_arena *a, const struct serve_node *node,
                const struct serve_data *input, const char **ret_why);
/* {"name": output, …} of a fanout's outputs, one per branch; 0, or -1 and *ret_why. */
int flow_join(struct flow_arena *a, const struct serve_node *node,
              const struct serve_data *outputs, struct serve_data *ret,
              const char **ret_why);

#endif
