/* SPDX-License-Identifier: Apache-2.0
 *
 * Supervising a gang:
 *
 *   RUNS   a rank fails (its shim tells, or it is our child), or gives no sign of life:
 *          ENDS. We are asked to end: so are the ranks. The child exits: done.
 *   ENDS   The ranks got TERM; what is left of them after a second is killed. mpirun
 *          and the shims then end by themselves, and tidy up; after some more seconds
 *          they are killed.
 *
 * The first bad end is the cause: those that follow are of ranks that lost a peer or
 * that were ended by us. Only a kill that comes right after an exit takes its place,
 * because a rank whose peer was killed may be the first to be heard of.
 */
#include "config.h"
#include "gang/gang.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/str.h"
#include "gang/inside.h"

#define TICK_MS 200
#define END_AFTER RWF_NS_PER_S        /* from TERM to KILL when a rank has failed */
#define TIDY_AFTER (5 * RWF_NS_PER_S) /* from there until mpirun, too, is killed */
#define DRAIN_MS 500                  /* of pipes that something fled with */
#define FIRST_BEAT 10 /* times the limit until the first sign of life … */
#define FIRST_BEAT_MIN (600 * RWF_NS_PER_S) /* … and at least */
#define START_MAX (120 * RWF_NS_PER_S) /* until every rank of a program has begun */
#define REPORT_MAX (1 << 20)

/* --- what ranks tell --- */

/* To the ranks and what they have started, not to those who only hold them. */
static void signal_ranks(struct gang__run *x, int signal)
{
    if (x->far != NULL) {
        gang__far_signal(x, signal);
        return;
    }
    bool launcher = x->child.mpirun || x->g->shim;
    gang_signal_descendants(signal, launcher ? x->child.pid : 0, x->child.mpirun);
}

static void begin_end(struct gang__run *x)
{
    if (x->kill_at != 0 || x->exited)
        return;
    x->kill_at = rwf_clock_mono() + END_AFTER;
    signal_ranks(x, SIGTERM);
}

void gang__fail(struct gang__run *x, enum gang_end end, int rank, int code,
                const char *last)
{
    struct gang_result *r = x->result;
    bool better = r->end == GANG_EXIT && end == GANG_SIGNAL && code != SIGTERM &&
                  rwf_clock_mono() < x->kill_at;
    if (r->end == GANG_STOPPED || (x->failed && !better))
        return;
    x->failed = true;
    r->end = end;
    r->rank = rank;
    r->exit_code = end == GANG_EXIT ? code : 0;
    r->signal = end == GANG_SIGNAL ? code : 0;
    snprintf(r->last, sizeof(r->last), "%s", last == NULL ? "" : last);
    begin_end(x);
}

/* One that was not there yet when all were told to end has not heard it. (Far ones hear
 * it of the hub.) */
static void begins(struct gang__run *x, int rank, int pid)
{
    x->pids[rank] = pid;
    if (x->failed && x->far == NULL && pid > 1)
        kill(pid, SIGTERM);
}

/* {"pid":12}, {"beat":BOOL} (false: its process is stopped) or
 * {"exit":3|"signal":9,"last":"…"} */
void gang__notice(struct gang__run *x, int rank, const json_t *notice)
{
    const json_t *code = json_object_get(notice, "exit");
    const json_t *killed = json_object_get(notice, "signal");
    const char *last = json_string_value(json_object_get(notice, "last"));

    if (rank < 0 || rank >= x->g->workers)
        return;
    if (json_is_integer(json_object_get(notice, "pid")))
        begins(x, rank, (int)json_integer_value(json_object_get(notice, "pid")));
    x->stopped[rank] = json_is_false(json_object_get(notice, "beat"));
    if (!x->stopped[rank])
        x->beats[rank] = rwf_clock_mono();
    if (code != NULL || killed != NULL)
        x->beats[rank] = INT64_MAX; /* it needs to give no more of them */
    if (json_is_integer(killed))
        gang__fail(x, GANG_SIGNAL, rank, (int)json_integer_value(killed), last);
    else if (json_integer_value(code) != 0)
        gang__fail(x, GANG_EXIT, rank, (int)json_integer_value(code), last);
}

