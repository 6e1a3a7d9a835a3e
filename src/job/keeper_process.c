/* SPDX-License-Identifier: Apache-2.0
 *
 * The processes of jobs: started with their lock, watched by a pidfd whether they are
 * children or were left by an earlier head, and read by exit.json when they have ended.
 */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "job/inside.h"
#include "job/process.h"

#define ERR_MAX 65536
#define COMING_BACK (5 * RWF_NS_PER_S) /* of nodes, after the head has settled */

/* --- its process --- */

static void process_closed(uv_handle_t *h)
{
    struct job__process *p = h->data;
    struct job_keeper *k = p->keeper;
    if (p->fd >= 0)
        close(p->fd);
    free(p);
    job__release(k);
}

void job__forget(struct job_keeper *k, struct job *j)
{
    struct job__process **p = &k->processes[job__place(k, j)];
    if (!*p)
        return;
    (*p)->job = NULL;
    if ((*p)->fd >= 0) {
        uv_close((uv_handle_t *)&(*p)->poll, process_closed);
    } else {
        free(*p);
        job__release(k);
    }
    *p = NULL;
}

/* The same recipe would fail the same way, or somebody has stopped it. */
static bool may_help(int exit_code)
{
    static const int codes[] = {RWF_E_USAGE, RWF_E_RECIPE, RWF_E_FIT, RWF_E_STOPPED};
    for (size_t i = 0; i < RWF_COUNT(codes); i++) {
        if (exit_code == rwf_exit_code(&(struct rwf_err){.code = codes[i]}))
            return false;
    }
    return true;
}

/* It found no head, or not enough nodes, since the head was away and its nodes come
 * back one by one: that is not the job's fault. */
static bool is_too_early(const struct job_keeper *k, int exit_code)
{
    static const int codes[] = {RWF_E_FIT, RWF_E_ENV};
    bool fits = false;
    for (size_t i = 0; i < RWF_COUNT(codes); i++)
        fits = fits || exit_code == rwf_exit_code(&(struct rwf_err){.code = codes[i]});
    return fits && k->settled_at && rwf_clock_mono() < k->settled_at + COMING_BACK;
}

/* The process itself may have said something: the last line of `err`. */
static char *vanished(const char *folder)
{
    static const char text[] =
        "its process vanished without a word (killed, or the machine was restarted)";
    char *path = rwf_fs_join(folder, "err");
    char *said = rwf_fs_read(path, ERR_MAX, NULL, NULL);
    size_t len = said ? strlen(said) : 0;
    while (len > 0 && said[len - 1] == '\n')
        said[--len] = '\0';
    const char *line = said ? strrchr(said, '\n') : NULL;
    line = line ? line + 1 : said;
    bool of_use = line && *line && !strstr(line, ": warn: ") &&
                  rwf_utf8_valid(line, strlen(line));
    char *out = of_use ? rwf_xasprintf("its process has ended: %s", line)
                       : rwf_xstrdup(text);
    free(said);
    free(path);
    return out;
}

/* From what the process has left. */
static void ended(struct job_keeper *k, struct job *j)
{
    char *folder = job_keeper_path(k, j, "");
    json_t *r = job_process_result(folder, j->attempt);
    char *cause = r ? NULL : vanished(folder);
    struct job_change c = {.event = JOB_EVENT_VANISH,
                           .retriable = true,
                           .exit_code = 1,
                           .cause = cause,
                           .now = rwf_clock_wall()};
    if (r) {
        c.exit_code = (int)json_integer_value(json_object_get(r, "exit_code"));
        c.cause = json_string_value(json_object_get(r, "cause"));
        c.retriable = may_help(c.exit_code);
        bool again = json_is_true(json_object_get(r, "interrupted")) ||
                     is_too_early(k, c.exit_code);
        c.event = again                          ? JOB_EVENT_INTERRUPT
                  : json_object_get(r, "signal") ? JOB_EVENT_VANISH
                  : c.exit_code == 0             ? JOB_EVENT_SUCCEED
                                                 : JOB_EVENT_FAIL;
    }
    job__forget(k, j);
    job__change(k, j, &c);
    json_decref(r);
    free(cause);
    free(folder);
}

