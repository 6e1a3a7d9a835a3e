/* SPDX-License-Identifier: Apache-2.0
 *
 * Starting a gang (over several nodes: words.c). Ranks on one machine need no network
 * beyond loopback: Open MPI is told to use shared memory, to look for no other hosts,
 * and to bind no rank to a core (the scheduler says what a step may use). What is not
 * for us it would print goes to mpirun.log.
 */
#include "config.h"
#include "gang/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
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
    const char *node = getenv("RAYWF_NODE");
    if (found == NULL)
        rwf_fail(
            err, RWF_E_ENV,
            "%s%s%smpirun, which starts several ranks, is not in PATH: install Open "
            "MPI (Debian: apt-get install openmpi-bin), or ask for one rank",
            node == NULL ? "" : "node ", node == NULL ? "" : node,
            node == NULL ? "" : ": ");
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

static void add_all(struct env *e, const json_t *env)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)env, name, value)
        if (json_is_string(value))
            env_add(e, name, json_string_value(value));
}

/* Ours first, so that it wins. NULL-terminated. */
static struct env make_env(const struct gang__run *x)
{
    const struct gang *g = x->g;
    struct env e = {NULL, 0, 0};
    char threads[16];

    char *secrets =
        x->far == NULL && (x->child.mpirun || g->shim) ? gang__secrets() : NULL;
    if (secrets != NULL)
        env_add(&e, "RAYWF_GANG_SECRETS", secrets);
    free(secrets);
    if (x->far != NULL) {
        json_t *far = gang__far_env(x);
        add_all(&e, far);
        json_decref(far);
    }
    add_all(&e, g->env);
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

/* The nodes, for the agents that start mpirun's daemons there. */
static void describe_nodes(const struct gang *g, const char *mpirun, json_t *json)
{
    json_t *nodes = json_array();
    char *version = gang__mpi_version(mpirun);

    for (int i = 0; i < g->places->count; i++)
        json_array_append_new(
            nodes, json_pack("{s:s, s:I}", "name", g->places->nodes[i].name, "memory",
                             (json_int_t)(g->memory * g->places->nodes[i].count)));
    json_object_set_new(json, "nodes", nodes);
    json_object_set_new(json, "mpi", json_string(version));
    json_object_set_new(json, "program", json_string(g->program));
    free(version);
}

static int write_description(const struct gang__run *x, const char *mpirun,
                             struct rwf_err *err)
{
    const struct gang *g = x->g;
    json_t *json =
        json_pack("{s:i, s:s, s:i, s:O, s:I}", "workers", g->workers, "dir", g->dir,
                  "port", gang_free_port("127.0.0.1"), "argv", g->argv, "beat",
                  (json_int_t)(g->beats ? g->heartbeat_limit : 0));
    if (x->far != NULL)
        describe_nodes(g, mpirun, json);
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

/* The words of the command; json texts, own and far are borrowed. */
static char **make_argv(const struct gang *g, bool mpirun, char *const own[3],
                        char **far)
{
    size_t n = 0, far_count = 0;
    while (far != NULL && far[far_count] != NULL)
        far_count++;
    char **argv =
        rwf_xcalloc(json_array_size(g->argv) + RWF_COUNT(mpi_options) + far_count + 8,
                    sizeof(*argv));
    if (mpirun) {
        argv[n++] = own[0];
        argv[n++] = (char *)"-n";
        argv[n++] = own[1];
        for (size_t i = 0; far == NULL && i < RWF_COUNT(mpi_options); i++)
            argv[n++] = (char *)(uintptr_t)mpi_options[i];
        for (size_t i = 0; i < far_count; i++)
            argv[n++] = far[i];
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
    const char *path;
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
    execve(s->path, s->argv, s->env);
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
        return rwf_fail(err, RWF_E_ENV, "%s does not start: %s", s->path,
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

static int start_process(struct gang__run *x, char *const own[3], char **far,
                         struct rwf_err *err)
{
    struct gang_child *c = &x->child;
    int out[2] = {-1, -1}, err_pipe[2] = {-1, -1};
    char **argv = make_argv(x->g, c->mpirun, own, far);
    struct env env = make_env(x);
    struct spawned s = {.path = argv[0], .argv = argv, .env = env.list};
    int rc = make_pipe(out, err) < 0 || make_pipe(err_pipe, err) < 0 ? -1 : 0;
    /* With a path as its name Open MPI would look for its daemons at that path,
     * everywhere. */
    if (far != NULL)
        argv[0] = (char *)(uintptr_t) "mpirun";
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

int gang__start(struct gang__run *x, struct rwf_err *err)
{
    const struct gang *g = x->g;
    char *own[3] = {NULL, rwf_xasprintf("%d", g->workers),
                    rwf_fs_join(g->dir, "gang.json")};
    char **far = NULL;
    int rc = -1;

    x->child.mpirun = g->workers > 1;
    if (x->child.mpirun)
        own[0] = gang_mpirun(err);
    if (!x->child.mpirun || own[0] != NULL)
        x->child.fifo = open_fifo(g, err);
    if (x->child.fifo >= 0 && x->far != NULL)
        far = gang__mpi_words(x, err);
    if (x->child.fifo >= 0 && (x->far == NULL || far != NULL) &&
        write_description(x, own[0], err) == 0)
        rc = start_process(x, own, far, err);
    for (size_t i = 0; i < RWF_COUNT(own); i++)
        free(own[i]);
    gang__words_free(far);
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
