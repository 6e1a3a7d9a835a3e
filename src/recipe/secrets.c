/* SPDX-License-Identifier: Apache-2.0
 *
 * Secrets come from a variable, a file or a command. A value is kept in memory only, is
 * known to the redaction set before anybody else can see it, and is wiped at the end.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/redact.h"
#include "base/str.h"
#include "recipe/load.h"

#define SECRET_MAX 65536 /* bytes */
#define COMMAND_SECONDS 10

extern char **environ;

static char *from_variable(const struct recipe_node *name, struct rwf_err *err)
{
    const char *value = getenv(name->text);
    if (value != NULL)
        return rwf_xstrdup(value);
    rwf_fail(err, RWF_E_ENV, "the environment variable %s is not set", name->text);
    return NULL;
}

static char *from_file(const struct recipe *r, const struct recipe_node *path,
                       struct rwf_err *err)
{
    char *full = rwf_fs_join(r->dir, path->text);
    size_t len = 0;
    char *value = rwf_fs_read(full, SECRET_MAX, &len, err);
    if (value == NULL && err != NULL)
        err->code = RWF_E_ENV;
    free(full);
    return value;
}

/* Starts argv in a group of its own with nothing on stdin; its output in *ret_fd. */
static pid_t start(const struct recipe *r, char *const argv[], int *ret_fd,
                   struct rwf_err *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int ends[2];
    pid_t pid = -1;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        rwf_fail(err, RWF_E_ENV, "pipe: %s", strerror(errno));
        return -1;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addchdir_np(&actions, r->dir);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    int failed = posix_spawnp(&pid, argv[0], &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *ret_fd = ends[0];
    if (failed == 0)
        return pid;
    close(ends[0]);
    rwf_fail(err, RWF_E_ENV, "cannot start '%s': %s", argv[0], strerror(failed));
    return -1;
}

static int too_late(struct rwf_err *err)
{
    return rwf_fail(err, RWF_E_ENV, "its command did not end within %d seconds",
                    COMMAND_SECONDS);
}

/* All output until its end. -1 and *err when it is too long or too late. */
static int collect(int fd, int64_t deadline, struct rwf_str *out, struct rwf_err *err)
{
    for (;;) {
        char buffer[4096];
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int64_t left = (deadline - rwf_clock_mono()) / RWF_NS_PER_MS;
        int n = left <= 0 ? 0 : poll(&ready, 1, (int)left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return too_late(err);
        ssize_t got = read(fd, buffer, sizeof(buffer));
        if (got > 0)
            rwf_str_addn(out, buffer, (size_t)got);
        explicit_bzero(buffer, sizeof(buffer));
        if (out->len > SECRET_MAX)
            return rwf_fail(err, RWF_E_ENV, "its command printed more than %d bytes",
                            SECRET_MAX);
        if (got == 0)
            return 0;
        if (got < 0 && errno != EINTR)
            return rwf_fail(err, RWF_E_ENV, "%s", strerror(errno));
    }
}

/* Waits for the end of pid, which may live on after it closed its output. rc < 0: it is
 * of no use any more and is killed with its group. */
static int await(pid_t pid, const char *name, int64_t deadline, int rc,
                 struct rwf_err *err)
{
    const struct timespec pause = {.tv_nsec = 5 * RWF_NS_PER_MS};
    int status = 0;
    pid_t ended = 0;
    while (rc == 0 && (ended = waitpid(pid, &status, WNOHANG)) == 0) {
        nanosleep(&pause, NULL);
        if (rwf_clock_mono() > deadline)
            rc = too_late(err);
    }
    if (ended == 0) {
        kill(-pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            continue;
    }
    if (rc < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
        return rc;
    return rwf_fail(err, RWF_E_ENV, "its command '%s' failed (%s %d)", name,
                    WIFEXITED(status) ? "exit code" : "signal",
                    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

static char *from_command(const struct recipe *r, const struct recipe_node *list,
                          struct rwf_err *err)
{
    struct rwf_str out = {0};
    int64_t deadline = rwf_clock_mono() + COMMAND_SECONDS * RWF_NS_PER_S;
    int fd = -1, rc;
    char **argv = rwf_xcalloc(list->count + 1, sizeof(*argv));
    for (size_t i = 0; i < list->count; i++)
        argv[i] = (char *)recipe_text(list->items[i], "");
    pid_t pid = start(r, argv, &fd, err);
    free(argv);
    if (pid < 0)
        return NULL;
    rc = collect(fd, deadline, &out, err);
    close(fd);
    rc = await(pid, recipe_text(list->items[0], ""), deadline, rc, err);
    if (rc == 0)
        return rwf_str_take(&out);
    if (out.len > 0)
        explicit_bzero(out.data, out.len);
    rwf_str_free(&out);
    return NULL;
}

static char *read_value(const struct recipe *r, const struct recipe_node *body,
                        struct rwf_err *err)
{
    const struct recipe_node *variable = recipe_get(body, "env");
    const struct recipe_node *path = recipe_get(body, "file");
    const struct recipe_node *command = recipe_get(body, "command");
    if (variable != NULL)
        return from_variable(variable, err);
    if (path != NULL)
        return from_file(r, path, err);
    if (command != NULL && command->kind == RECIPE_LIST && command->count > 0)
        return from_command(r, command, err);
    rwf_fail(err, RWF_E_RECIPE, "it has none of env, file and command");
    return NULL;
}

static void strip_newline(char *value)
{
    size_t len = strlen(value);
    if (len > 0 && value[len - 1] == '\n')
        value[--len] = '\0';
    if (len > 0 && value[len - 1] == '\r')
        value[len - 1] = '\0';
}

static int read_one(struct recipe *r, const struct recipe_pair *pair,
                    struct rwf_err *err)
{
    if (rwf_map_get(r->secrets, pair->key) != NULL)
        return 0;
    char *value = read_value(r, pair->value, err);
    if (value == NULL)
        return -1;
    strip_newline(value);
    if (rwf_redact_add(pair->key, value, NULL) < 0) {
        explicit_bzero(value, strlen(value));
        free(value);
        return rwf_fail(err, RWF_E_INPUT,
                        "it is too short to be kept out of logs: use a longer one");
    }
    rwf_map_set(r->secrets, pair->key, value);
    return 0;
}

int recipe_secrets_read(struct recipe *r, struct rwf_err *err)
{
    const struct recipe_node *secrets = recipe_get(r->root, "secrets");
    for (size_t i = 0;
         secrets != NULL && secrets->kind == RECIPE_MAP && i < secrets->count; i++) {
        if (read_one(r, &secrets->pairs[i], err) == 0)
            continue;
        char *where = recipe_where(r->reader.sources, secrets->pairs[i].key_span);
        rwf_wrap(err, "%s: secret '%s'", where, secrets->pairs[i].key);
        free(where);
        return -1;
    }
    return 0;
}

const char *recipe_secret(const struct recipe *r, const char *name)
{
    return rwf_map_get(r->secrets, name);
}
