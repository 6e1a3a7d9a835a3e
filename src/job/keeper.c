/* SPDX-License-Identifier: Apache-2.0
 *
 * One turn (job__turn) looks at everything that is due: schedules that fire, jobs that
 * can never start, jobs that start now. It follows every change, and a timer when only
 * time changes something.
 */
#include "config.h"

#include "job/keeper.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "job/cron.h"
#include "job/inside.h"
#include "job/later.h"

/* How long to wait before what failed for want of disk, or is not yet said, is tried.
 */
#define AGAIN (RWF_NS_PER_S / 5)
/* So many ended jobs of a schedule are kept. */
#define CHILDREN_KEPT 10
/* Jobs that are not deleted by anybody are kept; more than so many are not taken. */
#define JOBS_KEPT 10000
/* The journal is written anew when it has more lines than this. */
enum { LINES_MIN = 1000, LINES_PER_JOB = 8 };

/* --- small things --- */

const struct job_list *job_keeper_list(const struct job_keeper *k)
{
    return &k->list;
}

char *job_keeper_path(const struct job_keeper *k, const struct job *j, const char *name)
{
    return rwf_xasprintf("%s/%s%s%s", k->folder, j->id, *name ? "/" : "", name);
}

char *job_keeper_bundle(const struct job_keeper *k, const char *digest)
{
    return rwf_xasprintf("%s/%s", k->bundles, digest);
}

bool job_keeper_has_bundle(const struct job_keeper *k, const char *digest)
{
    char *path = job_keeper_bundle(k, digest);
    bool has = rwf_fs_exists(path);
    free(path);
    return has;
}

size_t job__place(const struct job_keeper *k, const struct job *j)
{
    size_t i = 0;
    while (k->list.items[i] != j)
        i++;
    return i;
}

void job__release(struct job_keeper *k)
{
    if (--k->open > 0)
        return;
    for (size_t i = 0; i < k->list.count; i++)
        job_free(k->list.items[i]);
    free(k->list.items);
    free(k->processes);
    rwf_journal_close(k->journal);
    free(k->folder);
    free(k->bundles);
    free(k->program);
    free(k->address);
    free(k->key_path);
    free(k);
}

/* --- the journal --- */

/* Written anew, with a line for each job. */
static int rewrite(struct job_keeper *k, struct rwf_err *err)
{
    json_t *lines = json_array();
    for (size_t i = 0; i < k->list.count; i++)
        json_array_append_new(lines,
                              json_pack("{s:[o]}", "jobs", job_json(k->list.items[i])));
    int rc = rwf_journal_rewrite(k->journal, lines, err);
    json_decref(lines);
    k->lines = 0;
    return rc;
}

static int add_line(struct job_keeper *k, json_t *line, struct rwf_err *err)
{
    k->lines++;
    return rwf_journal_add(k->journal, line, true, err);
}

/* Not while a change is under way: what is not in the list yet would be lost. */
static void keep_short(struct job_keeper *k)
{
    struct rwf_err err = RWF_ERR_INIT;
    if (k->lines > LINES_MIN + LINES_PER_JOB * k->list.count && rewrite(k, &err))
        rwf_log(RWF_LOG_WARN, "job", "%s", err.text);
}

int job__record(struct job_keeper *k, const struct job *a, const struct job *b,
                struct rwf_err *err)
{
    json_t *jobs = json_array();
    json_array_append_new(jobs, job_json(a));
    if (b)
        json_array_append_new(jobs, job_json(b));
    return add_line(k, json_pack("{s:o}", "jobs", jobs), err);
}

static void add(struct job_keeper *k, struct job *j)
{
    size_t at = k->list.count;
    *RWF_PUSH(k->list.items, k->list.count, k->list.cap) = j;
    k->processes = rwf_grow(k->processes, at, &k->processes_cap, sizeof(*k->processes));
    k->processes[at] = NULL;
}

static void drop(struct job_keeper *k, struct job *j)
{
    size_t at = job__place(k, j), behind = k->list.count - at - 1;
    memmove(&k->list.items[at], &k->list.items[at + 1],
            behind * sizeof(*k->list.items));
    memmove(&k->processes[at], &k->processes[at + 1], behind * sizeof(*k->processes));
    k->list.count--;
    job_free(j);
}

static void replay(void *ctx, const json_t *line)
{
    struct job_keeper *k = ctx;
    const char *gone = json_string_value(json_object_get(line, "gone"));
    const json_t *jobs = json_object_get(line, "jobs"), *one;
    struct job *old = gone ? job_find(&k->list, gone) : NULL;
    size_t i;
    if (old)
        drop(k, old);
    json_array_foreach((json_t *)(uintptr_t)jobs, i, one) {
        struct job *j = job_parse(one);
        if (!j)
            continue;
        if ((old = job_find(&k->list, j->id)))
            drop(k, old);
        add(k, j);
    }
}