static void on_ended(uv_poll_t *poll, int status, int events)
{
    struct job__process *p = poll->data;
    struct job_keeper *k = p->keeper;
    (void)status, (void)events;
    if (!p->job)
        return;
    /* Our child, or one that the head before us left. */
    (void)waitpid(p->pid, NULL, WNOHANG);
    ended(k, p->job);
    job__turn(k);
}

/* Looks at the process from now on; pid 0: as soon as it says which it is. */
static void watch(struct job_keeper *k, struct job *j, pid_t pid)
{
    struct job__process *p = k->processes[job__place(k, j)];
    if (!p) {
        p = rwf_xcalloc(1, sizeof(*p));
        *p = (struct job__process){.keeper = k, .job = j, .fd = -1};
        k->processes[job__place(k, j)] = p;
        k->open++;
    }
    if (pid == 0)
        return;
    p->pid = pid;
    p->fd = job_process_watch(pid);
    if (p->fd < 0 || uv_poll_init(k->loop, &p->poll, p->fd)) {
        rwf_log(RWF_LOG_WARN, "job", "%s: process %d: %s", j->id, (int)pid,
                strerror(errno));
        if (p->fd >= 0)
            close(p->fd);
        p->fd = -1;
        p->pid = 0;
        return;
    }
    p->poll.data = p;
    uv_poll_start(&p->poll, UV_READABLE, on_ended);
}

void job__look_for(struct job_keeper *k, struct job *j)
{
    char *folder = job_keeper_path(k, j, "");
    struct rwf_err err = RWF_ERR_INIT;
    bool held = false;
    int lock = job_process_lock(folder, &held, &err);
    if (lock >= 0)
        close(lock);
    if (held) {
        watch(k, j, job_process_find(folder, j->attempt));
        struct job__process *p = k->processes[job__place(k, j)];
        if (p->pid && j->state == JOB_STOPPING)
            kill(p->pid, SIGTERM);
    } else {
        ended(k, j);
    }
    free(folder);
}

/* --- starting --- */

static int write_task(struct job_keeper *k, const struct job *j, const char *folder,
                      struct rwf_err *err)
{
    char *bundle = job_keeper_bundle(k, job_text(j, "digest"));
    json_t *task =
        json_pack("{s:s, s:s, s:i, s:s, s:O, s:s, s:s?, s:s?, s:s}", "id", j->id,
                  "name", j->name, "attempt", j->attempt, "mode",
                  job_mode_name(j->mode), "spec", j->spec, "bundle", bundle, "address",
                  k->address, "key", k->key_path, "program", k->program);
    char *text = json_dumps(task, JSON_COMPACT),
         *path = rwf_fs_join(folder, "task.json");
    int rc = rwf_fs_mkdirs(folder, err);
    rc = rc ? rc : rwf_fs_write(path, text, strlen(text), false, err);
    if (!rc && chmod(path, 0600))
        rc = rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    free(path);
    free(text);
    free(bundle);
    json_decref(task);
    return rc;
}

/* Its lock first, then the journal, then the process: a head that dies in between finds
 * a job that runs and whose lock is free. */
int job__start(struct job_keeper *k, struct job *j, struct rwf_err *err)
{
    const struct job_change c = {.event = JOB_EVENT_START, .now = rwf_clock_wall()};
    char *folder = job_keeper_path(k, j, "");
    bool held = false;
    int lock = -1, rc = rwf_fs_mkdirs(folder, err);
    if (!rc && (lock = job_process_lock(folder, &held, err)) < 0)
        rc = held ? rwf_fail(err, EBUSY, "its last process still ends") : -1;
    rc = rc ? rc : job__change_or_not(k, j, &c, err);
    if (!rc) {
        /* From here on it has begun, and what goes wrong is its end. */
        pid_t pid = write_task(k, j, folder, err)
                        ? -1
                        : job_process_start(k->program, folder, lock, err);
        if (pid > 0)
            watch(k, j, pid);
        else
            job__change(k, j,
                        &(struct job_change){.event = JOB_EVENT_FAIL,
                                             .exit_code = rwf_exit_code(err),
                                             .cause = err->text,
                                             .now = c.now});
        lock = pid > 0 ? -1 : lock;
    }
    if (lock >= 0)
        close(lock);
    free(folder);
    return rc;
}
