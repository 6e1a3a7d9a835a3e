/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a runtime comes from. A session of one's own is `raywf session` on a socketpair
 * (its descriptor 3): it needs no path, and it ends when our end is closed, however we
 * end. The program is RAYWF_BIN, else beside this library, else found in PATH.
 */
#include "config.h"
#include "native/session.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#define END_MS 5000 /* then it is killed */

extern char **environ;

static int connect_to(const char *path, struct rwf_err *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(a.sun_path))
        return rwf_fail(err, ENAMETOOLONG,
                        "the path of a node's socket is too long: %s", path);
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return rwf_fail(err, errno, "socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
        return fd;
    int code = errno;
    close(fd);
    return rwf_fail(
        err, code,
        "no node listens on %s: %s; is it running (`raywf start --head`), and "
        "is RAYWF_ADDRESS right?",
        path, strerror(code));
}

/* --- the program --- */

static char *beside_library(void)
{
    Dl_info info;
    if (!dladdr((void *)(uintptr_t)beside_library, &info) || !info.dli_fname)
        return NULL;
    char *real = realpath(info.dli_fname, NULL);
    if (!real)
        return NULL;
    static const char *const places[] = {"raywf", "../raywf", "../bin/raywf",
                                         "../../bin/raywf", "../../raywf"};
    char *dir = rwf_fs_dirname(real);
    char *found = NULL;
    for (size_t i = 0; i < RWF_COUNT(places) && !found; i++) {
        char *path = rwf_fs_join(dir, places[i]);
        if (rwf_fs_is_file(path) && access(path, X_OK) == 0)
            found = path;
        else
            free(path);
    }
    free(dir);
    free(real);
    return found;
}

static char *find_program(void)
{
    const char *given = getenv("RAYWF_BIN");
    if (given && *given)
        return rwf_xstrdup(given);
    char *found = beside_library();
    return found ? found : rwf_xstrdup("raywf"); /* posix_spawnp searches PATH */
}

/* --- the session --- */

static void add_arg(char **argv, size_t *n, char *arg)
{
    argv[(*n)++] = arg;
    argv[*n] = NULL;
}

static void make_argv(const struct raywf_options *o, char **argv)
{
    size_t n = 0;
    add_arg(argv, &n, rwf_xstrdup("raywf"));
    add_arg(argv, &n, rwf_xstrdup("session"));
    if (o->cpu > 0)
        add_arg(argv, &n, rwf_xasprintf("--cpu=%g", o->cpu));
    if (o->store > 0)
        add_arg(argv, &n, rwf_xasprintf("--store=%lld", (long long)o->store));
    if (o->spill)
        add_arg(argv, &n, rwf_xasprintf("--spill=%s", o->spill));
    if (o->spill_quota > 0)
        add_arg(argv, &n,
                rwf_xasprintf("--spill-quota=%lld", (long long)o->spill_quota));
}

static int spawn(const char *program, char **argv, int fd, pid_t *ret)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, defaults;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, 3);
    posix_spawnattr_init(&attr);
    sigemptyset(&none);
    sigfillset(&defaults);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setpgroup(&attr, 0); /* ^C ends the driver; the session follows */
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                        POSIX_SPAWN_SETPGROUP);
    int rc = posix_spawnp(ret, program, &actions, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

static int start_session(struct native__client *c, struct rwf_err *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return rwf_fail(err, errno, "socketpair: %s", strerror(errno));
    if (pair[1] == 3) { /* dup2 onto itself would keep close-on-exec */
        pair[1] = fcntl(3, F_DUPFD_CLOEXEC, 4);
        close(3);
    }
    char *argv[8], *program = find_program();
    make_argv(&c->options, argv);
    pid_t pid;
    int rc = spawn(program, argv, pair[1], &pid);
    for (size_t i = 0; argv[i]; i++)
        free(argv[i]);
    close(pair[1]);
    if (rc) {
        rwf_fail(
            err, rc,
            "cannot start a runtime: %s: %s; set RAYWF_BIN to the program raywf, or "
            "RAYWF_ADDRESS to the socket of a running node",
            program, strerror(rc));
        close(pair[0]);
        pair[0] = -1;
    } else {
        c->child = pid;
    }
    free(program);
    return pair[0];
}

int native__connect(struct native__client *c, struct rwf_err *err)
{
    if (c->address)
        return connect_to(c->address, err);
    native__session_end(c);
    return start_session(c, err);
}

void native__session_end(struct native__client *c)
{
    if (!c->child)
        return;
    int fd = (int)syscall(SYS_pidfd_open, c->child, 0);
    if (fd >= 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int rc;
        while ((rc = poll(&p, 1, END_MS)) < 0 && errno == EINTR)
            ;
        if (rc == 0)
            kill(c->child, SIGKILL);
        close(fd);
    }
    while (waitpid(c->child, NULL, 0) < 0 && errno == EINTR)
        ;
    c->child = 0;
}