static int open_journal(struct job_keeper *k, struct rwf_err *err)
{
    k->journal = rwf_journal_open(k->folder, replay, k, err);
    if (!k->journal)
        return -1;
    return rewrite(k, err);
}

void job__change(struct job_keeper *k, struct job *j, const struct job_change *c)
{
    struct rwf_err err = RWF_ERR_INIT;
    if (job_apply(j, c, &err) || job__record(k, j, NULL, &err))
        rwf_log(RWF_LOG_ERROR, "job", "%s", err.text);
    rwf_log(RWF_LOG_INFO, "job", "%s is %s%s%s", j->id, job_state_name(j->state),
            j->cause ? ": " : "", j->cause ? j->cause : "");
}

int job__change_or_not(struct job_keeper *k, struct job *j, const struct job_change *c,
                       struct rwf_err *err)
{
    json_t *was = job_json(j);
    int rc = job_apply(j, c, err);
    if (rc == 0 && job__record(k, j, NULL, err)) {
        struct job *back = job_parse(was), now = *j;
        *j = *back;
        *back = now;
        job_free(back);
        rc = -1;
    }
    json_decref(was);
    return rc;
}

/* --- schedules --- */

static void new_id(const struct job_keeper *k, char id[RWF_RUN_ID_LEN])
{
    do {
        rwf_id_run(id);
    } while (job_find(&k->list, id));
}

static int64_t next_fire(const struct job *j, int64_t now)
{
    struct job_cron cron;
    int64_t next = job_cron_parse(job_text(j, "schedule"), &cron, NULL)
                       ? -1
                       : job_cron_next(&cron, now);
    return next < 0 ? INT64_MAX : next;
}

static void remove_job(struct job_keeper *k, struct job *j)
{
    char *folder = job_keeper_path(k, j, ""),
         *bundle = job_keeper_bundle(k, job_text(j, "digest"));
    char *digest = rwf_xstrdup(job_text(j, "digest"));
    bool used = false;
    drop(k, j);
    for (size_t i = 0; i < k->list.count; i++)
        used = used || strcmp(job_text(k->list.items[i], "digest"), digest) == 0;
    job__later_remove(k->loop, folder);
    if (!used)
        job__later_remove(k->loop, bundle);
    free(digest);
    free(bundle);
    free(folder);
}

/* The schedule's time has come; it is skipped while its last job is not over. */
static int fire(struct job_keeper *k, struct job *j, int64_t now, struct rwf_err *err)
{
    char id[RWF_RUN_ID_LEN];
    int64_t due = j->next;
    j->next = next_fire(j, now);
    if (due == 0 || job_child_active(&k->list, j))
        return job__record(k, j, NULL, err);
    new_id(k, id);
    json_t *spec = json_deep_copy(j->spec);
    json_object_del(spec, "schedule");
    struct job *child = job_create(id, spec, now, err);
    json_decref(spec);
    if (!child)
        return -1;
    child->parent = rwf_xstrdup(j->id);
    if (job__record(k, child, j, err)) {
        job_free(child);
        j->next = due;
        return -1;
    }
    add(k, child);
    struct job *old = job_child_old(&k->list, j, CHILDREN_KEPT);
    if (old && add_line(k, json_pack("{s:s}", "gone", old->id), err) == 0)
        remove_job(k, old);
    return 0;
}

/* --- the turn --- */

static void on_time(uv_timer_t *t)
{
    job__turn(t->data);
}

static void set_timer(struct job_keeper *k, bool again)
{
    int64_t now = rwf_clock_wall(), wake = job_wake(&k->list, now);
    if (again && wake > now + AGAIN)
        wake = now + AGAIN;
    if (wake == INT64_MAX) {
        uv_timer_stop(&k->timer);
        return;
    }
    /* A wall clock may be set meanwhile: look again at least once a minute. */
    int64_t wait = wake > now ? (wake - now) / RWF_NS_PER_MS + 1 : 0;
    uv_update_time(k->loop);
    uv_timer_start(&k->timer, on_time, (uint64_t)(wait < 60000 ? wait : 60000), 0);
}

static bool fire_due(struct job_keeper *k)
{
    struct rwf_err err = RWF_ERR_INIT;
    int64_t now = rwf_clock_wall();
    for (size_t i = 0; i < k->list.count; i++) {
        struct job *j = k->list.items[i];
        if (j->state != JOB_SCHEDULED || j->next > now)
            continue;
        if (fire(k, j, now, &err)) {
            rwf_log(RWF_LOG_ERROR, "job", "schedule %s: %s", j->id, err.text);
            return false;
        }
        i = (size_t)-1; /* the list has changed */
    }
    return true;
}

