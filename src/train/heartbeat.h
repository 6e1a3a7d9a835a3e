/* SPDX-License-Identifier: Apache-2.0
 *
 * A sign of life for who watches a rank: the modification time of FOLDER/rank.N is that of
 * the rank's last progress, to about a second. A thread touches it, but only after the main
 * thread has called heartbeat_alive since the last time: a rank that hangs stops beating.
 */
#ifndef RWF_TRAIN_HEARTBEAT_H
#define RWF_TRAIN_HEARTBEAT_H
#include <stdbool.h>
#include "base/err.h"

struct heartbeat;

/* NULL and *err when the file cannot be made. */
struct heartbeat *heartbeat_open(const char *folder, int rank, int interval_ms,
                                 struct rwf_err *err);
/* Costs next to nothing; ctx is a struct heartbeat, or NULL. */
void heartbeat_alive(void *ctx);
/* While a disk works for the rank, which may take long, the thread beats by itself. */
void heartbeat_busy(struct heartbeat *h, bool busy);
void heartbeat_close(struct heartbeat *h);

#endif
