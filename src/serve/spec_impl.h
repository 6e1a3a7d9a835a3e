/* SPDX-License-Identifier: Apache-2.0
 *
 * What the readers of an application share.
 */
#ifndef RWF_SERVE_SPEC_IMPL_H
#define RWF_SERVE_SPEC_IMPL_H
#include <stdbool.h>
#include "serve/spec.h"

enum {
    SPEC_DEPLOYMENTS_MAX = 1000,
    SPEC_NODES_MAX = 10000,
    SPEC_DEPTH_MAX = 64, /* of a graph */
    SPEC_ONGOING_MAX = 1000000,
};

struct spec_read {
    struct serve_app *app;
    struct rwf_err *err;
    char where[160]; /* "deployments.main"; "" is the top */
    bool failed;     /* *err tells; what follows says nothing more */
};

/* "serve.api: WHERE.key what", once; -1. */
int spec_wrong(struct spec_read *r, const char *key, const char *what);
/* Fills nodes; each deployment is called somewhere. */
int spec_read_graph(struct spec_read *r, const json_t *graph);

#endif
