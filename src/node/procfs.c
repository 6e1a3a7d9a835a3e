/* SPDX-License-Identifier: Apache-2.0
 *
 * Readers of /proc, and the sweep for what a dead head left behind. Every process may
 * vanish between two looks at it; that is never an error. Where a process is to be
 * killed by what its files say, a pidfd taken first makes sure it is still the same
 * one.
 */
#include "config.h"
#include "node/procfs.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/str.h"
#include "node/limit.h"
#include "node/proc.h"

#define SWEEP_PASSES 20 /* a process may fork while we look */
#define SWEEP_WAIT_MS 500

typedef void (*pid_fn)(void *ctx, pid_t pid);

static void each_pid(pid_fn fn, void *ctx)
{
    DIR *d = opendir("/proc");
    if (!d)
        return;
    const struct dirent *e;
    while ((e = readdir(d)))
        if (isdigit((unsigned char)e->d_name[0]))
            fn(ctx, (pid_t)atoi(e->d_name));
    closedir(d);
}

static ssize_t read_small(pid_t pid, const char *name, char *buf, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, buf, size - 1);
    close(fd);
    if (n >= 0)
        buf[n] = '\0';
    return n;
}

struct stat_line {
    char state;
    int ppid, pgrp, session;
};

static int read_stat(pid_t pid, struct stat_line *ret)
{
    char buf[512];
    if (read_small(pid, "stat", buf, sizeof(buf)) <= 0)
        return -1;
    const char *end = strrchr(buf, ')'); /* the name in brackets may hold anything */
    if (!end || sscanf(end + 1, " %c %d %d %d", &ret->state, &ret->ppid, &ret->pgrp,
                       &ret->session) != 4)
        return -1;
    return 0;
}

/* A "Name:   123 kB" line of /proc/PID/status, in bytes; 0 when it is not there. */
static int64_t status_bytes(const char *status, const char *name)
{
    const char *at = strstr(status, name);
    return at ? strtoll(at + strlen(name), NULL, 10) * 1024 : 0;
}

struct session {
    pid_t sid;
    int signal;
    int count;
    int64_t memory;
};

static bool in_session(const struct session *s, pid_t pid)
{
    struct stat_line st;
    return read_stat(pid, &st) == 0 && st.session == s->sid && st.state != 'Z' &&
           st.state != 'X';
}

static void count_one(void *ctx, pid_t pid)
{
    struct session *s = ctx;
    s->count += in_session(s, pid);
}

int node__session_count(pid_t sid)
{
    struct session s = { .sid = sid };
    each_pid(count_one, &s);
    return s.count;
}

/* Signals pid if it is still what test says once we hold it; then waits up to wait_ms
 * for its end, so that the next look does not find it again. */
static bool kill_if(pid_t pid, int sig, bool (*test)(const void *ctx, pid_t pid),
                    const void *ctx, int wait_ms)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0U);
    if (fd < 0)
        return false;
    bool hit = test(ctx, pid) && syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0U) == 0;
    struct pollfd p = { .fd = fd, .events = POLLIN };
    if (hit && wait_ms > 0)
        poll(&p, 1, wait_ms);
    close(fd);
    return hit;
}

static bool in_session_test(const void *ctx, pid_t pid)
{
    return in_session(ctx, pid);
}

static void kill_one(void *ctx, pid_t pid)
{
    struct session *s = ctx;
    if (in_session(s, pid))
        s->count += kill_if(pid, s->signal, in_session_test, s, 0);
}

int node__session_kill(pid_t sid, int sig)
{
    struct session s = { .sid = sid, .signal = sig };
    each_pid(kill_one, &s);
    return s.count;
}

static void memory_one(void *ctx, pid_t pid)
{
    struct session *s = ctx;
    char buf[4096];
    if (in_session(s, pid) && read_small(pid, "status", buf, sizeof(buf)) > 0)
        s->memory += status_bytes(buf, "RssAnon:") + status_bytes(buf, "RssShmem:");
}

