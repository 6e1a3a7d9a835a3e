/* SPDX-License-Identifier: Apache-2.0
 *
 * Starting a gang. Ranks on one machine need no network beyond loopback: Open MPI is
 * told to use shared memory, to look for no other hosts, and to bind no rank to a core
 * (the scheduler says what a step may use). What is not for us it would print goes to
 * mpirun.log.
 */
#include "config.h"
#include "train/gang_start.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

extern char **environ;

/* --- programs --- */

static bool is_program(const char *path)
{
    return rwf_fs_is_file(path) && access(path, X_OK) == 0;
}

static char *beside(const char *folder, const char *name)
{
    char *path = rwf_fs_join(folder, name);
    if (is_program(path))
        return path;
    free(path);
    return NULL;
}

char *gang_program(struct rwf_err *err)
{
    static const char *const places[] = {"raywf-rank", "../libexec/raywf/raywf-rank",
                                         "../libexec/raywf-rank", "../raywf-rank"};
    const char *given = getenv("RAYWF_RANK");
    if (given != NULL && *given != '\0') {
        if (is_program(given))
            return rwf_fs_absolute(given);
        rwf_fail(err, RWF_E_ENV, "RAYWF_RANK is '%s', which is no program", given);
        return NULL;
    }
    char *self = rwf_fs_self(), *folder = rwf_fs_dirname(self), *found = NULL;
    for (size_t i = 0; found == NULL && i < RWF_COUNT(places); i++)
        found = beside(folder, places[i]);
    if (found == NULL)
        rwf_fail(
            err, RWF_E_ENV,
            "raywf-rank, which trains, is not beside %s nor in its libexec folder: "
            "install raywf as a whole, or set RAYWF_RANK to its path",
            self);
    free(folder);
    free(self);
    return found;
}

char *gang_mpirun(struct rwf_err *err)
{
    const char *path = getenv("PATH");
    char *copy = rwf_xstrdup(path != NULL ? path : "/usr/bin:/bin"), *save = NULL;
    char *found = NULL;
    for (char *dir = strtok_r(copy, ":", &save); dir != NULL && found == NULL;
         dir = strtok_r(NULL, ":", &save))
        found = beside(dir, "mpirun");
    free(copy);
    if (found == NULL)
        rwf_fail(
            err, RWF_E_ENV,
            "mpirun, which starts several workers, is not in PATH: install Open MPI "
            "(Debian: apt-get install openmpi-bin), or set workers: 1");
    return found;
}

/* --- the environment --- */

struct env {
    char **list;
    size_t count, cap;
};

static bool is_set(const struct env *e, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < e->count; i++)
        if (strncmp(e->list[i], name, len) == 0 && e->list[i][len] == '=')
            return true;
    return false;
}

static void env_add(struct env *e, const char *name, const char *value)
{
    if (!is_set(e, name))
        *RWF_PUSH(e->list, e->count, e->cap) = rwf_xasprintf("%s=%s", name, value);
}

/* If raywf itself runs beneath mpirun, its ranks are no part of that job. */
static bool is_foreign(const char *variable)
{
    return getenv("OMPI_COMM_WORLD_SIZE") != NULL &&
           (rwf_starts_with(variable, "OMPI_") || rwf_starts_with(variable, "PMIX_") ||
            rwf_starts_with(variable, "ORTE_"));
}

/* Ours first, so that it wins. NULL-terminated. */
static struct env make_env(const struct gang *g)
{
    struct env e = {NULL, 0, 0};
    char threads[16];
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)g->env, name, value)
        if (json_is_string(value))
            env_add(&e, name, json_string_value(value));
    if (getenv("OMP_NUM_THREADS") == NULL) {
        snprintf(threads, sizeof(threads), "%d", g->cpu >= 2 ? (int)g->cpu : 1);
        env_add(&e, "OMP_NUM_THREADS", threads);
    }
    env_add(&e, "OMPI_ALLOW_RUN_AS_ROOT", "1");
    env_add(&e, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    for (char **v = environ; *v != NULL; v++) {
        char *one = rwf_xstrndup(*v, strcspn(*v, "="));
        if (!is_foreign(*v) && strcmp(one, "RAYWF_REPORT") != 0)
            env_add(&e, one, (*v)[strlen(one)] == '=' ? *v + strlen(one) + 1 : "");
        free(one);
    }
    *RWF_PUSH(e.list, e.count, e.cap) = NULL;
    return e;
}

static void env_free(struct env *e)
{
    for (size_t i = 0; i < e->count; i++)
        free(e->list[i]);
    free(e->list);
}

/* --- what the shims read --- */

/* A port that is free now: the rendezvous of programs that want one. */
static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int port = 0, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &len) == 0)
        port = ntohs(address.sin_port);
    if (fd >= 0)
        close(fd);
    return port;
}

static int write_description(const struct gang *g, struct rwf_err *err)
{
    json_t *json = json_pack("{s:i, s:s, s:i, s:O}", "workers", g->workers, "dir",
                             g->dir, "port", free_port(), "argv", g->argv);
    char *path = rwf_fs_join(g->dir, "gang.json"),
         *text = json_dumps(json, JSON_INDENT(1));
    int rc = text == NULL
                 ? rwf_fail(err, RWF_E_FAILED, "%s: an argument is not UTF-8", path)
                 : rwf_fs_write(path, text, strlen(text), false, err);
    free(text);
    free(path);
    json_decref(json);
    return rc;
}