static void report(struct gang__run *x, const json_t *json, const char *line,
                   size_t len)
{
    if (json_is_object(json))
        x->g->report(x->g->ctx, json);
    else if (len > 0)
        fprintf(stderr, "a report that is no JSON object is passed over: %.*s\n",
                (int)(len < 200 ? len : 200), line);
}

void gang__report(struct gang__run *x, const char *line, size_t len)
{
    json_t *json = len == 0 ? NULL : json_loadb(line, len, 0, NULL);

    report(x, json, line, len);
    json_decref(json);
}

/* Of the FIFO: {"gang":{"rank":1,…}} is of a shim, {"gang":{"node":1,…}} of an agent,
 * all else of a rank. */
static void take_line(struct gang__run *x, const char *line, size_t len)
{
    json_t *json = len == 0 ? NULL : json_loadb(line, len, 0, NULL);
    const json_t *notice = json_object_get(json, "gang");
    const json_t *rank = json_object_get(notice, "rank");

    if (json_is_integer(rank))
        gang__notice(x, (int)json_integer_value(rank), notice);
    else if (json_is_object(notice))
        gang__far_notice(x, notice);
    else
        report(x, json, line, len);
    json_decref(json);
}

static void take_lines(struct gang__run *x)
{
    char *start = x->report.data, *end = start + x->report.len, *nl;
    while ((nl = memchr(start, '\n', (size_t)(end - start))) != NULL) {
        take_line(x, start, (size_t)(nl - start));
        start = nl + 1;
    }
    x->report.len = (size_t)(end - start);
    memmove(x->report.data, start, x->report.len);
    if (x->report.len > REPORT_MAX)
        x->report.len = 0;
}

static void read_reports(struct gang__run *x)
{
    char bytes[65536];
    ssize_t n;
    while ((n = read(x->child.fifo, bytes, sizeof(bytes))) > 0 ||
           (n < 0 && errno == EINTR)) {
        if (n < 0)
            continue;
        rwf_str_addn(&x->report, bytes, (size_t)n);
        take_lines(x);
    }
}

/* --- signs of life --- */

static int64_t beat_of(const struct gang__run *x, int rank)
{
    struct stat st;
    char *name = rwf_xasprintf("%s/rank.%d", x->g->heartbeat, rank);
    bool known = stat(name, &st) == 0;
    free(name);
    return known ? (int64_t)st.st_mtim.tv_sec * RWF_NS_PER_S + st.st_mtim.tv_nsec : 0;
}

/* All ranks wait for the one that hangs, so all fall silent; while one of them beats,
 * the others wait for that (which writes the result, say). Then it is the stopped one,
 * or else the one that was heard least lately. */
static int silent_rank(const struct gang__run *x, int64_t now)
{
    int worst = -1;
    int64_t oldest = INT64_MAX, limit = x->g->heartbeat_limit;
    int64_t first =
        limit * FIRST_BEAT > FIRST_BEAT_MIN ? limit * FIRST_BEAT : FIRST_BEAT_MIN;
    for (int rank = 0; rank < x->g->workers; rank++) {
        int64_t beat = beat_of(x, rank);
        if (now - (beat == 0 ? x->started : beat) <= (beat == 0 ? first : limit))
            return -1;
        bool stopped = rwf_process_state(x->pids[rank]) == 'T';
        if (stopped || beat < oldest) {
            beat = stopped ? INT64_MIN : beat;
            oldest = beat;
            worst = rank;
        }
    }
    return worst;
}

/* Of ranks of other nodes, too, the shims tell (see silent_rank). */
static int silent_far(const struct gang__run *x, int64_t now)
{
    int worst = 0;

    for (int rank = 0; rank < x->g->workers; rank++) {
        int64_t beat = x->beats[rank], limit = x->g->heartbeat_limit;
        if (now - (beat == 0 ? x->started_at : beat) <= (beat == 0 ? START_MAX : limit))
            return -1;
        if (!x->stopped[worst] && (x->stopped[rank] || beat < x->beats[worst]))
            worst = rank;
    }
    return worst;
}

