/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf-rank exec GANG.json (gang/gang.h): starts the program of one rank, and stays
 * its parent: mpirun passes neither our descriptors nor the cause of an end. The
 * program gets
 *
 *   RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK GROUP_WORLD_SIZE NODE_RANK
 *   ROLE_RANK ROLE_WORLD_SIZE ROLE_NAME MASTER_ADDR MASTER_PORT
 * TORCHELASTIC_RESTART_COUNT TORCHELASTIC_RUN_ID RAYWF_REPORT   descriptor 3: a pipe
 * whose lines go on to the FIFO that the gang reads
 *
 * Its output goes on to mpirun with the rank before each line, and as it is to
 * rank.N.log. How it ended is told through the FIFO, at once. It dies when we do, and
 * we when mpirun does. MPI is never initialised here: the program may. Of a gang over
 * several nodes all of this goes over a connection to it (exec_far.c).
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/mem.h"
#include "rank/exec.h"
#include "rank/rank.h"

#define DRAIN_TURNS 25 /* of 20 ms, after the program's end */
#define REPORT_MAX (1 << 20)

static void on_term(int signal)
{
    (void)
        signal; /* it goes to the whole group: the program gets it, too, and we wait */
}

static int from_env(const char *name, int otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : atoi(text);
}

static int load(struct member *m, const char *path, struct rwf_err *err)
{
    json_error_t why;
    m->gang = json_load_file(path, 0, &why);
    m->dir = json_string_value(json_object_get(m->gang, "dir"));
    m->size = (int)json_integer_value(json_object_get(m->gang, "workers"));
    if (m->dir == NULL || m->size < 1 ||
        json_array_size(json_object_get(m->gang, "argv")) == 0)
        return rwf_fail(err, RWF_E_BUG, "%s: no description of a gang", path);
    m->limit = json_integer_value(json_object_get(m->gang, "beat"));
    m->local_rank = from_env("OMPI_COMM_WORLD_LOCAL_RANK", m->rank);
    m->local_size = from_env("OMPI_COMM_WORLD_LOCAL_SIZE", m->size);
    m->node_rank = from_env("OMPI_COMM_WORLD_NODE_RANK", m->rank) /
                   (m->local_size > 0 ? m->local_size : 1);
    m->nodes = 1;
    return 0;
}

/* --- the environment --- */

static void set_number(const char *name, int value)
{
    char text[16];
    snprintf(text, sizeof(text), "%d", value);
    setenv(name, text, 1);
}

/* What PyTorch's launcher says of how often it has begun anew, and of what. */
static void set_torch(void)
{
    const char *run = getenv("RAYWF_RUN_ID");

    set_number("TORCHELASTIC_RESTART_COUNT", from_env("RAYWF_ATTEMPT", 1) - 1);
    setenv("TORCHELASTIC_RUN_ID", run == NULL ? "raywf" : run, 1);
    setenv("ROLE_NAME", "default", 1);
}

static void set_environment(const struct member *m)
{
    const char *master = json_string_value(json_object_get(m->gang, "master"));
    const struct {
        const char *name;
        int value;
    } numbers[] = {
        {"RANK", m->rank},
        {"RAYWF_RANK", m->rank},
        {"ROLE_RANK", m->rank},
        {"WORLD_SIZE", m->size},
        {"RAYWF_WORLD_SIZE", m->size},
        {"ROLE_WORLD_SIZE", m->size},
        {"LOCAL_RANK", m->local_rank},
        {"RAYWF_LOCAL_RANK", m->local_rank},
        {"LOCAL_WORLD_SIZE", m->local_size},
        {"GROUP_RANK", m->node_rank},
        {"NODE_RANK", m->node_rank},
        {"GROUP_WORLD_SIZE", m->nodes},
        {"MASTER_PORT", (int)json_integer_value(json_object_get(m->gang, "port"))},
        {"RAYWF_REPORT", 3},
    };

    for (size_t i = 0; i < RWF_COUNT(numbers); i++)
        set_number(numbers[i].name, numbers[i].value);
    setenv("MASTER_ADDR", master == NULL ? "127.0.0.1" : master, 1);
    set_torch();
}

/* --- telling --- */

static void tell_fifo(const struct member *m, json_t *notice)
{
    json_object_set_new(notice, "rank", json_integer(m->rank));
    json_t *line = json_pack("{s:O}", "gang", notice);
    char *text = json_dumps(line, JSON_COMPACT);
    if (text != NULL) {
        char *whole = rwf_xasprintf("%s\n", text);
        (void)rwf_fs_write_all(m->report, whole, strlen(whole), NULL);
        free(whole);
    }
    free(text);
    json_decref(line);
}

static void tell(const struct member *m, json_t *notice)
{
    char *text = m->gang_fd < 0 ? NULL : json_dumps(notice, JSON_COMPACT);

    if (text != NULL)
        rank__far_send(m, GANG_NOTICE, text, strlen(text));
    else
        tell_fifo(m, notice);
    free(text);
    json_decref(notice);
}

