/* SPDX-License-Identifier: Apache-2.0
 *
 * Why a process ended. The kernel's word on memory comes first (a limit that was hit
 * makes programs fail in many ways), then what we did to it, then what it did itself.
 */
#include "config.h"
#include "node/outcome.h"
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/units.h"

static const struct {
    int code;
    const char *why;
} exit_notes[] = {
    { 126, "a command in it is not executable, or no program" },
    { 127, "a command in it was not found: look at its name and at PATH; a file beside "
           "the recipe is ${recipe.dir}/NAME" },
};

static const char *signal_name(int sig)
{
    const char *name = sigabbrev_np(sig);
    return name ? name : "?";
}

static void describe_exit(struct proc_exit *r)
{
    const char *why = NULL;
    for (size_t i = 0; i < RWF_COUNT(exit_notes); i++)
        if (exit_notes[i].code == r->exit_code)
            why = exit_notes[i].why;
    char buf[128];
    int sig = r->exit_code - 128;
    if (sig > 0 && sig < SIGRTMIN && sigabbrev_np(sig)) {
        snprintf(buf, sizeof(buf), "128 + %d: a command in it was killed by SIG%s", sig,
                 signal_name(sig));
        why = buf;
    }
    snprintf(r->message, sizeof(r->message), "exit code %d%s%s%s", r->exit_code,
             why ? " (" : "", why ? why : "", why ? ")" : "");
}

static void describe_oom(const struct node__facts *f, struct proc_exit *r)
{
    char limit[RWF_UNITS_LEN], peak[RWF_UNITS_LEN];
    int64_t most = node__limit_peak(f->limit);
    rwf_size_format(f->limit->bytes, limit);
    rwf_size_format(most, peak);
    snprintf(r->message, sizeof(r->message),
             "over its memory limit of %s%s%s%s: raise resources.memory or make it use "
             "less", limit, most > 0 ? " (peak " : "", most > 0 ? peak : "",
             most > 0 ? ")" : "");
}

static void describe(const struct node__facts *f, struct proc_exit *r)
{
    char span[RWF_UNITS_LEN];
    switch (r->cause) {
    case PLAN_CAUSE_OOM:
        describe_oom(f, r);
        break;
    case PLAN_CAUSE_TIMEOUT:
        snprintf(r->message, sizeof(r->message), "timed out after %s",
                 rwf_duration_format(f->timeout, span));
        break;
    case PLAN_CAUSE_STOPPED:
        snprintf(r->message, sizeof(r->message), "stopped by request");
        break;
    case PLAN_CAUSE_SIGNAL:
        snprintf(r->message, sizeof(r->message), "killed by signal %d (SIG%s)%s",
                 r->signal, signal_name(r->signal),
                 WCOREDUMP(f->status) ? ", core dumped" : "");
        break;
    case PLAN_CAUSE_EXIT:
        describe_exit(r);
        break;
    default:
        break;
    }
}

static enum plan_cause cause_of(const struct node__facts *f)
{
    bool well = WIFEXITED(f->status) && WEXITSTATUS(f->status) == 0;
    if (!well && f->limit->bytes > 0 && node__limit_was_hit(f->limit))
        return PLAN_CAUSE_OOM;
    if (f->asked != PLAN_CAUSE_NONE)
        return f->asked;
    if (well)
        return PLAN_CAUSE_NONE;
    return WIFSIGNALED(f->status) ? PLAN_CAUSE_SIGNAL : PLAN_CAUSE_EXIT;
}

static int64_t timeval_ns(struct timeval t)
{
    return t.tv_sec * RWF_NS_PER_S + t.tv_usec * 1000;
}

/* The kernel counts the memory a process shared with us before its execve as its own,
 * so that its figure says nothing when it is no more than ours. */
static int64_t max_rss(const struct node__facts *f)
{
    int64_t told = (int64_t)f->rusage.ru_maxrss * 1024;
    int64_t best = told > f->head_peak ? told : f->seen_peak;
    int64_t limit_peak = f->limit->bytes > 0 ? node__limit_peak(f->limit) : 0;
    return best > limit_peak ? best : limit_peak;
}

void node__outcome(const struct node__facts *f, struct proc_exit *r)
{
    r->exit_code = WIFEXITED(f->status) ? WEXITSTATUS(f->status) : -1;
    r->signal = WIFSIGNALED(f->status) ? WTERMSIG(f->status) : 0;
    r->cause = cause_of(f);
    r->usage.cpu = timeval_ns(f->rusage.ru_utime) + timeval_ns(f->rusage.ru_stime);
    r->usage.max_rss = max_rss(f);
    describe(f, r);
}
