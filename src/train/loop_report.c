/* SPDX-License-Identifier: Apache-2.0
 *
 * What is told of a step. Its numbers come from the device while the next one is queued, so
 * that nothing waits for them: a step is pending until it is settled.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "train/loop.h"

enum { MARK = 2 }; /* slots 2 and 3: the sums of even and odd steps */
#define TELL_NS (2 * RWF_NS_PER_S)

static float *host_of(const struct loop *l, int slot)
{
    return l->host + slot * (l->sums + 1);
}

void loop__pend(struct loop *l, int64_t rows, double rate)
{
    const struct kernels *k = l->d->k;
    int slot = (int)(l->step % 2);
    float *to = host_of(l, slot);
    k->download(l->d->c, to, params_extra(l->params), (size_t)l->sums * sizeof(float));
    if (l->j.clip > 0)
        k->download(l->d->c, to + l->sums, params_squares(l->params), sizeof(float));
    k->mark(l->d->c, MARK + slot);
    l->pending = (struct loop_step){ .number = l->step, .slot = slot, .rate = rate,
                                     .rows = rows, .length = NAN };
}

int loop__settle(struct loop *l, struct rwf_err *err)
{
    struct loop_step *s = &l->pending;
    const float *sums = host_of(l, s->slot);
    if (s->number == 0 || s->settled)
        return 0;
    l->d->k->wait(l->d->c, MARK + s->slot);
    for (int i = 0; i < l->micros; i++)
        s->loss += (double)sums[i];
    s->loss /= loop__targets(l, s->rows);
    if (l->j.clip > 0)
        s->length = sqrt((double)sums[l->sums]);
    l->stop = l->stop || sums[l->micros] > 0;
    s->settled = true;
    l->rows_done += (double)s->rows;
    metrics_rate_add(&l->rate, rwf_clock_mono(), l->rows_done);
    if (l->j.clip > 0 && !isfinite(s->length))
        return loop__fail_not_finite(l, s->number, "the gradient", err);
    return 0;
}

int loop__fail_not_finite(struct loop *l, int64_t step, const char *what,
                          struct rwf_err *err)
{
    const char *where = params_not_finite(l->params);
    return rwf_fail(err, RWF_E_FAILED,
                    "%s of step %lld is not finite (NaN or infinite)%s%s: a lower "
                    "learning_rate, a warm-up or gradient_clipping may help, or the data "
                    "has such values",
                    what, (long long)step,
                    where != NULL ? ", and so are " : "; all weights and gradients are",
                    where != NULL ? where : "");
}

/* --- numbers --- */

static void set(json_t *o, const char *key, double value)
{
    if (isfinite(value))
        json_object_set_new(o, key, json_real(value));
}

/* The part of the time since the last call that was spent waiting for data. */
static double data_wait(struct loop *l)
{
    int64_t now = rwf_clock_mono();
    double waited = batches_waited(l->train);
    double part = (waited - l->waited_before) /
                  ((double)(now - l->waited_since) / (double)RWF_NS_PER_S);
    l->waited_before = waited;
    l->waited_since = now;
    return part;
}

static void add_rates(struct loop *l, json_t *o)
{
    double rate = metrics_rate_get(&l->rate);
    double peak = l->j.type == KERNEL_BF16 ? l->d->info.peak_bf16 : l->d->info.peak_f32;
    if (rate <= 0)
        return;
    if (l->tokens)
        set(o, "tokens_per_second", rate * l->j.length);
    else
        set(o, "samples_per_second", rate);
    if (peak > 0 && !device_is_host(l->d))
        set(o, "mfu", model_flops(l->model, l->tokens ? l->j.length : 1) * rate /
                          (peak * l->c->size));
}

static double progress_of(const struct loop *l)
{
    return (double)l->step / (double)l->j.steps;
}

bool loop__due(const struct loop *l)
{
    return l->pending.number % l->j.log_every == 0 || l->pending.number == 1;
}