static void give_up_hopeless(struct job_keeper *k)
{
    const char *need;
    struct job *j;
    while ((j = job_hopeless(&k->list, &need))) {
        const struct job *other = job_find(&k->list, need);
        char *cause = rwf_xasprintf("it needs job %s, which %s%s", need,
                                    other ? "is " : "was deleted",
                                    other ? job_state_name(other->state) : "");
        job__change(k, j,
                    &(struct job_change){.event = JOB_EVENT_GIVE_UP,
                                         .exit_code = 1,
                                         .cause = cause,
                                         .now = rwf_clock_wall()});
        free(cause);
    }
}

static bool can_start(const struct job_keeper *k)
{
    return rwf_clock_mono() >= k->settled_at && (!k->ready || k->ready(k->ctx));
}

char *job_keeper_waits(const struct job_keeper *k, const struct job *j)
{
    char time[RWF_TIME_LEN];
    const char *need = job_needs(&k->list, j);
    if (j->state != JOB_QUEUED)
        return NULL;
    if (need)
        return rwf_xasprintf("for job %s", need);
    if (j->not_before > rwf_clock_wall()) {
        rwf_clock_format(j->not_before, time);
        return rwf_xasprintf("until %s, to be tried again", time);
    }
    if (rwf_clock_mono() < k->settled_at)
        return rwf_xstrdup("for the cluster's nodes: its head was started just now");
    if (!can_start(k))
        return rwf_xasprintf("for a node: raywf start --address %s", k->address);
    return rwf_xasprintf("for its turn: %zu jobs may run at once", k->most);
}

void job__turn(struct job_keeper *k)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct job *j;
    if (k->closing || !k->address)
        return;
    keep_short(k);
    bool again = !fire_due(k);
    for (size_t i = 0; i < k->list.count; i++) {
        const struct job__process *p = k->processes[i];
        enum job_state s = k->list.items[i]->state;
        if ((s == JOB_RUNNING || s == JOB_STOPPING) && (!p || p->pid == 0)) {
            job__look_for(k, k->list.items[i]);
            again = again || (k->processes[i] && k->processes[i]->pid == 0);
        }
    }
    give_up_hopeless(k);
    while ((j = job_next(&k->list, k->most, rwf_clock_wall()))) {
        if (!can_start(k)) {
            again = true;
            break;
        }
        if (job__start(k, j, &err)) {
            rwf_log(RWF_LOG_WARN, "job", "%s cannot start yet: %s", j->id, err.text);
            again = true;
            break;
        }
        give_up_hopeless(k);
    }
    set_timer(k, again);
}

/* --- life --- */

/* What is in no journal: a deletion that was cut short, an upload of a killed head. */
static void sweep(struct job_keeper *k)
{
    const char *const folders[] = {k->folder, k->bundles};
    for (size_t f = 0; f < RWF_COUNT(folders); f++) {
        DIR *d = opendir(folders[f]);
        const struct dirent *e;
        while (d && (e = readdir(d))) {
            /* A job's id begins with a digit, a digest is beneath bundles. */
            bool known =
                *e->d_name == '.' || (!f && !(*e->d_name >= '0' && *e->d_name <= '9'));
            for (size_t i = 0; !known && i < k->list.count; i++)
                known = strcmp(e->d_name, f ? job_text(k->list.items[i], "digest")
                                            : k->list.items[i]->id) == 0;
            if (known)
                continue;
            char *path = rwf_fs_join(folders[f], e->d_name);
            job__later_remove(k->loop, path);
            free(path);
        }
        if (d)
            closedir(d);
    }
}

struct job_keeper *job_keeper_open(uv_loop_t *loop, const struct job_keeper_options *o,
                                   struct rwf_err *err)
{
    struct job_keeper *k = rwf_xcalloc(1, sizeof(*k));
    k->loop = loop;
    k->most = o->most ? o->most : JOB_MOST;
    k->folder = rwf_fs_absolute(o->folder);
    k->bundles = rwf_fs_join(k->folder, "bundles");
    k->program = rwf_xstrdup(o->program);
    k->ready = o->ready;
    k->ctx = o->ctx;
    k->open = 1;
    if (rwf_fs_mkdirs(k->folder, err) || rwf_fs_mkdirs(k->bundles, err) ||
        chmod(k->folder, 0700) || open_journal(k, err)) {
        job__release(k);
        return NULL;
    }
    if (k->list.count > 0)
        k->settled_at = rwf_clock_mono() + o->settle;
    uv_timer_init(loop, &k->timer);
    k->timer.data = k;
    k->open++;
    sweep(k);
    return k;
}

