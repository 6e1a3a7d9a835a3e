/* SPDX-License-Identifier: Apache-2.0
 *
 * TensorBoard event files: records of length, masked CRC-32C, an Event message, CRC. Written
 * by hand: three message types (tensorflow/core/util/event.proto, summary.proto).
 */
#ifndef RWF_TRAIN_TENSORBOARD_H
#define RWF_TRAIN_TENSORBOARD_H
#include <stdint.h>
#include "base/err.h"

struct tensorboard;

/* Creates DIR/events.out.tfevents.TIME.raywf.PID. */
struct tensorboard *tensorboard_open(const char *folder, struct rwf_err *err);
/* Scalars appear under their tag; buffered until tensorboard_flush. */
void tensorboard_scalar(struct tensorboard *t, const char *tag, int64_t step, double value);
/* What older files of the folder have from step on is no longer shown: for a resume, which
 * repeats those steps. */
void tensorboard_restart(struct tensorboard *t, int64_t step);
/* -1 when the disk is full: what was buffered stays so, for the next flush. */
int tensorboard_flush(struct tensorboard *t, struct rwf_err *err);
/* Flushes, too. */
void tensorboard_close(struct tensorboard *t);

#endif
