/* SPDX-License-Identifier: Apache-2.0
 *
 * native_clients PLUGIN COUNT: a runtime, and COUNT other clients of it, some at a
 * time: each puts an object, runs a task and ends: in order, without a word, or by
 * SIGKILL. native_clients PLUGIN HOW ADDRESS: one of them.
 */
#include <dirent.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "native_result.h"
#include "raywf.h"

#define AT_A_TIME 4
#define MOMENT 50000  /* us */
#define PATIENCE 6000 /* moments: only against hanging */

extern char **environ;
static struct raywf_error err;

static int die(const char *what)
{
    printf("FAILED: %s: %s\n", what, err.text);
    return 1;
}

/* --- one client --- */

static int client(const char *plugin, int how, const char *address)
{
    struct raywf_options o = {.address = address};
    struct raywf_task_options t = {.resources = {.cpu = 0.5}};
    struct job job = {.id = 3, .size = 50000};
    struct raywf_ref put, ref;
    struct raywf_task *work;
    static char bytes[100000];

    if (raywf_init(&o, &err) != 0 || !(work = raywf_task(plugin, "work", &t, &err)) ||
        raywf_put(bytes, sizeof(bytes), &put, &err) != 0 ||
        raywf_submit(work, RAYWF_ARGS(RAYWF_BYTES(&job, sizeof(job))), &ref, &err) != 0)
        return die("client");
    if (how % 5 == 0) /* while its task is under way */
        raise(SIGKILL);
    struct raywf_value v;
    if (raywf_get(ref, 300 * RAYWF_S, &v, &err) != 0)
        return die("client: get");
    if (how % 3 == 0)
        raise(SIGKILL);
    if (how % 3 == 1)
        _exit(0);
    raywf_release(&v);
    raywf_shutdown();
    return 0;
}

/* --- all of them --- */

static long session; /* pid */

static long children(long parent)
{
    char path[64];
    long pid = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%ld/task/%ld/children", parent, parent);
    f = fopen(path, "re");
    if (f && fscanf(f, "%ld", &pid) != 1)
        pid = 0;
    if (f)
        fclose(f);
    return pid;
}

static long descriptors(void)
{
    char path[64];
    long n = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%ld/fd", session);
    dir = opendir(path);
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static long memory(void) /* KiB of its own, not of the store */
{
    char path[64], line[256];
    long kib = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%ld/status", session);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "RssAnon: %ld", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib;
}

static int start(const char *self, const char *plugin, int how, const char *address,
                 pid_t *ret)
{
    char text[16];
    char *argv[] = {(char *)(uintptr_t)self, (char *)(uintptr_t)plugin, text,
                    (char *)(uintptr_t)address, NULL};

    snprintf(text, sizeof(text), "%d", how);
    return posix_spawn(ret, self, NULL, NULL, argv, environ);
}

/* Whether it ended as it should have. */
static int end(pid_t pid, int how)
{
    bool killed = how % 5 == 0 || how % 3 == 0;
    int status;

    if (waitpid(pid, &status, 0) != pid)
        return -1;
    return killed ? (WIFSIGNALED(status) ? 0 : -1)
                  : (WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1);
}

/* NULL: it has hardly more than once. */
static const char *leaks(long fds, long kib)
{
    if (descriptors() > fds + 40)
        return "descriptors leak";
    return memory() > kib + 4096 + kib / 4 ? "memory leaks" : NULL;
}

static int all(const char *self, const char *plugin, int count, const char *address)
{
    long fds = 0, kib = 0;
    pid_t pids[AT_A_TIME];

    for (int i = 0; i < count + AT_A_TIME; i++) {
        if (i >= AT_A_TIME && end(pids[i % AT_A_TIME], i - AT_A_TIME) < 0)
            return die("a client failed");
        if (i < count && start(self, plugin, i, address, &pids[i % AT_A_TIME]) != 0)
            return die("spawn");
        if (i == count / 5)
            fds = descriptors(), kib = memory();
    }
    /* The last ones have ended; that the node has heard of it may take a moment. */
    const char *leak = leaks(fds, kib);
    for (int i = 0; leak && i < PATIENCE; i++, leak = leaks(fds, kib))
        usleep(MOMENT);
    printf("descriptors %ld -> %ld, memory %ld -> %ld KiB\n", fds, descriptors(), kib,
           memory());
    return leak ? die(leak) : 0;
}

static int address_of(const char *plugin, char *out, size_t size)
{
    struct raywf_task *task = raywf_task(plugin, "address", NULL, &err);
    struct raywf_value v;
    struct raywf_ref ref;

    if (!task || raywf_submit(task, RAYWF_NO_ARGS, &ref, &err) != 0 ||
        raywf_get(ref, 300 * RAYWF_S, &v, &err) != 0)
        return -1;
    snprintf(out, size, "%s", (const char *)v.data);
    raywf_release(&v);
    raywf_drop(ref);
    return 0;
}

int main(int argc, char **argv)
{
    struct raywf_options o = {.address = "", .cpu = 2, .store = 64 << 20};
    char address[200];
    struct raywf_ref ref;

    if (argc == 4)
        return client(argv[1], atoi(argv[2]), argv[3]);
    if (argc != 3)
        return 2;
    if (raywf_init(&o, &err) != 0)
        return die("no runtime");
    session = children(getpid());
    if (address_of(argv[1], address, sizeof(address)) != 0)
        return die("no address");
    if (all(argv[0], argv[1], atoi(argv[2]), address) != 0)
        return 1;
    /* Nothing of theirs is left in the store: nearly all of it can be had in one piece.
     */
    int tries = 0;
    while (!raywf_create((size_t)60 << 20, &ref, &err)) {
        if (++tries == PATIENCE)
            return die("objects leak");
        usleep(MOMENT);
    }
    raywf_shutdown();
    printf("%s clients\n", argv[2]);
    return 0;
}
