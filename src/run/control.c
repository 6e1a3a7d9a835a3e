/* SPDX-License-Identifier: Apache-2.0
 *
 * Ending a run before its time: signals, the deadline, `raywf stop`.
 *
 * Stopping is a drain: nothing starts any more, what runs gets TERM and its grace. A
 * second signal kills.
 */
#include "config.h"
#include "run/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "run/away.h"
#include "run/layout.h"
#include "run/service.h"

#define POLL_EVERY (20 * RWF_NS_PER_MS)

/* --- in the head --- */

static void log_stopped(struct engine *e)
{
    size_t count = plan_graph_count(e->graph);
    for (uint32_t i = 0; i < count; i++) {
        enum schedule_state state = schedule_state(e->schedule, i);
        if (state != STEP_RUNNING && !schedule_state_final(state))
            run_log_append(e->log, RUN_STEP_STOPPED,
                           json_pack("{s:s}", "step", engine__step_at(e, i)->address));
    }
}

void engine__stop(struct engine *e, const char *reason, int exit_code)
{
    struct engine__attempt *a, *next;
    if (e->stopping)
        return;
    e->stopping = true;
    engine__blame(e, exit_code);
    run_log_append(e->log, RUN_RUN_STOPPING, json_pack("{s:s}", "reason", reason));
    log_stopped(e);
    schedule_stop(e->schedule);
    for (a = LIST_FIRST(&e->running); a != NULL; a = next) {
        next = LIST_NEXT(a, link);
        engine__attempt_stop(a);
    }
}

void engine__attempt_stop(struct engine__attempt *a)
{
    if (a->proc != NULL)
        proc_stop(a->proc);
    else if (a->away != NULL)
        engine__away_stop(a, false);
    else
        engine__call_stop(a, false);
}

void engine__preempt(struct engine *e, uint32_t step, uint32_t because)
{
    struct engine__attempt *a;
    (void)because;
    LIST_FOREACH(a, &e->running, link)
    if (a->step->index == step && a->call == NULL) {
        a->preempted = true;
        engine__attempt_stop(a);
        return;
    }
}

void engine__kill_all(struct engine *e)
{
    struct engine__attempt *a, *next;
    for (a = LIST_FIRST(&e->running); a != NULL; a = next) {
        next = LIST_NEXT(a, link);
        if (a->proc != NULL)
            proc_kill(a->proc);
        else if (a->away != NULL)
            engine__away_stop(a, true);
        else
            engine__call_stop(a, true);
    }
    engine__service_kill(e);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct engine *e = handle->data;
    const char *reason = signum == SIGTERM ? "stop" : "signal";
    if (e->stop_signals++ > 0)
        engine__kill_all(e);
    else if (!engine__service_leave(e, reason))
        engine__stop(e, reason, RWF_E_STOPPED - RWF_E_BASE);
}

static void on_deadline(uv_timer_t *timer)
{
    engine__stop(timer->data, "deadline", RWF_E_DEADLINE - RWF_E_BASE);
}

/* What our parent had us ignore (nohup, a job in the background) we go on ignoring. */
static bool is_ignored(int signum)
{
    struct sigaction now;
    return signum != SIGTERM && sigaction(signum, NULL, &now) == 0 &&
           now.sa_handler == SIG_IGN;
}

static int watch_signals(struct engine *e, struct rwf_err *err)
{
    static const int signums[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < 3; i++) {
        uv_signal_init(&e->loop, &e->signals[i]);
        e->signals[i].data = e;
        if (is_ignored(signums[i]))
            continue;
        int failed = uv_signal_start(&e->signals[i], on_signal, signums[i]);
        if (failed != 0)
            return rwf_fail(err, RWF_E_ENV, "cannot watch signals: %s",
                            uv_strerror(failed));
    }
    return 0;
}

int engine__control_start(struct engine *e, struct rwf_err *err)
{
    int64_t ms = (e->options->timeout + RWF_NS_PER_MS - 1) / RWF_NS_PER_MS;
    uv_timer_init(&e->loop, &e->deadline);
    e->deadline.data = e;
    if (ms > 0)
        uv_timer_start(&e->deadline, on_deadline, (uint64_t)ms, 0);
    return watch_signals(e, err);
}

/* --- from another process --- */

int engine_active(const char *root, const char *id)
{
    char *path = run_log_path(root, id);
    int pid = run_log_holder(path);
    free(path);
    return pid;
}

int engine_stop(const char *root, const char *id, int64_t timeout, struct rwf_err *err)
{
    int64_t until = timeout > 0 ? rwf_clock_mono() + timeout : INT64_MAX;
    const struct timespec nap = {0, POLL_EVERY};
    int pid = engine_active(root, id);
    if (pid <= 0)
        return rwf_fail(err, RWF_E_NORUN, "run %s is not active: nothing to stop", id);
    if (kill(pid, SIGTERM) != 0)
        return rwf_fail(err, errno == ESRCH ? RWF_E_NORUN : RWF_E_ENV,
                        "cannot signal pid %d, which drives run %s: %s", pid, id,
                        strerror(errno));
    while (engine_active(root, id) == pid) {
        if (rwf_clock_mono() >= until)
            return rwf_fail(err, RWF_E_DEADLINE,
                            "run %s is still ending its steps (pid "
                            "%d); stopping it once more kills them",
                            id, pid);
        nanosleep(&nap, NULL);
    }
    return 0;
}