/* The end, in words that JSON can hold. */
static void tell_end(const struct member *m, int status)
{
    const char *last =
        rwf_utf8_valid(m->err.last, strlen(m->err.last)) ? m->err.last : "";
    if (WIFSIGNALED(status))
        tell(m, json_pack("{s:i, s:s}", "signal", WTERMSIG(status), "last", last));
    else
        tell(m, json_pack("{s:i, s:s}", "exit", WEXITSTATUS(status), "last", last));
}

/* --- signs of life --- */

static int64_t beat_every(const struct member *m)
{
    return m->limit / 4 < RWF_NS_PER_S ? m->limit / 4 : RWF_NS_PER_S;
}

static void take_report(void *ctx, const char *line, size_t len)
{
    struct member *m = ctx;
    char *whole = rwf_xmalloc(len + 2);
    memcpy(whole, line, len);
    memcpy(whole + len, "\n", 2);
    if (m->gang_fd >= 0)
        rank__far_send(m, GANG_REPORT, whole, len);
    else
        (void)rwf_fs_write_all(m->report, whole, len + 1, NULL);
    m->told_at = rwf_clock_mono();
    m->beats = m->beats || strstr(whole, "\"heartbeat\"") != NULL;
    free(whole);
}

/* A trainer touches a file, from when it has begun. */
static bool touches(struct member *m)
{
    const char *folder = json_string_value(json_object_get(m->gang, "heartbeat"));
    struct stat st;
    if (m->gang_fd < 0 || folder == NULL)
        return true;
    char *path = rwf_xasprintf("%s/rank.%d", folder, m->rank);
    int64_t at = stat(path, &st) != 0
                     ? -1
                     : (int64_t)st.st_mtim.tv_sec * RWF_NS_PER_S + st.st_mtim.tv_nsec;
    bool news = at != m->touched_at || at < 0;
    m->touched_at = at;
    free(path);
    return news;
}

/* While its process runs; of one that has reported a heartbeat, while it goes on
 * reporting. */
static void beat(struct member *m)
{
    int64_t now = rwf_clock_mono();
    if (m->limit <= 0 || now < m->beat_at)
        return;
    m->beat_at = now + beat_every(m);
    bool stopped = rwf_process_state(m->pid) == 'T';
    if (!stopped && !touches(m))
        return;
    if (stopped || !m->beats || now - m->told_at < 2 * beat_every(m))
        tell(m, json_pack("{s:b}", "beat", !stopped));
}

/* --- the program --- */

static int fail_exec(const char *name, int error)
{
    fprintf(stderr, "cannot run '%s': %s%s\n", name, strerror(error),
            error == ENOENT ? " (is it installed, or beside the recipe as ./NAME?)"
                            : "");
    return error == ENOENT ? 127 : 126;
}

static void become(const struct member *m, const int out[2], const int err[2], int told,
                   const sigset_t *mask)
{
    const json_t *argv = json_object_get(m->gang, "argv");
    size_t count = json_array_size(argv);
    char **list = rwf_xcalloc(count + 1, sizeof(*list));
    for (size_t i = 0; i < count; i++)
        list[i] = (char *)(uintptr_t)json_string_value(json_array_get(argv, i));
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    dup2(out[1], 1);
    dup2(err[1], 2);
    if (told == 3)
        fcntl(3, F_SETFD, 0);
    else
        dup2(told, 3);
    execvp(list[0], list);
    _exit(fail_exec(list[0], errno));
}

static int open_log(const struct member *m)
{
    if (m->dir == NULL)
        return -1;
    char *name = rwf_xasprintf("%s/rank.%d.log", m->dir, m->rank);
    int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    free(name);
    return fd;
}

static void take_out(void *ctx, const char *line, size_t len)
{
    rank__far_send(ctx, GANG_OUT, line, len);
}

static void take_err(void *ctx, const char *line, size_t len)
{
    rank__far_send(ctx, GANG_ERR, line, len);
}

static struct gang_lines lines(struct member *m, int from, int to, int log)
{
    struct gang_lines l = {.from = from, .to = to, .log = log, .aside = -1, .ctx = m};
    if (m->gang_fd >= 0)
        l.take = to == 1 ? take_out : take_err;
    else if (m->size > 1)
        snprintf(l.prefix, sizeof(l.prefix), "[%d] ", m->rank);
    fcntl(from, F_SETFL, O_NONBLOCK);
    return l;
}

static void open_lines(struct member *m, int out, int err, int told)
{
    int log = open_log(m);

    m->out = lines(m, out, 1, log);
    m->err = lines(m, err, 2, log);
    m->told = lines(m, told, -1, -1);
    m->told.prefix[0] = '\0';
    m->told.take = take_report;
    m->told.max = REPORT_MAX;
}

/* The step reads before it starts ranks. When none reads now, it was killed since: an opening that
   waits would wait for ever. */