/* Shims beat each for itself: the first rank that is overdue. */
static void watch_beats(struct gang__run *x)
{
    int64_t now = rwf_clock_mono();

    for (int rank = 0; rank < x->g->workers && x->kill_at == 0; rank++) {
        int64_t beat = x->beats[rank], limit = x->g->heartbeat_limit;
        if (now - (beat == 0 ? x->started_at : beat) <= (beat == 0 ? START_MAX : limit))
            continue;
        gang__fail(x, GANG_HUNG, rank, 0,
                   beat == 0          ? "it did not start"
                   : x->stopped[rank] ? "its process is stopped"
                                      : "");
        x->kill_at = now; /* what hangs does not hear TERM */
    }
}

static void watch_hearts(struct gang__run *x)
{
    if (x->g->beats && x->g->heartbeat_limit > 0 && x->kill_at == 0)
        watch_beats(x);
    int64_t now = rwf_clock_mono();
    if (x->g->heartbeat == NULL || x->g->heartbeat_limit <= 0 || x->kill_at != 0 ||
        now < x->beat_at)
        return;
    x->beat_at = now + RWF_NS_PER_S;
    int rank = x->far != NULL ? silent_far(x, now) : silent_rank(x, rwf_clock_wall());
    if (rank < 0)
        return;
    char why[60] = "";
    if (x->far != NULL ? x->stopped[rank] : rwf_process_state(x->pids[rank]) == 'T')
        snprintf(why, sizeof(why), "its process is stopped");
    gang__fail(x, GANG_HUNG, rank, 0, why);
    /* What hangs does not hear TERM. */
    x->kill_at = now;
}

/* --- the loop --- */

static void on_signal(struct gang__run *x)
{
    struct signalfd_siginfo info;
    if (read(x->signals, &info, sizeof(info)) != (ssize_t)sizeof(info) ||
        x->result->end == GANG_STOPPED)
        return;
    x->result->end = GANG_STOPPED;
    x->failed = true;
    signal_ranks(x, SIGTERM); /* who asked will also end what lingers */
}

static void look_at_child(struct gang__run *x)
{
    if (!x->exited && waitpid(x->child.pid, &x->status, WNOHANG) == x->child.pid)
        x->exited = true;
    int64_t over = x->kill_at == 0 ? -1 : rwf_clock_mono() - x->kill_at;
    if (over >= TIDY_AFTER && !x->exited)
        gang_signal_descendants(SIGKILL, 0, false);
    else if (over >= 0 && !x->exited)
        signal_ranks(x, SIGKILL);
}

/* While our own output had to wait for its reader nobody was listened to. */
static void forgive(struct gang__run *x, int64_t spent)
{
    if (spent < RWF_NS_PER_S)
        return;
    x->started_at += spent;
    for (int rank = 0; rank < x->g->workers; rank++)
        if (x->beats[rank] != 0 && x->beats[rank] != INT64_MAX)
            x->beats[rank] += spent;
}

static void turn(struct gang__run *x)
{
    struct pollfd fds[] = {{x->child.pidfd, POLLIN, 0}, {x->child.fifo, POLLIN, 0},
                           {x->out.from, POLLIN, 0},    {x->err.from, POLLIN, 0},
                           {x->signals, POLLIN, 0},     {gang__far_fd(x), POLLIN, 0}};
    if (poll(fds, RWF_COUNT(fds), TICK_MS) < 0 && errno != EINTR)
        return;
    int64_t began = rwf_clock_mono();
    read_reports(x);
    gang__far_turn(x);
    if (x->out.from >= 0 && fds[2].revents != 0 && !gang_lines_read(&x->out))
        x->out.from = -1;
    if (x->err.from >= 0 && fds[3].revents != 0 && !gang_lines_read(&x->err))
        x->err.from = -1;
    if (fds[4].revents != 0)
        on_signal(x);
    forgive(x, rwf_clock_mono() - began);
    watch_hearts(x);
    look_at_child(x);
}

