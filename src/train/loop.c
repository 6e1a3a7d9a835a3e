/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop. Everything of a step is queued on the device; the host is at most one step
 * ahead. Only the losses of this rank are awaited within the step, after the forward pass and
 * while the backward pass goes on: so no update is made of a loss that is not finite.
 *
 * What one rank alone knows (it was told to stop) becomes known to all in a sum of the step,
 * so that all do the same after the same step.
 */
#include "config.h"
#include "train/job.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "train/loop.h"

enum { MARK = 6 }; /* the slot of this rank's losses */

static volatile sig_atomic_t told_to_stop;

static void on_signal(int number)
{
    (void)number;
    told_to_stop = 1;
}

/* mpirun passes SIGUSR1 on to the ranks as it is. */
static void catch_signals(void)
{
    struct sigaction a = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    sigemptyset(&a.sa_mask);
    sigaction(SIGTERM, &a, NULL);
    sigaction(SIGUSR1, &a, NULL);
    a.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &a, NULL);
}

/* --- a step --- */

static float *own_losses(const struct loop *l)
{
    return l->host + 2 * (l->sums + 1);
}

/* The sum of each micro batch's losses goes to its place in the step's sums. */
static void queue_loss(struct loop *l, int i, int rows)
{
    int64_t n = (int64_t)rows * (l->tokens ? l->j.length : 1);
    l->d->k->sum(l->d->c, params_extra(l->params) + i, model_losses(l->model), n);
}

static void queue_own_losses(struct loop *l)
{
    l->d->k->download(l->d->c, own_losses(l), params_extra(l->params),
                      (size_t)l->micros * sizeof(float));
    l->d->k->mark(l->d->c, MARK);
}

static int check_own_losses(struct loop *l, struct rwf_err *err)
{
    const float *losses = own_losses(l);
    l->d->k->wait(l->d->c, MARK);
    for (int i = 0; i < l->micros; i++)
        if (!isfinite(losses[i]))
            return loop__fail_not_finite(l, l->step + 1, "the loss", err);
    return 0;
}

/* A rank without rows takes part in what needs all ranks, and adds nothing. */
static void empty_pass(struct loop *l, float scale, int pass)
{
    if (l->dummy.block == NULL)
        return;
    struct model_batch b = loop__dummy(l);
    params_begin_pass(l->params, pass | PARAMS_IGNORE);
    model_forward(l->model, &b, scale, 0);
    model_backward(l->model, &b);
}

static void micro_pass(struct loop *l, const struct batches_micro *m, int i)
{
    float scale = (float)(1 / loop__targets(l, m->global));
    int pass = m->last ? PARAMS_LAST : PARAMS_ADD;
    if (m->rows > 0) {
        struct model_batch b = loop__batch(l, m);
        params_begin_pass(l->params, pass);
        model_forward(l->model, &b, scale,
                      (uint64_t)l->step * (uint64_t)l->micros + (uint64_t)i);
        queue_loss(l, i, m->rows);
        if (m->last)
            queue_own_losses(l);
        model_backward(l->model, &b);
    } else {
        if (m->last)
            queue_own_losses(l);
        empty_pass(l, scale, pass);
    }
}

static int do_step(struct loop *l, struct rwf_err *err)
{
    const struct batches_micro *m;
    double rate = schedule_rate(&l->j.schedule, l->step);
    int64_t rows;
    int i = 0;
    params_begin_step(l->params);
    do {
        m = batches_next(l->train);
        rwf_assert(m != NULL && i < l->micros);
        micro_pass(l, m, i++);
    } while (!m->last);
    rows = m->global;
    if (told_to_stop)
        l->d->k->upload(l->d->c, params_extra(l->params) + l->micros,
                        l->host + 3 * (l->sums + 1), sizeof(float));
    if (check_own_losses(l, err) != 0 ||
        params_finish_step(l->params, rate, l->step + 1, err) != 0 ||
        loop__settle(l, err) != 0)
        return -1;
    if (l->pending.number > 0 && loop__due(l) && !l->pending.told)
        loop__tell(l, NULL);
    l->step++;
    loop__pend(l, rows, rate);
    heartbeat_alive(l->beat);
    return loop__save_write(l, err);
}

/* --- between steps --- */

static bool is_due(int64_t step, int64_t every)
{
    return every > 0 && step % every == 0;
}

/* Evaluates and saves when it is time; `last`: it is. */
static int after_step(struct loop *l, struct rwf_err *err)
{
    bool last = l->step >= l->j.steps || l->stop;
    bool evaluates = l->val != NULL && !l->stop && (last || is_due(l->step, l->j.eval_every));
    bool saves = last || is_due(l->step, l->j.save_every);
    json_t *values = NULL;
    if (!evaluates && !saves)
        return 0;
    if (loop__settle(l, err) != 0)
        return -1;
    if (evaluates) {
        if (loop__evaluate(l, &values, err) != 0)
            return -1;
        bool best = loop__judge(l, values);
        saves = saves || l->early || (best && l->j.keep_best > 0);
    }
    if (evaluates || loop__due(l) || last)
        loop__tell(l, values);
    json_decref(values);
    return saves ? loop__save(l, err) : 0;
}

static int stopped(struct loop *l, struct rwf_err *err)
{
    if (loop__save_write(l, err) != 0 || loop__save_wait(l, err) != 0)
        return -1;
    l->c->ops->barrier(l->c->ctx);
    return rwf_fail(err, RWF_E_STOPPED, "stopped after step %lld of %lld, with a checkpoint",
                    (long long)l->step, (long long)l->j.steps);
}

static int do_steps(struct loop *l, struct rwf_err *err)
{
    while (l->step < l->j.steps && !l->early && !l->stop) {
        if (do_step(l, err) != 0 || after_step(l, err) != 0)
            return -1;
        loop__tell_progress(l);
    }
    return l->stop && l->step < l->j.steps ? stopped(l, err) : 0;
}

/* --- the end --- */

static int copy_metrics(struct loop *l, struct rwf_err *err)
{
    char *from = rwf_fs_join(l->j.checkpoints, "metrics.jsonl");
    char *to = rwf_fs_join(l->j.work, "metrics.jsonl");
    size_t len;
    char *text = rwf_fs_read(from, SIZE_MAX / 2, &len, err);
    int rc = text != NULL ? rwf_fs_write(to, text, len, false, err) : -1;
    free(text);
    free(from);
    free(to);
    return rc;
}

static int finish(struct loop *l, struct rwf_err *err)
{
    if (loop__save_write(l, err) != 0 || loop__save_wait(l, err) != 0 ||
        device_sync(l->d, err) != 0 || loop__export(l, err) != 0 ||
        loop__finish_report(l, err) != 0)
        return -1;
    if (l->c->rank == 0 && copy_metrics(l, err) != 0)
        return -1;
    if (loop__sample(l, err) != 0)
        return -1;
    l->c->ops->barrier(l->c->ctx);
    return 0;
}

int train_loop(const json_t *job, struct device *d, struct comm *c, struct rwf_err *err)
{
    struct loop *l = rwf_xcalloc(1, sizeof(*l));
    l->d = d;
    l->c = c;
    told_to_stop = 0;
    catch_signals();
    int rc = loop__job(&l->j, job, err);
    if (rc == 0)
        rc = loop__open(l, err);
    if (rc == 0)
        rc = do_steps(l, err);
    if (rc == 0)
        rc = finish(l, err);
    loop__close(l);
    free(l);
    return rc;
}