void job_keeper_start(struct job_keeper *k, const char *address, const char *key)
{
    k->address = rwf_xstrdup(address);
    k->key_path = rwf_xstrdup(key);
    job__turn(k);
}

bool job_keeper_busy(const struct job_keeper *k)
{
    for (size_t i = 0; i < k->list.count; i++) {
        if (!job_state_ended(k->list.items[i]->state))
            return true;
    }
    return false;
}

static void timer_closed(uv_handle_t *t)
{
    job__release(t->data);
}

void job_keeper_close(struct job_keeper *k, bool interrupt)
{
    if (!k)
        return;
    k->closing = true;
    for (size_t i = 0; i < k->list.count; i++) {
        if (k->processes[i] && k->processes[i]->pid && interrupt)
            kill(k->processes[i]->pid, SIGTERM);
        job__forget(k, k->list.items[i]);
    }
    uv_close((uv_handle_t *)&k->timer, timer_closed);
    job__release(k);
}

/* --- what clients ask for --- */

/* Names of needs become ids. A new array; NULL and *err. */
static json_t *resolve_needs(const struct job_keeper *k, const json_t *needs,
                             struct rwf_err *err)
{
    json_t *out = json_array();
    const json_t *one;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)needs, i, one) {
        const char *name = json_string_value(one);
        const struct job *other = job_resolve(&k->list, name ? name : "", err);
        if (!other || other->state == JOB_SCHEDULED) {
            if (other)
                rwf_fail(err, RWF_E_USAGE,
                         "job %s is a schedule, and never over: it cannot be needed",
                         other->id);
            rwf_wrap(err, "needs");
            json_decref(out);
            return NULL;
        }
        json_array_append_new(out, json_string(other->id));
    }
    return out;
}

struct job *job_keeper_submit(struct job_keeper *k, const char *id, const json_t *spec,
                              struct rwf_err *err)
{
    struct job *old = job_find(&k->list, id);
    if (!old && k->list.count >= JOBS_KEPT) {
        rwf_fail(err, ENOSPC, "the head keeps %zu jobs: delete some (raywf job delete)",
                 k->list.count);
        return NULL;
    }
    json_t *needs = resolve_needs(k, json_object_get(spec, "needs"), err);
    if (!needs)
        return NULL;
    json_t *full = json_deep_copy(spec);
    json_object_set_new(full, "needs", needs);
    struct job *j = NULL;
    bool same = old && json_equal(old->spec, full);
    if (!old)
        j = job_create(id, full, rwf_clock_wall(), err);
    else if (!same)
        rwf_fail(err, RWF_E_USAGE, "there is another job %s", id);
    json_decref(full);
    if (!j)
        return same ? old : NULL;
    if (j->state == JOB_SCHEDULED)
        j->next = next_fire(j, j->created);
    if (job__record(k, j, NULL, err)) {
        job_free(j);
        return NULL;
    }
    add(k, j);
    job__turn(k);
    return j;
}

int job_keeper_stop(struct job_keeper *k, struct job *j, bool force,
                    struct rwf_err *err)
{
    const struct job_change c = {
        .event = JOB_EVENT_STOP,
        .exit_code = rwf_exit_code(&(struct rwf_err){.code = RWF_E_STOPPED}),
        .cause = "it was stopped by request",
        .now = rwf_clock_wall()};
    const struct job__process *p = k->processes[job__place(k, j)];
    if (j->state != JOB_STOPPING && job__change_or_not(k, j, &c, err))
        return -1;
    if (p && p->pid)
        kill(p->pid, SIGTERM);
    if (p && p->pid && force)
        kill(p->pid, SIGUSR1);
    job__turn(k);
    return 0;
}

int job_keeper_retry(struct job_keeper *k, struct job *j, struct rwf_err *err)
{
    const struct job_change c = {.event = JOB_EVENT_RETRY, .now = rwf_clock_wall()};
    if (job__change_or_not(k, j, &c, err))
        return -1;
    if (j->state == JOB_SCHEDULED)
        j->next = next_fire(j, c.now);
    job__turn(k);
    return 0;
}

int job_keeper_delete(struct job_keeper *k, struct job *j, struct rwf_err *err)
{
    const struct job *other = job_needed_by(&k->list, j);
    if (!job_state_ended(j->state))
        return rwf_fail(err, RWF_E_USAGE,
                        "job %s is %s: stop it first: raywf job stop %s", j->id,
                        job_state_name(j->state), j->id);
    if (other)
        return rwf_fail(err, RWF_E_USAGE, "job %s is needed by job %s, which is %s",
                        j->id, other->id, job_state_name(other->state));
    if (add_line(k, json_pack("{s:s}", "gone", j->id), err))
        return -1;
    remove_job(k, j);
    job__turn(k);
    return 0;
}