/* The last words, after the child has gone. */
static void drain(struct gang__run *x)
{
    int64_t until = rwf_clock_mono() + DRAIN_MS * RWF_NS_PER_MS;
    if (x->result->end != GANG_STOPPED)
        gang_signal_descendants(SIGKILL, 0, false);
    while ((x->out.from >= 0 || x->err.from >= 0) && rwf_clock_mono() < until) {
        struct pollfd fds[] = {{x->out.from, POLLIN, 0}, {x->err.from, POLLIN, 0}};
        if (poll(fds, RWF_COUNT(fds), 20) < 0 && errno != EINTR)
            break;
        if (x->out.from >= 0 && !gang_lines_read(&x->out))
            x->out.from = -1;
        if (x->err.from >= 0 && !gang_lines_read(&x->err))
            x->err.from = -1;
    }
    read_reports(x);
    gang__far_turn(x);
    gang_lines_end(&x->out);
    gang_lines_end(&x->err);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
}

/* --- the end --- */

/* Of one rank without a shim. */
static void judge_rank(struct gang__run *x)
{
    if (WIFSIGNALED(x->status))
        gang__fail(x, GANG_SIGNAL, 0, WTERMSIG(x->status), x->err.last);
    else if (WEXITSTATUS(x->status) != 0)
        gang__fail(x, GANG_EXIT, 0, WEXITSTATUS(x->status), x->err.last);
}

static void judge(struct gang__run *x)
{
    gang__far_judge(x);
    if (x->failed || x->result->end == GANG_STOPPED)
        return;
    if (!x->child.mpirun && !x->g->shim)
        judge_rank(x);
    else if (x->status != 0) {
        x->result->end = GANG_LOST;
        snprintf(x->result->last, sizeof(x->result->last), "%s", x->err.last);
    }
}

/* "[0] text" is of a rank, all else of mpirun. */
static bool is_rank_line(const char *line)
{
    size_t digits = line[0] == '[' ? strspn(line + 1, "0123456789") : 0;
    return digits > 0 && line[1 + digits] == ']' && line[2 + digits] == ' ';
}

static void open_lines(struct gang__run *x)
{
    x->out = (struct gang_lines){.from = x->child.out, .to = 1, .log = -1, .aside = -1};
    x->err = (struct gang_lines){.from = x->child.err, .to = 2, .log = -1, .aside = -1};
    if (!x->child.mpirun)
        return;
    char *path = rwf_fs_join(x->g->dir, "mpirun.log");
    x->err.aside = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    x->err.passes = is_rank_line;
    free(path);
}

static void block_signals(struct gang__run *x)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, &x->before);
    x->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void release(struct gang__run *x)
{
    if (x->err.aside >= 0)
        close(x->err.aside);
    if (x->signals >= 0)
        close(x->signals);
    sigprocmask(SIG_SETMASK, &x->before, NULL);
    gang__close(&x->child);
    gang__far_close(x);
    free(x->pids);
    free(x->beats);
    free(x->stopped);
    rwf_str_free(&x->report);
}

int gang_run(const struct gang *g, struct gang_result *ret, struct rwf_err *err)
{
    struct gang__run x = {.g = g,
                          .result = ret,
                          .child = {.pidfd = -1, .out = -1, .err = -1, .fifo = -1},
                          .err = {.aside = -1}};

    *ret = (struct gang_result){.end = GANG_WELL};
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    block_signals(&x);
    x.pids = rwf_xcalloc((size_t)g->workers, sizeof(*x.pids));
    x.beats = rwf_xcalloc((size_t)g->workers, sizeof(*x.beats));
    x.stopped = rwf_xcalloc((size_t)g->workers, sizeof(*x.stopped));
    if (gang__far_open(&x, err) < 0 || gang__start(&x, err) < 0) {
        release(&x);
        return -1;
    }
    x.pids[0] = g->workers == 1 && !g->shim ? x.child.pid : 0;
    x.started = rwf_clock_wall();
    x.started_at = rwf_clock_mono();
    open_lines(&x);
    while (!x.exited)
        turn(&x);
    drain(&x);
    judge(&x);
    release(&x);
    return 0;
}
