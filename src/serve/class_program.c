/* SPDX-License-Identifier: Apache-2.0
 *
 * A program from its start to its end.
 */
#include "config.h"
#include "serve/class_program.h"
#include "serve/relay.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/scratch.h"
#include "base/str.h"
#include "base/units.h"

#define LOOK_MS 20 /* between two looks at a program that starts */
#define TURN_MS 50 /* and at one that runs */
#define PROBE_MS 2000

extern char **environ;

struct serve_program {
    struct serve__child child;
    char *socket, *address, *health;
    struct rwf_scratch folder; /* of its socket and its log, where the server's is not */
    struct serve__relay_thread *relay; /* NULL: the front is on this machine */
    int port;
    int64_t grace;
};

/* --- what it is started with --- */

/* text with ${replica.socket}, ${replica.port} and ${replica.id} filled in. */
static char *filled(const struct serve_program *p, const char *id, const char *text)
{
    char port[16];
    struct rwf_str out = {0};
    snprintf(port, sizeof(port), "%d", p->port);
    const struct {
        const char *name, *value;
    } known[] = {{"${replica.socket}", p->socket},
                 {"${replica.port}", port},
                 {"${replica.id}", id}};
    while (*text != '\0') {
        size_t i = 0;
        while (i < RWF_COUNT(known) && !rwf_starts_with(text, known[i].name))
            i++;
        if (i < RWF_COUNT(known)) {
            rwf_str_add(&out, known[i].value);
            text += strlen(known[i].name);
        } else {
            rwf_str_addc(&out, *text++);
        }
    }
    return rwf_str_take(&out);
}

static char **make_argv(const struct serve_program *p, const char *id,
                        const json_t *list)
{
    size_t i;
    json_t *value;
    char **argv = rwf_xcalloc(json_array_size(list) + 1, sizeof(*argv));
    json_array_foreach((json_t *)(uintptr_t)list, i, value) {
        const char *text = json_string_value(value);
        /* This very program, wherever PATH leads. */
        argv[i] = i == 0 && text != NULL && strcmp(text, "raywf") == 0
                      ? rwf_fs_self()
                      : filled(p, id, text != NULL ? text : "");
    }
    return argv;
}

/* Ours, without what the recipe gives another value. */
static char **make_env(const struct serve_program *p, const char *id, const json_t *env)
{
    const char *name;
    json_t *value;
    size_t n = 0, count = 0;
    while (environ[count] != NULL)
        count++;
    char **out = rwf_xcalloc(count + json_object_size(env) + 4, sizeof(*out));
    out[n++] = rwf_xasprintf("RAYWF_SOCKET=%s", p->socket);
    out[n++] = rwf_xasprintf("RAYWF_REPLICA=%s", id);
    json_object_foreach((json_t *)(uintptr_t)env, name, value) {
        char *text =
            filled(p, id, json_is_string(value) ? json_string_value(value) : "");
        out[n++] = rwf_xasprintf("%s=%s", name, text);
        free(text);
    }
    if (json_object_get(env, "PORT") == NULL)
        out[n++] = rwf_xasprintf("PORT=%d", p->port);
    size_t own = n;
    for (size_t i = 0; i < count; i++) {
        size_t len = strcspn(environ[i], "="), k = 0;
        while (k < own &&
               !(strncmp(out[k], environ[i], len) == 0 && out[k][len] == '='))
            k++;
        if (k == own)
            out[n++] = rwf_xstrdup(environ[i]);
    }
    return out;
}

static void free_list(char **list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        free(list[i]);
    free(list);
}

static const char *text_of(const json_t *how, const char *key, const char *fallback)
{
    const char *text = json_string_value(json_object_get(how, key));
    return text != NULL ? text : fallback;
}

