/* SPDX-License-Identifier: Apache-2.0
 *
 * What the section `cluster` says about nodes that are not there yet.
 */
#ifndef RWF_CLUSTER_KNOWN_H
#define RWF_CLUSTER_KNOWN_H
#include <jansson.h>

/* Of all nodes together; -1: not known before they are up. */
struct cluster_known {
    double nodes, cpu, memory, gpu;
};
/* spec: resolved, as cluster_up takes it; one that cannot be brought up is not known. */
void cluster_known(const json_t *spec, struct cluster_known *ret);

#endif
