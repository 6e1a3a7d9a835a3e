/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a cgroup for a step can be made is found out once per process, by making one:
 *   v2  beneath our own cgroup when it hands the memory controller on, else next to it
 *       (that is where a user's systemd session delegates), else by asking our own to
 *   v1  beneath our own cgroup of the memory hierarchy
 * Groups are named raywf-RUNID-PID-N, so that a later head can tell whose they were.
 */
#include "config.h"
#include "node/limit.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "node/proc.h"
#include "node/procfs.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static enum node__limit_kind place_kind = LIMIT_WATCH;
static char *place; /* the folder groups are made in; lives as long as the process */
static bool force_watch;
static unsigned counter;

static int put(const char *dir, const char *file, const char *text)
{
    char *path = rwf_fs_join(dir, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    free(path);
    if (fd < 0)
        return -1;
    ssize_t n = write(fd, text, strlen(text));
    close(fd);
    return n < 0 ? -1 : 0;
}

static int put_number(const char *dir, const char *file, int64_t value)
{
    char text[32];
    snprintf(text, sizeof(text), "%lld\n", (long long)value);
    return put(dir, file, text);
}

/* A small file of the group; "" when it cannot be read. */
static void get(const char *dir, const char *file, char *buf, size_t size)
{
    char *path = rwf_fs_join(dir, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    free(path);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);
    buf[n > 0 ? n : 0] = '\0';
    if (fd >= 0)
        close(fd);
}

/* The number after key in "key 12\nother 3\n"; 0 when there is none. */
static int64_t keyed(const char *text, const char *key)
{
    size_t len = strlen(key);
    for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
        if (strncmp(p, key, len) == 0 && p[len] == ' ')
            return strtoll(p + len, NULL, 10);
    return 0;
}

static int set_limits(enum node__limit_kind kind, const char *dir, int64_t bytes)
{
    if (kind == LIMIT_CGROUP2) {
        if (put_number(dir, "memory.max", bytes) < 0)
            return -1;
        put(dir, "memory.swap.max", "0\n");
        put(dir, "memory.oom.group", "1\n"); /* all of the step goes, not one of it */
        return 0;
    }
    if (put_number(dir, "memory.limit_in_bytes", bytes) < 0)
        return -1;
    put_number(dir, "memory.memsw.limit_in_bytes", bytes);
    put(dir, "memory.swappiness", "0\n");
    return 0;
}

static bool try_place(enum node__limit_kind kind, const char *dir)
{
    char name[64];
    snprintf(name, sizeof(name), "raywf-probe-%d", (int)getpid());
    char *probe = rwf_fs_join(dir, name);
    bool ok = mkdir(probe, 0755) == 0;
    if (ok) {
        ok = set_limits(kind, probe, 1 << 30) == 0;
        rmdir(probe);
    }
    free(probe);
    if (ok) {
        place_kind = kind;
        place = rwf_xstrdup(dir);
    }
    return ok;
}

/* Our path in a hierarchy from /proc/self/cgroup: its lines are "id:controllers:path",
 * with no controllers for v2. */
static char *own_path(const char *controller)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char *line = NULL, *found = NULL;
    size_t cap = 0;
    while (f && !found && getline(&line, &cap, f) > 0) {
        line[strcspn(line, "\n")] = '\0';
        char *names = strchr(line, ':');
        char *path = names ? strchr(names + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        char *save = NULL;
        const char *one = strtok_r(names + 1, ",", &save);
        for (; one && strcmp(one, controller) != 0; one = strtok_r(NULL, ",", &save))
            continue;
        if (one || (*controller == '\0' && names[1] == '\0'))
            found = rwf_xstrdup(path);
    }
    free(line);
    if (f)
        fclose(f);
    return found;
}

/* Where a hierarchy is mounted: the type and option of a line of /proc/self/mounts. */
static char *mount_point(const char *type, const char *option)
{
    FILE *f = fopen("/proc/self/mounts", "re");
    char *line = NULL, *found = NULL;
    size_t cap = 0;
    while (f && !found && getline(&line, &cap, f) > 0) {
        char *save = NULL;
        strtok_r(line, " ", &save);
        const char *at = strtok_r(NULL, " ", &save);
        const char *fs = strtok_r(NULL, " ", &save);
        char *options = strtok_r(NULL, " ", &save);
        if (!options || strcmp(fs, type) != 0)
            continue;
        const char *one = strtok_r(options, ",", &save);
        for (; one && option && strcmp(one, option) != 0;
             one = strtok_r(NULL, ",", &save))
            continue;
        if (one)
            found = rwf_xstrdup(at);
    }
    free(line);
    if (f)
        fclose(f);
    return found;
}

static bool hands_memory_on(const char *dir)
{
    char text[512];
    get(dir, "cgroup.subtree_control", text, sizeof(text));
    char *save = NULL;
    for (const char *p = strtok_r(text, " \n", &save); p;
         p = strtok_r(NULL, " \n", &save))
        if (strcmp(p, "memory") == 0)
            return true;
    return false;
}

static bool find_v2(void)
{
    char *mount = mount_point("cgroup2", NULL), *path = own_path("");
    bool ok = false;
    if (mount && path) {
        char *own = rwf_xasprintf("%s%s", mount, strcmp(path, "/") == 0 ? "" : path);
        char *parent = rwf_fs_dirname(own);
        ok = hands_memory_on(own) && try_place(LIMIT_CGROUP2, own);
        if (!ok && strlen(own) > strlen(mount))
            ok = hands_memory_on(parent) && try_place(LIMIT_CGROUP2, parent);
        if (!ok) /* refused while processes are in it, save for the root of all */
            ok = put(own, "cgroup.subtree_control", "+memory\n") == 0 &&
                 try_place(LIMIT_CGROUP2, own);
        free(parent);
        free(own);
    }
    free(mount);
    free(path);
    return ok;
}

static bool find_v1(void)
{
    char *mount = mount_point("cgroup", "memory"), *path = own_path("memory");
    bool ok = false;
    if (mount && path) {
        char *own = rwf_xasprintf("%s%s", mount, strcmp(path, "/") == 0 ? "" : path);
        /* In a container our path may be the host's: then the mount itself is ours. */
        ok = try_place(LIMIT_CGROUP1, own) || try_place(LIMIT_CGROUP1, mount);
        free(own);
    }
    free(mount);
    free(path);
    return ok;
}

static void find_place(void)
{
    if (!find_v2() && !find_v1())
        rwf_log(RWF_LOG_INFO, "run",
                "no cgroup for memory limits here, watching instead");
}

char *proc_memory_limits(void)
{
    pthread_once(&once, find_place);
    if (place_kind == LIMIT_WATCH)
        return NULL;
    return rwf_xasprintf("cgroup %s at %s", place_kind == LIMIT_CGROUP2 ? "v2" : "v1", place);
}

void node__limit_begin(struct node__limit *l, const char *run_id, int64_t bytes)
{
    *l = (struct node__limit){.kind = bytes > 0 ? LIMIT_WATCH : LIMIT_NONE,
                             .bytes = bytes};
    if (bytes <= 0 || force_watch)
        return;
    pthread_once(&once, find_place);
    if (place_kind == LIMIT_WATCH)
        return;
    char *path = rwf_xasprintf("%s/raywf-%s-%d-%u", place, run_id, (int)getpid(),
                               __atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED));
    if (mkdir(path, 0755) == 0 && set_limits(place_kind, path, bytes) == 0) {
        l->kind = place_kind;
        l->path = path;
        return;
    }
    rwf_log(RWF_LOG_WARN, "run", "cannot make cgroup %s (%s), watching instead", path,
            strerror(errno));
    rmdir(path);
    free(path);
}

int node__limit_join(const struct node__limit *l)
{
    if (!l->path)
        return -1;
    char *procs = rwf_fs_join(l->path, "cgroup.procs");
    int fd = open(procs, O_WRONLY | O_CLOEXEC);
    free(procs);
    return fd;
}

bool node__limit_over(struct node__limit *l, pid_t sid)
{
    int64_t now = node__session_memory(sid);
    if (now > l->peak)
        l->peak = now;
    return now > l->bytes;
}

bool node__limit_was_hit(const struct node__limit *l)
{
    char text[512];
    if (l->kind <= LIMIT_WATCH)
        return l->kind == LIMIT_WATCH && l->peak > l->bytes;
    get(l->path, l->kind == LIMIT_CGROUP2 ? "memory.events" : "memory.oom_control",
        text, sizeof(text));
    return keyed(text, "oom_kill") > 0;
}

int64_t node__limit_peak(const struct node__limit *l)
{
    char text[64];
    if (!l->path)
        return l->peak;
    get(l->path, l->kind == LIMIT_CGROUP2 ? "memory.peak" : "memory.max_usage_in_bytes",
        text, sizeof(text));
    return strtoll(text, NULL, 10);
}

static void kill_all_in(const char *path)
{
    char text[4096];
    if (put(path, "cgroup.kill", "1\n") == 0)
        return;
    get(path, "cgroup.procs", text, sizeof(text));
    char *save = NULL;
    for (const char *p = strtok_r(text, "\n", &save); p;
         p = strtok_r(NULL, "\n", &save))
        if (atoi(p) > 0)
            kill((pid_t)atoi(p), SIGKILL);
}

bool node__limit_end(struct node__limit *l)
{
    if (!l->path || rmdir(l->path) == 0 || errno != EBUSY) {
        node__limit_free(l);
        return true;
    }
    kill_all_in(l->path);
    return false;
}

void node__limit_free(struct node__limit *l)
{
    free(l->path);
    l->path = NULL;
}

void node__limit_sweep(const char *run_id)
{
    pthread_once(&once, find_place);
    if (!place)
        return;
    char *prefix = rwf_xasprintf("raywf-%s-", run_id);
    DIR *d = opendir(place);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        if (!rwf_starts_with(e->d_name, prefix))
            continue;
        char *path = rwf_fs_join(place, e->d_name);
        kill_all_in(path);
        for (int i = 0; i < 100 && rmdir(path) < 0 && errno == EBUSY; i++)
            usleep(2000);
        free(path);
    }
    if (d)
        closedir(d);
    free(prefix);
}

void node__limit_force_watch(bool on)
{
    force_watch = on;
}
