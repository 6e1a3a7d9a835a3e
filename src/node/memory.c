/* SPDX-License-Identifier: Apache-2.0
 *
 * How much memory is left. The cgroups that bind us are found once: the process does
 * not move between them.
 */
#include "config.h"
#include "node/memory.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"

#define CGROUP_ROOT "/sys/fs/cgroup"
#define GROUPS_MAX 32

/* Of either version of cgroups. */
static const struct version {
    const char *mount, *limit, *usage, *reclaimable;
} versions[] = {
    {CGROUP_ROOT, "memory.max", "memory.current", "\ninactive_file "},
    {CGROUP_ROOT "/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
     "\ntotal_inactive_file "},
};

static struct group {
    char *dir;
    const struct version *version;
} groups[GROUPS_MAX];
static size_t group_count;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static char *read_file(const char *dir, const char *name)
{
    char *path = rwf_fs_join(dir, name);
    char *text = rwf_fs_read(path, 65536, NULL, NULL);
    free(path);
    return text;
}

/* -1: there is no such number ("max", no file). */
static int64_t read_number(const char *dir, const char *name)
{
    char *text = read_file(dir, name), *end;
    long long value = text ? strtoll(text, &end, 10) : -1;
    if (text && end == text)
        value = -1;
    free(text);
    return value;
}

/* The number after key in a file of lines; 0 when it is not there. */
static int64_t keyed(const char *text, const char *key)
{
    const char *at = text ? strstr(text, key) : NULL;
    return at ? strtoll(at + strlen(key), NULL, 10) : 0;
}

static void add_group(const struct version *v, char *dir)
{
    if (group_count < GROUPS_MAX && read_number(dir, v->limit) > 0)
        groups[group_count++] = (struct group){dir, v};
    else
        free(dir);
}

/* The group of path and all above it. */
static void add_chain(const struct version *v, const char *path)
{
    char *rest = rwf_xstrdup(path);
    for (;;) {
        add_group(v, rwf_xasprintf("%s%s", v->mount, rest));
        char *slash = strrchr(rest, '/');
        if (!slash)
            break;
        *slash = '\0';
    }
    free(rest);
}

static void find_groups(void)
{
    char *own = rwf_fs_read("/proc/self/cgroup", 65536, NULL, NULL), *save = NULL;
    for (char *line = own ? strtok_r(own, "\n", &save) : NULL; line;
         line = strtok_r(NULL, "\n", &save)) {
        char *names = strchr(line, ':');
        char *path = names ? strchr(names + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        if (names[1] == '\0')
            add_chain(&versions[0], path);
        else if (strstr(names, "memory"))
            add_chain(&versions[1], path);
    }
    free(own);
}

static void machine_memory(struct node__memory *ret)
{
    char *text = rwf_fs_read("/proc/meminfo", 65536, NULL, NULL);
    ret->total = keyed(text, "MemTotal:") * 1024;
    ret->used = ret->total - keyed(text, "\nMemAvailable:") * 1024;
    free(text);
}

void node__memory(struct node__memory *ret)
{
    pthread_once(&once, find_groups);
    machine_memory(ret);
    for (size_t i = 0; i < group_count; i++) {
        const struct version *v = groups[i].version;
        int64_t total = read_number(groups[i].dir, v->limit);
        if (total <= 0 || total >= ret->total)
            continue;
        char *stat = read_file(groups[i].dir, "memory.stat");
        int64_t used =
            read_number(groups[i].dir, v->usage) - keyed(stat, v->reclaimable);
        free(stat);
        if ((double)used / (double)total > (double)ret->used / (double)ret->total)
            *ret = (struct node__memory){used, total};
    }
}

int64_t node__oom_kills(void)
{
    char *text = rwf_fs_read("/proc/vmstat", 65536, NULL, NULL);
    int64_t count = keyed(text, "\noom_kill ");
    free(text);
    return count;
}
