/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf-rank exec GANG.json (train/gang.h): starts the program of one rank, and stays
 * its parent: mpirun passes neither our descriptors nor the cause of an end. The
 * program gets
 *
 *   RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK NODE_RANK
 *   MASTER_ADDR MASTER_PORT
 *   RAYWF_REPORT   descriptor 3: the FIFO that the gang reads
 *
 * Its output goes on to mpirun with the rank before each line, and as it is to
 * rank.N.log. How it ended is told through the FIFO, at once. It dies when we do, and
 * we when mpirun does. MPI is never initialised here: the program may.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "rank/rank.h"
#include "train/gang.h"

#define DRAIN_TURNS 25 /* of 20 ms, after the program's end */

struct member {
    json_t *gang;
    const char *dir;
    int rank, size, local_rank, local_size, node_rank;
    int report;
    pid_t pid;
    int pidfd;
    struct gang_lines out, err;
};

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
    m->rank = from_env("OMPI_COMM_WORLD_RANK", 0);
    m->local_rank = from_env("OMPI_COMM_WORLD_LOCAL_RANK", m->rank);
    m->local_size = from_env("OMPI_COMM_WORLD_LOCAL_SIZE", m->size);
    m->node_rank = from_env("OMPI_COMM_WORLD_NODE_RANK", m->rank) /
                   (m->local_size > 0 ? m->local_size : 1);
    return 0;
}

/* --- the environment --- */

static void set_number(const char *name, int value)
{
    char text[16];
    snprintf(text, sizeof(text), "%d", value);
    setenv(name, text, 1);
}

static void set_environment(const struct member *m)
{
    set_number("RANK", m->rank);
    set_number("WORLD_SIZE", m->size);
    set_number("LOCAL_RANK", m->local_rank);
    set_number("LOCAL_WORLD_SIZE", m->local_size);
    set_number("GROUP_RANK", m->node_rank);
    set_number("NODE_RANK", m->node_rank);
    setenv("MASTER_ADDR", "127.0.0.1", 1);
    set_number("MASTER_PORT",
               (int)json_integer_value(json_object_get(m->gang, "port")));
    setenv("RAYWF_REPORT", "3", 1);
}

/* --- telling --- */

static void tell(const struct member *m, json_t *notice)
{
    json_object_set_new(notice, "rank", json_integer(m->rank));
    json_t *line = json_pack("{s:o}", "gang", notice);
    char *text = json_dumps(line, JSON_COMPACT);
    if (text != NULL) {
        char *whole = rwf_xasprintf("%s\n", text);
        (void)rwf_fs_write_all(m->report, whole, strlen(whole), NULL);
        free(whole);
    }
    free(text);
    json_decref(line);
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

/* --- the program --- */

static int fail_exec(const char *name, int error)
{
    fprintf(stderr, "cannot run '%s': %s%s\n", name, strerror(error),
            error == ENOENT ? " (is it installed, or beside the recipe as ./NAME?)"
                            : "");
    return error == ENOENT ? 127 : 126;
}

static void become(const struct member *m, const int out[2], const int err[2])
{
    const json_t *argv = json_object_get(m->gang, "argv");
    size_t count = json_array_size(argv);
    char **list = rwf_xcalloc(count + 1, sizeof(*list));
    for (size_t i = 0; i < count; i++)
        list[i] = (char *)(uintptr_t)json_string_value(json_array_get(argv, i));
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    dup2(out[1], 1);
    dup2(err[1], 2);
    if (m->report == 3)
        fcntl(3, F_SETFD, 0);
    else
        dup2(m->report, 3);
    execvp(list[0], list);
    _exit(fail_exec(list[0], errno));
}

static int open_log(const struct member *m)
{
    char *name = rwf_xasprintf("%s/rank.%d.log", m->dir, m->rank);
    int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    free(name);
    return fd;
}

static struct gang_lines lines(const struct member *m, int from, int to, int log)
{
    struct gang_lines l = {.from = from, .to = to, .log = log, .aside = -1};
    if (m->size > 1)
        snprintf(l.prefix, sizeof(l.prefix), "[%d] ", m->rank);
    fcntl(from, F_SETFL, O_NONBLOCK);
    return l;
}

static int start(struct member *m, struct rwf_err *err)
{
    char *fifo = rwf_fs_join(m->dir, "report");
    int out[2], errors[2];
    m->report = open(fifo, O_WRONLY | O_CLOEXEC);
    free(fifo);
    if (m->report < 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC) != 0)
        return rwf_fail(err, RWF_E_ENV, "rank %d cannot be set up: %s", m->rank,
                        strerror(errno));
    m->pid = fork();
    if (m->pid == 0)
        become(m, out, errors);
    close(out[1]);
    close(errors[1]);
    if (m->pid < 0)
        return rwf_fail(err, RWF_E_ENV, "rank %d cannot be started: %s", m->rank,
                        strerror(errno));
    int log = open_log(m);
    m->out = lines(m, out[0], 1, log);
    m->err = lines(m, errors[0], 2, log);
    m->pidfd = (int)syscall(SYS_pidfd_open, m->pid, 0U);
    tell(m, json_pack("{s:i}", "pid", (int)m->pid));
    return 0;
}

static void copy(struct member *m, int timeout)
{
    struct pollfd fds[] = {
        {m->out.from, POLLIN, 0}, {m->err.from, POLLIN, 0}, {m->pidfd, POLLIN, 0}};
    if (poll(fds, RWF_COUNT(fds), timeout) <= 0)
        return;
    if (m->out.from >= 0 && fds[0].revents != 0 && !gang_lines_read(&m->out))
        m->out.from = -1;
    if (m->err.from >= 0 && fds[1].revents != 0 && !gang_lines_read(&m->err))
        m->err.from = -1;
}

static int attend(struct member *m)
{
    int status = 0, turns = 0;
    bool gone = false;
    while (!gone || ((m->out.from >= 0 || m->err.from >= 0) && turns < DRAIN_TURNS)) {
        copy(m, gone ? 20 : 1000);
        if (!gone && waitpid(m->pid, &status, WNOHANG) == m->pid) {
            gone = true;
            close(m->pidfd);
            m->pidfd = -1;
        }
        turns += gone;
    }
    gang_lines_end(&m->out);
    gang_lines_end(&m->err);
    return status;
}

int rank_exec(int argc, char **argv, struct rwf_err *err)
{
    struct member m = {.report = -1};
    struct sigaction term = {.sa_handler = on_term, .sa_flags = SA_RESTART};

    if (argc != 2)
        return rwf_fail(err, RWF_E_USAGE, "usage: raywf-rank exec GANG");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigaction(SIGTERM, &term, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (load(&m, argv[1], err) < 0)
        return -1;
    set_environment(&m);
    if (start(&m, err) < 0)
        return -1;
    int status = attend(&m);
    bool alone = m.size == 1;
    tell_end(&m, status);
    json_decref(m.gang);
    if (!alone) /* mpirun would end the others at once: that is for the gang to say */
        return 0;
    exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}
