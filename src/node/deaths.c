/* SPDX-License-Identifier: Apache-2.0
 *
 * What died, and of what, in words that go on from "its worker …": to every client that
 * had a ring to it, to the head, and into the log. What we did to it ourselves comes
 * first, then the kernel's word on memory, then what it did itself; the end of its
 * stderr goes with it.
 */
#include "config.h"
#include "node/inside.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "node/outcome.h"

static unsigned cause_of(const struct node__worker *w, const struct proc_exit *r,
                         struct rwf_str *text)
{
    if (w->asked_text) {
        rwf_str_add(text, w->asked_text);
        return w->asked;
    }
    if (r->signal == SIGKILL && node__oom_kills() > w->oom_kills) {
        char peak[RWF_UNITS_LEN];
        rwf_size_format(r->usage.max_rss, peak);
        rwf_str_addf(
            text,
            "was killed by the kernel because memory had run out (it had %s at "
            "most): give it a resources.memory, or run less at once",
            peak);
        return RAYWF_ON_OOM;
    }
    if (r->signal)
        rwf_str_addf(text, "was %s", r->message); /* "killed by signal …" */
    else
        rwf_str_addf(text, "exited with code %d", r->exit_code);
    return r->cause == PLAN_CAUSE_OOM ? RAYWF_ON_OOM : RAYWF_ON_EXIT;
}

/* The figures of an ended process, by the code that judges steps. */
static void judge(const struct node__worker *w, int status, const struct rusage *usage,
                  struct proc_exit *ret)
{
    struct node__facts f = {.status = status,
                            .rusage = *usage,
                            .limit = &w->limit,
                            .seen_peak = w->seen_peak};
    *ret = (struct proc_exit){.usage.wall = rwf_clock_mono() - w->started};
    node__outcome(&f, ret);
}

static void add_tail(struct rwf_str *text, const struct node__worker *w)
{
    char *tail = node__capture_tail(&w->err);
    if (tail)
        rwf_str_addf(text, "\nthe end of its stderr (%s):\n%s", w->err.path, tail);
    free(tail);
}

static void tell_clients(struct node__worker *w, unsigned cause, char *text)
{
    struct node__ring *r, *next;
    Wire__Death d = WIRE__DEATH__INIT;
    d.worker = w->id;
    d.cause = cause;
    d.text = text;
    if (w->lease && w->lease->actor)
        d.actor = node__actor_spec(w->lease->actor)->actor;
    for (r = LIST_FIRST(&w->rings); r; r = next) {
        next = LIST_NEXT(r, link);
        d.lease = r->lease;
        if (r->granted)
            NODE__SEND(r->client->link, WIRE_DEATH, &d);
        node__ring_end(r, false);
    }
}

/* It died before it was ready: again, unless that happens each time. */
static void died_starting(struct node__worker *w, struct node__lease *l, unsigned cause,
                          const char *text)
{
    bool hopeless = node__crash_count(w->node, w->key, true);
    w->lease = NULL;
    l->worker = NULL;
    if (!hopeless && !w->asked_text) {
        node__lease_place(l);
        return;
    }
    struct rwf_str s = {0};
    rwf_str_addf(&s, "plugin %s cannot be used: %s its worker %s", w->plugin,
                 w->asked_text ? "while it was loaded"
                               : "while it was loaded, three times in a row,",
                 text);
    TAILQ_INSERT_TAIL(&w->node->parked, l, parked); /* where its end takes it from */
    node__lease_refuse(l, cause == RAYWF_ON_OOM ? RAYWF_E_OOM : RAYWF_E_PLUGIN, s.data);
    rwf_str_free(&s);
}

static void lease_died(struct node__worker *w, unsigned cause, const char *text)
{
    struct node__lease *l = w->lease;
    if (l->actor) {
        char *sentence = rwf_xasprintf("its worker %s", text);
        node__actor_failed(l, cause, sentence);
        free(sentence);
    } else if (l->granted || w->node->stopping) {
        node__lease_end(l);
    } else {
        died_starting(w, l, cause, text);
    }
}

void node__worker_died(struct node__worker *w, int status, const struct rusage *usage)
{
    struct node *n = w->node;
    struct proc_exit r;
    struct rwf_str text = {0};
    judge(w, status, usage, &r);
    unsigned cause = cause_of(w, &r, &text);
    if (!w->asked_text && r.cause != PLAN_CAUSE_NONE)
        add_tail(&text, w);
    rwf_log(w->asked_text ? RWF_LOG_INFO : RWF_LOG_DEBUG, "node",
            "worker %llu (pid %d) of %s: %s", (unsigned long long)w->id, (int)w->pid,
            w->plugin, text.data);
    node__worker_event(w, EVENT_EXIT);
    tell_clients(w, cause, text.data);
    store_slot_release(n->store, w->slot);
    if (w->lease)
        lease_died(w, cause, text.data);
    rwf_str_free(&text);
    node__pool_gone(w);
    node__worker_release(w);
    node__leases_retry(n);
}
