/* SPDX-License-Identifier: Apache-2.0
 *
 * The validation split through the model, each rank its part. Sums are taken on the device
 * for each micro batch and added on the host in double, over the ranks at the end: all ranks
 * get the same numbers, and decide alike.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "train/loop.h"

enum { MARK = 4 }; /* slots 4 and 5 */

/* One array, so that ranks can add theirs up. SQUARES and ROWS are of a regression's targets,
 * and so is the sum of each target, from VALUES on. */
enum { LOSS, CORRECT, TARGETS, SQUARES, ROWS, VALUES };

/* The variance is of the targets themselves: they are on the host. */
static void add_values(const struct loop *l, double *sums, const struct batches_micro *m)
{
    if (m->values == NULL)
        return;
    for (int row = 0; row < m->rows; row++)
        for (int i = 0; i < l->outputs; i++) {
            double v = (double)m->values[(int64_t)row * l->outputs + i];
            sums[VALUES + i] += v;
            sums[SQUARES] += v * v;
        }
    sums[ROWS] += m->rows;
}

/* The sum of squares about each target's own mean. */
static double spread_of(const struct loop *l, const double *sums)
{
    double spread = sums[SQUARES];
    for (int i = 0; i < l->outputs && sums[ROWS] > 0; i++)
        spread -= sums[VALUES + i] * sums[VALUES + i] / sums[ROWS];
    return spread;
}

/* Queues the sums of the last forward into slot; they are added when the slot is taken. */
static void queue_sums(struct loop *l, int slot, int rows)
{
    const struct kernels *k = l->d->k;
    int64_t n = (int64_t)rows * (l->tokens ? l->j.length : 1);
    float *device = params_extra(l->params) + slot * 2, *host = l->host + slot * 2;
    const float *correct = model_correct(l->model);
    k->zero(l->d->c, device, 2 * sizeof(float));
    if (rows > 0)
        k->sum(l->d->c, device, model_losses(l->model), n);
    if (rows > 0 && correct != NULL)
        k->sum(l->d->c, device + 1, correct, n);
    k->download(l->d->c, host, device, 2 * sizeof(float));
    k->mark(l->d->c, MARK + slot);
}

static void take_sums(struct loop *l, int slot, double *sums)
{
    l->d->k->wait(l->d->c, MARK + slot);
    sums[LOSS] += (double)l->host[slot * 2];
    sums[CORRECT] += (double)l->host[slot * 2 + 1];
}

static void forward(struct loop *l, const struct batches_micro *m)
{
    bool dummy = m->rows == 0;
    struct model_batch b;
    if (dummy && l->dummy.block == NULL)
        return;
    b = dummy ? loop__dummy(l) : loop__batch(l, m);
    params_begin_pass(l->params, PARAMS_FORWARD);
    model_forward(l->model, &b, 0, 0);
}

static void pass(struct loop *l, double *sums)
{
    const struct batches_micro *m;
    int64_t count = 0, globals = 0;
    batches_seek(l->val, 0);
    while ((l->j.eval_batches == 0 || globals < l->j.eval_batches) &&
           (m = batches_next(l->val)) != NULL) {
        if (count >= 2)
            take_sums(l, (int)(count % 2), sums);
        forward(l, m);
        add_values(l, sums, m);
        queue_sums(l, (int)(count % 2), m->rows);
        sums[TARGETS] += loop__targets(l, m->rows);
        globals += m->last;
        count++;
        heartbeat_alive(l->beat);
    }
    for (int64_t i = count >= 2 ? count - 2 : 0; i < count; i++)
        take_sums(l, (int)(i % 2), sums);
}

static void set(json_t *o, const char *key, double value)
{
    if (isfinite(value))
        json_object_set_new(o, key, json_real(value));
}

int loop__evaluate(struct loop *l, json_t **ret, struct rwf_err *err)
{
    int count = VALUES + l->outputs;
    double *sums = rwf_xcalloc((size_t)count, sizeof(*sums));
    pass(l, sums);
    if (device_sync(l->d, err) != 0) {
        free(sums);
        return -1;
    }
    l->c->ops->host_sum(l->c->ctx, sums, count);
    double loss = sums[LOSS] / sums[TARGETS], spread = spread_of(l, sums);
    *ret = json_object();
    set(*ret, "val_loss", loss);
    if (l->tokens)
        set(*ret, "perplexity", exp(loss));
    else if (l->classes)
        set(*ret, "val_accuracy", sums[CORRECT] / sums[TARGETS]);
    else if (spread > 0)
        set(*ret, "val_r2", 1 - sums[LOSS] / spread);
    free(sums);
    return 0;
}

/* --- what it means --- */

bool loop__is_evaluated(const char *metric)
{
    return strncmp(metric, "val_", 4) == 0 || strcmp(metric, "perplexity") == 0;
}

static bool better(double value, double than, bool max, double by)
{
    return isnan(than) || (max ? value > than + by : value < than - by);
}

bool loop__judge(struct loop *l, const json_t *values)
{
    const struct loop_job *j = &l->j;
    l->evaluated = l->step;
    const json_t *v = j->best_metric != NULL ? json_object_get(values, j->best_metric) : NULL;
    bool best = json_is_number(v) &&
                better(json_number_value(v), l->best, j->best_max, 0);
    if (best) {
        l->best = json_number_value(v);
        l->best_step = l->step;
    }
    v = j->stops_early ? json_object_get(values, j->stop_metric) : NULL;
    if (json_is_number(v)) {
        bool up = better(json_number_value(v), l->stop_best, j->stop_max, j->min_delta);
        if (up)
            l->stop_best = json_number_value(v);
        l->bad = up ? 0 : l->bad + 1;
        l->early = l->bad >= j->patience;
    }
    return best;
}