static int spawn(struct serve_program *p, const json_t *how, struct rwf_err *err)
{
    const json_t *list = json_object_get(how, "argv");
    const char *id = text_of(how, "id", "");
    if (json_array_size(list) == 0)
        return rwf_fail(err, RWF_E_RECIPE, "the program has no command");
    char **argv = make_argv(p, id, list);
    char **env = make_env(p, id, json_object_get(how, "env"));
    unlink(p->socket);
    int rc = serve__child_start(&p->child, argv, env, text_of(how, "dir", NULL),
                                text_of(how, "log", NULL), err);
    free_list(argv);
    free_list(env);
    return rc;
}

/* --- on another machine than the front's --- */

static bool is_away(const json_t *how)
{
    char *here = serve_program_machine();
    bool away = strcmp(text_of(how, "front", here), here) != 0;
    free(here);
    return away;
}

/* Sockets are of one machine; and the server's folder may not be there. */
static int make_folder(struct serve_program *p, json_t *how, struct rwf_err *err)
{
    if (rwf_scratch_make(&p->folder, "raywf-replica-", err) != 0)
        return -1;
    char *socket = rwf_fs_join(p->folder.path, "socket"),
         *log = rwf_fs_join(p->folder.path, "log");
    char *folder = rwf_fs_dirname(text_of(how, "log", log));
    json_object_set_new(how, "socket", json_string(socket));
    if (access(folder, W_OK) != 0)
        json_object_set_new(how, "log", json_string(log));
    free(folder);
    free(log);
    free(socket);
    return 0;
}

static int open_relay(struct serve_program *p, const json_t *how, struct rwf_err *err)
{
    const char *host = getenv("RAYWF_NODE_HOST"), *token = text_of(how, "token", "");
    if (host == NULL || strlen(token) != SERVE_RELAY_TOKEN)
        return 0; /* the front says that it cannot ask it */
    char *at = rwf_xasprintf("tcp:%s", host);
    const struct serve__relay_options o = {
        .listen = at, .target = p->address, .token = token, .checks = true};
    p->relay = serve__relay_start(&o, err);
    free(at);
    return p->relay != NULL ? 0 : -1;
}

/* --- how it ended --- */

static int say_end(struct serve_program *p, int code, const char *what,
                   struct rwf_err *err)
{
    char *tail = serve__child_tail(&p->child);
    rwf_fail(err, code, "%s%s%s", what,
             *tail != '\0' ? "; its last lines:\n" : "; it printed nothing", tail);
    free(tail);
    return -1;
}

static int say_exit(struct serve_program *p, const char *when, struct rwf_err *err)
{
    char what[160];
    int s = p->child.status;
    if (WIFSIGNALED(s))
        snprintf(what, sizeof(what), "the program was killed by signal %d (%s)%s",
                 WTERMSIG(s), strsignal(WTERMSIG(s)), when);
    else
        snprintf(what, sizeof(what), "the program ended with exit code %d%s",
                 WEXITSTATUS(s), when);
    return say_end(p, RWF_E_FAILED, what, err);
}

/* TERM, and KILL when it does not end in time. */
static void end(struct serve_program *p)
{
    int64_t deadline = rwf_clock_mono() + p->grace;
    serve__child_signal(&p->child, SIGTERM);
    while (serve__child_turn(&p->child, TURN_MS))
        if (rwf_clock_mono() >= deadline)
            serve__child_signal(&p->child, SIGKILL);
}

/* --- until it is healthy --- */

static bool healthy(struct serve_program *p, struct rwf_err *why)
{
    char *address[2] = {rwf_xasprintf("unix:%s", p->socket),
                        rwf_xasprintf("http://127.0.0.1:%d", p->port)};
    for (int i = 0; i < 2 && p->address == NULL; i++) {
        struct rwf_err ignored = RWF_ERR_INIT;
        if (serve__probe(address[i], NULL, PROBE_MS, &ignored) == 0)
            p->address = rwf_xstrdup(address[i]);
    }
    free(address[0]);
    free(address[1]);
    if (p->address != NULL)
        return serve__probe(p->address, p->health, PROBE_MS, why) == 0;
    rwf_fail(why, RWF_E_DEADLINE,
             "it listens neither at ${replica.socket} (RAYWF_SOCKET) nor at "
             "127.0.0.1:${replica.port} (PORT)");
    return false;
}

