/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RWF_NODE_MEMORY_H
#define RWF_NODE_MEMORY_H
#include <stdint.h>

struct node__memory {
    int64_t used, total; /* bytes */
};

/* Of the machine, or of the cgroup we are in, whichever is nearer to its end. What the
 * kernel can drop at once (files' pages) does not count as used. */
void node__memory(struct node__memory *ret);
/* Processes that the kernel has killed because memory had run out, since it started. */
int64_t node__oom_kills(void);

#endif