static int open_fifo(struct member *m, struct rwf_err *err)
{
    if (m->dir == NULL)
        return 0;
    char *fifo = rwf_fs_join(m->dir, "report");
    m->report = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    free(fifo);
    if (m->report < 0 && (errno == ENXIO || errno == ENOENT))
        return rwf_fail(err, RWF_E_ENV,
                        "rank %d is heard by nobody: the step that started it is gone",
                        m->rank);
    if (m->report < 0 || fcntl(m->report, F_SETFL, 0) != 0)
        return rwf_fail(err, RWF_E_ENV, "rank %d cannot report: %s", m->rank,
                        strerror(errno));
    return 0;
}

static int start(struct member *m, struct rwf_err *err)
{
    int out[2], errors[2], told[2];
    if (open_fifo(m, err) < 0)
        return -1;
    if (pipe2(out, O_CLOEXEC) != 0 ||
        pipe2(errors, O_CLOEXEC) != 0 || pipe2(told, O_CLOEXEC) != 0)
        return rwf_fail(err, RWF_E_ENV, "rank %d cannot be set up: %s", m->rank,
                        strerror(errno));
    /* A TERM that comes before it has taken our handler off is for it all the same. */
    sigset_t term, before;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, &before);
    m->pid = fork();
    if (m->pid == 0)
        become(m, out, errors, told[1], &before);
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(out[1]);
    close(errors[1]);
    close(told[1]);
    if (m->pid < 0)
        return rwf_fail(err, RWF_E_ENV, "rank %d cannot be started: %s", m->rank,
                        strerror(errno));
    open_lines(m, out[0], errors[0], told[0]);
    m->pidfd = (int)syscall(SYS_pidfd_open, m->pid, 0U);
    tell(m, json_pack("{s:i}", "pid", (int)m->pid));
    return 0;
}

static void copy(struct member *m, int timeout)
{
    struct pollfd fds[] = {{m->out.from, POLLIN, 0},
                           {m->err.from, POLLIN, 0},
                           {m->pidfd, POLLIN, 0},
                           {m->told.from, POLLIN, 0},
                           {m->gang_fd, POLLIN, 0}};
    if (poll(fds, RWF_COUNT(fds), timeout) <= 0)
        return;
    if (m->out.from >= 0 && fds[0].revents != 0 && !gang_lines_read(&m->out))
        m->out.from = -1;
    if (m->err.from >= 0 && fds[1].revents != 0 && !gang_lines_read(&m->err))
        m->err.from = -1;
    if (m->told.from >= 0 && fds[3].revents != 0 && !gang_lines_read(&m->told))
        m->told.from = -1;
    if (m->gang_fd >= 0 && fds[4].revents != 0 && !rank__far_read(m))
        rank__far_leave();
}

static bool flows(const struct member *m)
{
    return m->out.from >= 0 || m->err.from >= 0 || m->told.from >= 0;
}

static int wait_ms(const struct member *m)
{
    return m->limit <= 0 ? 1000 : (int)(beat_every(m) / RWF_NS_PER_MS) + 1;
}

static int attend(struct member *m)
{
    int status = 0, turns = 0;
    bool gone = false;
    while (!gone || (flows(m) && turns < DRAIN_TURNS)) {
        copy(m, gone ? 20 : wait_ms(m));
        if (!gone)
            beat(m);
        if (!gone && waitpid(m->pid, &status, WNOHANG) == m->pid) {
            gone = true;
            close(m->pidfd);
            m->pidfd = -1;
        }
        turns += gone;
    }
    gang_lines_end(&m->out);
    gang_lines_end(&m->err);
    gang_lines_end(&m->told);
    return status;
}

static int join(struct member *m, const char *path, struct rwf_err *err)
{
    const char *secrets = getenv("RAYWF_GANG_SECRETS");
    if (secrets != NULL)
        gang_secrets_take(secrets);
    unsetenv("RAYWF_GANG_SECRETS");
    m->rank = from_env("OMPI_COMM_WORLD_RANK", 0);
    if (!rank__is_far())
        return load(m, path, err);
    /* What it starts, and loses, stays beneath it. */
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    return rank__far_join(m, err) != 0 || rank__far_settle(m, err) != 0 ? -1 : 0;
}

static int begin(struct member *m, const char *path, struct rwf_err *err)
{
    if (join(m, path, err) < 0)
        return -1;
    set_environment(m);
    return start(m, err);
}

int rank_exec(int argc, char **argv, struct rwf_err *err)
{
    struct member m = {.report = -1, .gang_fd = -1};
    struct sigaction term = {.sa_handler = on_term, .sa_flags = SA_RESTART};

    if (argc != 2)
        return rwf_fail(err, RWF_E_USAGE, "usage: raywf-rank exec GANG");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigaction(SIGTERM, &term, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (begin(&m, argv[1], err) < 0) {
        json_decref(m.gang);
        return -1;
    }
    if (m.gang_fd >= 0 && !rank__far_read(&m)) /* what came with the welcome */
        rank__far_leave();
    int status = attend(&m);
    bool alone = m.size == 1;
    if (m.gang_fd >= 0)
        gang_signal_descendants(SIGKILL, 0, false);
    tell_end(&m, status);
    json_decref(m.gang);
    if (!alone) /* mpirun would end the others at once: that is for the gang to say */
        return 0;
    exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}
