/* SPDX-License-Identifier: Apache-2.0
 *
 * The CPU made to behave as a GPU does: its memory is not the host's (as far as anybody
 * asks), calls are queued and done only when somebody waits, steps are recorded and
 * replayed. What reads a result too early, or changes what an upload still has to read,
 * is seen.
 */
#ifndef RWF_TESTS_LLM_DEFERRED_H
#define RWF_TESTS_LLM_DEFERRED_H
#include "tensor/device.h"

/* Of an open CPU device; one at a time in a process. */
void llm_deferred(struct device *d);
/* Graphs that were recorded, and replays, so far. */
int llm_deferred_recorded(void);
int llm_deferred_replayed(void);

#endif