static int open_fifo(const struct gang *g, struct rwf_err *err)
{
    char *path = rwf_fs_join(g->dir, "report");
    int fd = -1;
    unlink(path);
    if (mkfifo(path, 0600) != 0 ||
        (fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)) < 0)
        rwf_fail(err, RWF_E_ENV, "%s: %s", path, strerror(errno));
    free(path);
    return fd;
}

/* --- the command --- */

static const char *const mpi_options[] = {
    "--oversubscribe", "--bind-to", "none", "--quiet",
    /* no other machines, nothing but shared memory and loopback */
    "--mca", "plm", "isolated", "--mca", "btl", "self,vader", "--mca",
    "oob_tcp_if_include", "lo", "--mca", "btl_base_warn_component_unused", "0"};

/* The words of the command; json texts are borrowed, *ret_own is the caller's to free.
 */
static char **make_argv(const struct gang *g, bool mpirun, char *const own[3])
{
    size_t n = 0;
    char **argv = rwf_xcalloc(json_array_size(g->argv) + RWF_COUNT(mpi_options) + 8,
                              sizeof(*argv));
    if (mpirun) {
        argv[n++] = own[0];
        argv[n++] = (char *)"-n";
        argv[n++] = own[1];
        for (size_t i = 0; i < RWF_COUNT(mpi_options); i++)
            argv[n++] = (char *)(uintptr_t)mpi_options[i];
    }
    if (mpirun || g->shim) {
        argv[n++] = (char *)(uintptr_t)g->program;
        argv[n++] = (char *)"exec";
        argv[n++] = own[2];
        return argv;
    }
    for (size_t i = 0; i < json_array_size(g->argv); i++)
        argv[n++] = (char *)(uintptr_t)json_string_value(json_array_get(g->argv, i));
    return argv;
}

struct spawned {
    char **argv, **env;
    int out, err;
    pid_t parent;
    volatile int error; /* the answer: errno of execve */
};

/* In our memory, until execve: system calls only. mpirun has a process group of its
 * own, so that what is sent to ours is for us to pass on; and it dies when we do. */
__attribute__((noreturn)) static void become(struct spawned *s)
{
    sigset_t none;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigemptyset(&none);
    close(0);
    if (getppid() != s->parent || open("/dev/null", O_RDONLY) != 0 ||
        dup2(s->out, 1) < 0 || dup2(s->err, 2) < 0)
        _exit(126);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(s->argv[0], s->argv, s->env);
    s->error = errno;
    _exit(127);
}

static int spawn(struct spawned *s, pid_t *ret, struct rwf_err *err)
{
    s->parent = getpid();
    s->error = 0;
    pid_t pid = vfork(); /* posix_spawn cannot set the parent-death signal */
    if (pid == 0)
        become(s);
    if (pid < 0)
        return rwf_fail(err, RWF_E_ENV, "cannot start a process: %s", strerror(errno));
    if (s->error != 0) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            continue;
        return rwf_fail(err, RWF_E_ENV, "%s does not start: %s", s->argv[0],
                        strerror(s->error));
    }
    *ret = pid;
    return 0;
}

static int make_pipe(int fds[2], struct rwf_err *err)
{
    if (pipe2(fds, O_CLOEXEC) != 0)
        return rwf_fail(err, errno, "cannot make a pipe: %s", strerror(errno));
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    return 0;
}

static int start_process(const struct gang *g, struct gang_child *c, char *const own[3],
                         struct rwf_err *err)
{
    int out[2] = {-1, -1}, err_pipe[2] = {-1, -1};
    char **argv = make_argv(g, c->mpirun, own);
    struct env env = make_env(g);
    struct spawned s = {.argv = argv, .env = env.list};
    int rc = make_pipe(out, err) < 0 || make_pipe(err_pipe, err) < 0 ? -1 : 0;
    s.out = out[1];
    s.err = err_pipe[1];
    if (rc == 0)
        rc = spawn(&s, &c->pid, err);
    c->out = out[0];
    c->err = err_pipe[0];
    if (out[1] >= 0)
        close(out[1]);
    if (err_pipe[1] >= 0)
        close(err_pipe[1]);
    if (rc == 0)
        c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0U);
    env_free(&env);
    free(argv);
    return rc;
}

int gang__start(const struct gang *g, struct gang_child *ret, struct rwf_err *err)
{
    char *own[3] = {NULL, rwf_xasprintf("%d", g->workers),
                    rwf_fs_join(g->dir, "gang.json")};
    int rc = -1;

    *ret = (struct gang_child){
        .pidfd = -1, .out = -1, .err = -1, .fifo = -1, .mpirun = g->workers > 1};
    if (ret->mpirun)
        own[0] = gang_mpirun(err);
    ret->fifo = ret->mpirun && own[0] == NULL ? -1 : open_fifo(g, err);
    if (ret->fifo >= 0 && write_description(g, err) == 0)
        rc = start_process(g, ret, own, err);
    for (size_t i = 0; i < RWF_COUNT(own); i++)
        free(own[i]);
    if (rc != 0)
        gang__close(ret);
    return rc;
}

void gang__close(struct gang_child *c)
{
    int *fds[] = {&c->pidfd, &c->out, &c->err, &c->fifo};
    for (size_t i = 0; i < RWF_COUNT(fds); i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}