int64_t node__session_memory(pid_t sid)
{
    struct session s = { .sid = sid };
    each_pid(memory_one, &s);
    return s.memory;
}

int64_t node__process_private(pid_t pid)
{
    char buf[4096];
    if (read_small(pid, "status", buf, sizeof(buf)) <= 0)
        return 0;
    return status_bytes(buf, "RssAnon:");
}

struct sessions {
    struct node__session *all;
    size_t count;
};

static void private_one(void *ctx, pid_t pid)
{
    struct sessions *s = ctx;
    struct stat_line st;
    if (read_stat(pid, &st) < 0 || st.state == 'Z' || st.state == 'X')
        return;
    for (size_t i = 0; i < s->count; i++)
        if (s->all[i].sid == st.session)
            s->all[i].bytes += node__process_private(pid);
}

void node__sessions_private(struct node__session *sessions, size_t count)
{
    each_pid(private_one, &(struct sessions){sessions, count});
}

int64_t node__process_peak(pid_t pid)
{
    char buf[4096];
    if (read_small(pid, "status", buf, sizeof(buf)) <= 0)
        return 0;
    return status_bytes(buf, "VmHWM:");
}

/* --- the sweep --- */

struct sweep {
    const char *want[2]; /* "RAYWF_RUN_ID=…"; both, if there are two */
    pid_t spare[64];  /* ourselves and our ancestors */
    int spare_count;
    int killed;
};

static void spare_ancestors(struct sweep *s)
{
    pid_t pid = getpid();
    while (pid > 0 && s->spare_count < (int)RWF_COUNT(s->spare)) {
        struct stat_line st;
        s->spare[s->spare_count++] = pid;
        pid = read_stat(pid, &st) == 0 ? st.ppid : 0;
    }
}

static bool owned(pid_t pid)
{
    char path[64];
    struct stat st;
    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    return stat(path, &st) == 0 && st.st_uid == geteuid();
}

static bool environment_has(pid_t pid, const char *want)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    char *var = NULL;
    size_t cap = 0;
    bool found = false;
    while (!found && getdelim(&var, &cap, '\0', f) > 0)
        found = strcmp(var, want) == 0;
    free(var);
    fclose(f);
    return found;
}

static bool is_leftover(const void *ctx, pid_t pid)
{
    const struct sweep *s = ctx;
    for (int i = 0; i < s->spare_count; i++)
        if (s->spare[i] == pid)
            return false;
    struct stat_line st;
    return owned(pid) && environment_has(pid, s->want[0]) &&
           (!s->want[1] || environment_has(pid, s->want[1])) && read_stat(pid, &st) == 0 &&
           st.state != 'Z' && st.state != 'X';
}

static void sweep_one(void *ctx, pid_t pid)
{
    struct sweep *s = ctx;
    if (is_leftover(s, pid))
        s->killed += kill_if(pid, SIGKILL, is_leftover, s, SWEEP_WAIT_MS);
}

static int sweep_all(struct sweep *s)
{
    int total = 0;
    spare_ancestors(s);
    for (int pass = 0; pass < SWEEP_PASSES; pass++) {
        s->killed = 0;
        each_pid(sweep_one, s);
        if (s->killed == 0)
            break;
        total += s->killed;
    }
    return total;
}

int node__sweep(const char *address, const char *name)
{
    char *socket = rwf_xasprintf("RAYWF_ADDRESS=%s", address);
    char *node = rwf_xasprintf("RAYWF_NODE=%s", name);
    struct sweep s = {.want = {socket, node}};
    int total = sweep_all(&s);
    free(socket);
    free(node);
    return total;
}

int proc_sweep(const char *run_id)
{
    char *want = rwf_xasprintf("RAYWF_RUN_ID=%s", run_id);
    struct sweep s = {.want = {want}};
    int total = sweep_all(&s);
    node__limit_sweep(run_id);
    free(want);
    return total;
}
