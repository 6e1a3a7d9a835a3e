/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of `raywf worker NUMBER`: says hello to the node on its socket, loads a
 * plugin, builds an actor if it is one's, and runs the calls that come through rings.
 *
 *   node -> worker   SERVE (the first one names the plugin), LEAVE, RETIRE
 *   worker -> node   HELLO, JOIN (with its number), READY once after the first SERVE
 *
 * Exactly one NATIVE_DONE answers every NATIVE_CALL of a ring that is served, in the
 * order of the calls. When the socket closes, the process ends at once.
 */
#ifndef RWF_NATIVE_WORKER_H
#define RWF_NATIVE_WORKER_H
#include <stdint.h>
#include "base/err.h"

#define NATIVE_WORKER_FD 3

/* Takes fd. Returns when it was told to retire and all that was sent is done, or after
 * its last call (max_calls, raywf_recycle): 0. -1: it could not join. */
int native_worker_run(int fd, uint64_t number, struct rwf_err *err);

#endif