void loop__tell(struct loop *l, const json_t *values)
{
    struct loop_step *s = &l->pending;
    json_t *o = json_object();
    s->told = true;
    set(o, "loss", s->loss);
    set(o, "learning_rate", s->rate);
    set(o, "gradient_norm", s->length);
    add_rates(l, o);
    set(o, "data_wait", data_wait(l));
    if (values != NULL)
        json_object_update(o, (json_t *)values);
    json_object_update(l->latest, o);
    if (l->metrics != NULL)
        metrics_log(l->metrics, s->number, o, progress_of(l));
    json_decref(o);
    l->told = rwf_clock_mono();
}

/* "1.2k" */
static const char *short_number(double v, char out[16])
{
    if (v < 1e4)
        snprintf(out, 16, "%.*f", v < 100 ? 1 : 0, v);
    else if (v < 1e7)
        snprintf(out, 16, "%.0fk", v / 1e3);
    else
        snprintf(out, 16, "%.1fM", v / 1e6);
    return out;
}

static char *describe(struct loop *l)
{
    struct rwf_str s = { 0 };
    char number[16];
    double rate = metrics_rate_get(&l->rate);
    rwf_str_addf(&s, "step %lld/%lld", (long long)l->step, (long long)l->j.steps);
    if (l->pending.settled)
        rwf_str_addf(&s, ", loss %.4g", l->pending.loss);
    if (rate > 0)
        rwf_str_addf(&s, ", %s %s/s",
                     short_number(rate * (l->tokens ? l->j.length : 1), number),
                     l->tokens ? "tokens" : "samples");
    return rwf_str_take(&s);
}

void loop__tell_progress(struct loop *l)
{
    int64_t now = rwf_clock_mono();
    if (l->metrics == NULL || now - l->told < TELL_NS)
        return;
    l->told = now;
    char *message = describe(l);
    metrics_report(l->metrics, l->step, NULL, progress_of(l), message);
    free(message);
}

/* --- the end --- */

static void print_summary(struct loop *l)
{
    char *curve = metrics_curve(l->metrics);
    char took[RWF_UNITS_LEN];
    printf("loss %s %.4g after %lld steps, %s", curve, l->pending.loss,
           (long long)l->step, rwf_duration_format(rwf_clock_mono() - l->started, took));
    if (!isnan(l->best))
        printf("; best %s %.4g at step %lld", l->j.best_metric, l->best,
               (long long)l->best_step);
    printf("%s\n", l->early ? "; stopped early" : "");
    fflush(stdout);
    free(curve);
}

/* The metrics of the step are those of its result, which may be an earlier checkpoint. They
 * are no point of a curve, and so have no step. */
static json_t *final_metrics(const struct loop *l)
{
    const json_t *of_result = json_object_get(l->result, "metrics");
    json_t *o = json_deep_copy(l->latest), *value;
    const char *key;
    json_object_foreach((json_t *)(uintptr_t)of_result, key, value)
        if (loop__is_evaluated(key) ||
            (l->j.best_metric != NULL && strcmp(key, l->j.best_metric) == 0))
            json_object_set(o, key, value);
    json_object_set_new(o, "steps", json_integer(l->step));
    json_object_set(o, "result_step", json_object_get(l->result, "step"));
    json_object_set_new(o, "parameters",
                        json_integer(model_layout(l->model)->parameters));
    if (l->j.steps_per_epoch > 0)
        json_object_set_new(o, "epochs",
                            json_real((double)l->step / (double)l->j.steps_per_epoch));
    return o;
}

int loop__finish_report(struct loop *l, struct rwf_err *err)
{
    if (l->metrics == NULL)
        return 0;
    json_t *o = final_metrics(l);
    print_summary(l);
    metrics_report(l->metrics, METRICS_NO_STEP, o, 1, l->early ? "stopped early" : "trained");
    json_decref(o);
    int rc = metrics_close(l->metrics, err);
    l->metrics = NULL;
    return rc;
}