static int wait_healthy(struct serve_program *p, int64_t start_grace,
                        serve_program_cancelled_fn cancelled, void *ctx,
                        struct rwf_err *err)
{
    int64_t deadline = rwf_clock_mono() + start_grace;
    struct rwf_err why = RWF_ERR_INIT;
    char what[640], span[RWF_UNITS_LEN];
    while (serve__child_turn(&p->child, LOOK_MS)) {
        if (healthy(p, &why))
            return 0;
        if (cancelled(ctx)) {
            end(p);
            return rwf_fail(err, RWF_E_STOPPED, "stopped while it started");
        }
        if (rwf_clock_mono() < deadline)
            continue;
        serve__child_signal(&p->child, SIGTERM);
        serve__child_turn(&p->child, TURN_MS);
        snprintf(what, sizeof(what), "the program was not healthy within %s: %.500s",
                 rwf_duration_format(start_grace, span), why.text);
        return say_end(p, RWF_E_DEADLINE, what, err);
    }
    return say_exit(p, " before it was healthy", err);
}

struct serve_program *serve_program_start(json_t *how,
                                          serve_program_cancelled_fn cancelled,
                                          void *ctx, struct rwf_err *err)
{
    struct serve_program *p = rwf_xcalloc(1, sizeof(*p));
    const char *health = text_of(how, "health", NULL);
    bool away = is_away(how);
    p->child.out = p->child.log = -1;
    if (away && make_folder(p, how, err) != 0) {
        serve_program_free(p);
        return NULL;
    }
    p->socket = rwf_xstrdup(text_of(how, "socket", ""));
    p->health = health != NULL ? rwf_xstrdup(health) : NULL;
    p->port = serve__probe_free_port();
    p->grace = json_integer_value(json_object_get(how, "grace"));
    if (spawn(p, how, err) == 0 &&
        wait_healthy(p, json_integer_value(json_object_get(how, "start_grace")),
                     cancelled, ctx, err) == 0 &&
        (!away || open_relay(p, how, err) == 0))
        return p;
    serve_program_free(p);
    return NULL;
}

const char *serve_program_address(const struct serve_program *p)
{
    return p->relay != NULL ? serve__relay_where(p->relay) : p->address;
}

char *serve_program_machine(void)
{
    char host[128] = "", files[64] = "", net[64] = "";
    size_t len;
    /* Containers of one machine see neither each other's files nor each other's loopback. */
    if (readlink("/proc/self/ns/mnt", files, sizeof(files) - 1) < 0 ||
        readlink("/proc/self/ns/net", net, sizeof(net) - 1) < 0)
        files[0] = net[0] = '\0';
    gethostname(host, sizeof(host) - 1);
    char *id = rwf_fs_read("/proc/sys/kernel/random/boot_id", 256, &len, NULL);
    char *text = rwf_xasprintf("%s %.36s %s %s", host, id != NULL ? id : "?", files, net);
    free(id);
    return text;
}

static int wait_end(struct serve_program *p, serve_program_cancelled_fn cancelled,
                    void *ctx, struct rwf_err *err)
{
    while (serve__child_turn(&p->child, TURN_MS))
        if (cancelled(ctx)) {
            end(p);
            return rwf_fail(err, RWF_E_STOPPED, "the program was stopped");
        }
    return say_exit(p, "", err);
}

/* Its worker may be killed from now on. */
int serve_program_wait(struct serve_program *p, serve_program_cancelled_fn cancelled,
                       void *ctx, struct rwf_err *err)
{
    int rc = wait_end(p, cancelled, ctx, err);
    rwf_scratch_remove(&p->folder);
    return rc;
}

void serve_program_free(struct serve_program *p)
{
    if (p == NULL)
        return;
    serve__relay_end(p->relay);
    serve__child_close(&p->child);
    if (p->socket != NULL)
        unlink(p->socket);
    rwf_scratch_remove(&p->folder);
    free(p->socket);
    free(p->address);
    free(p->health);
    free(p);
}
