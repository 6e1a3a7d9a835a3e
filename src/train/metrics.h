/* SPDX-License-Identifier: Apache-2.0
 *
 * What a training tells while it goes on, on rank 0: JSON lines into the report (a FIFO that
 * somebody may or may not read; it never holds training up for long), the same numbers into
 * metrics.jsonl and TensorBoard, rates over the last seconds, and the loss curve at the end.
 */
#ifndef RWF_TRAIN_METRICS_H
#define RWF_TRAIN_METRICS_H
#include <jansson.h>
#include <stdint.h>
#include "base/err.h"

struct metrics;

struct metrics_options {
    const char *report;      /* or NULL */
    const char *file;        /* metrics.jsonl */
    const char *tensorboard; /* folder, or NULL */
    int64_t step;            /* that training starts after: later lines of an earlier attempt
                                are dropped from the file */
};

struct metrics *metrics_open(const struct metrics_options *o, struct rwf_err *err);
/* values: an object of numbers (borrowed). Writes everywhere. */
void metrics_log(struct metrics *m, int64_t step, const json_t *values, double progress);
/* Puts what was logged into the files, which else happens each second: then the end of this
 * process does not end it. What cannot be written is kept for the next time. */
void metrics_flush(struct metrics *m);
enum { METRICS_NO_STEP = -1 }; /* of no step: values of the whole, not of a curve */
/* To the report alone. values and message may be NULL. */
void metrics_report(struct metrics *m, int64_t step, const json_t *values, double progress,
                    const char *message);
/* The losses that were logged, first to last, as one line of blocks; the caller frees. */
char *metrics_curve(const struct metrics *m);
/* NULL is fine. -1: the files lack something. */
int metrics_close(struct metrics *m, struct rwf_err *err);

/* --- rates --- */

enum { METRICS_SAMPLES = 64 };

/* Zero-initialise. */
struct metrics_rate {
    struct {
        int64_t time;
        double done;
    } samples[METRICS_SAMPLES];
    uint64_t count;
};

/* done: so far, at time (ns). */
void metrics_rate_add(struct metrics_rate *r, int64_t time, double done);
/* Per second, over the last five seconds or so; 0: not known yet. */
double metrics_rate_get(const struct metrics_rate *r);

#endif
