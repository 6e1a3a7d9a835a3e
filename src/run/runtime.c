/* SPDX-License-Identifier: Apache-2.0
 *
 * The native runtime of a run: a head and a node in the engine's own loop, joined by a
 * link in memory, and the engine as a client of that node over a socketpair. It is
 * started with the first step that runs in a graph that has native ones, and ended when
 * no step is left; a run without native steps pays nothing.
 *
 *   ending: caller_stop -> the client is gone -> node_stop -> workers are gone -> free
 */
#include "config.h"
#include "run/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/json_text.h"
#include "base/fs.h"
#include "base/map.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/scratch.h"
#include "head/head.h"
#include "far/far.h"
#include "run/away.h"
#include "run/caller.h"
#include "run/layout.h"

/* A socket's path has room for 107 bytes, "/node" or "/serve" among them. */
#define FOLDER_MAX 99

struct actor {
    int first, replicas, turn;
};

struct engine__runtime {
    struct head *head;
    struct node *node;
    struct caller *caller;
    struct rwf_map *actors; /* address -> struct actor */
    char *folder;           /* of the node */
    struct rwf_scratch temporary; /* path NULL: the folder is the run's own */
    enum { RUNTIME_UP, RUNTIME_ENDING, RUNTIME_GONE } phase;
};

/* --- start --- */

bool engine__runtime_needed(const struct plan_graph *g)
{
    for (size_t i = 0; i < plan_graph_count(g); i++)
        if (plan_graph_step(g, (uint32_t)i)->policy->leased)
            return true;
    return false;
}

/* RUN/native, unless its path is too long for a socket. */
static int make_folder(struct engine *e, struct engine__runtime *r, struct rwf_err *err)
{

    if (e->away != NULL) {
        r->folder = rwf_xstrdup(engine__away_folder(e));
        return 0;
    }
    r->folder = run_native_dir(e->root, e->id);
    if (strlen(r->folder) > FOLDER_MAX) {
        free(r->folder);
        r->folder = NULL;
        if (rwf_scratch_make(&r->temporary, "raywf-run-", err) != 0)
            return rwf_wrap(err, "the path of the run is too long for sockets");
        r->folder = rwf_xstrdup(r->temporary.path);
        return 0;
    }
    if (rwf_fs_exists(r->folder) && rwf_fs_rmtree(r->folder, err) != 0)
        return -1; /* an earlier head's */
    if (mkdir(r->folder, 0700) != 0)
        return rwf_fail(err, RWF_E_ENV, "%s: %s", r->folder, strerror(errno));
    return 0;
}

/* Where `raywf nodes RUN` and the like find it. */
static int write_address(const struct engine *e, const struct engine__runtime *r,
                         struct rwf_err *err)
{
    char *path = run_native_address(e->root, e->id);
    const char *address = node_address(r->node);
    int rc = rwf_fs_write(path, address, strlen(address), false, err);

    free(path);
    return rc;
}

static int start_node(struct engine *e, struct engine__runtime *r, struct rwf_err *err)
{
    const struct head_options head = {.cluster = e->cluster};
    const struct node_options node = {
        .far = &far_nodes, .folder = r->folder, .machine = &e->machine};
    struct wire_link *near, *far;

    if (e->away != NULL) {
        r->node = engine__away_node(e);
        return 0;
    }
    r->head = head_create(&e->loop, &head, err);
    if (r->head == NULL)
        return -1;
    r->node = node_create(&e->loop, &node, err);
    if (r->node == NULL)
        return -1;
    wire_link_pair(&e->loop, &near, &far);
    head_attach(r->head, near);
    node_attach_head(r->node, far);
    return 0;
}

static int start_client(struct engine *e, struct engine__runtime *r,
                        struct rwf_err *err)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
        return rwf_fail(err, RWF_E_ENV, "cannot make a pair of sockets: %s",
                        strerror(errno));
    if (node_attach_client(r->node, fds[0], err) != 0) {
        close(fds[1]);
        return -1;
    }
    r->caller =
        caller_start(&e->loop, fds[1], recipe_name(plan_graph_recipe(e->graph)), err);
    return r->caller == NULL ? -1 : 0;
}

static void runtime_free(struct engine *e)
{
    struct engine__runtime *r = e->runtime;

    if (e->away == NULL)
        node_destroy(r->node);
    head_destroy(r->head);
    rwf_map_destroy(r->actors, free);
    rwf_scratch_remove(&r->temporary);
    free(r->folder);
    free(r);
    e->runtime = NULL;
}

int engine__runtime_wanted(struct engine *e, struct rwf_err *err)
{
    if (e->runtime != NULL || !e->is_native)
        return 0;
    struct engine__runtime *r = rwf_xcalloc(1, sizeof(*r));
    e->runtime = r;
    r->actors = rwf_map_create();
    if (make_folder(e, r, err) == 0 && start_node(e, r, err) == 0 &&
        start_client(e, r, err) == 0 && write_address(e, r, err) == 0)
        return 0;
    rwf_wrap(err, "the native runtime cannot start");
    if (err->code < RWF_E_BASE)
        err->code = RWF_E_ENV;
    if (r->caller == NULL)
        runtime_free(e);
    return -1;
}

/* --- use --- */

void engine__runtime_env(const struct engine *e, json_t *env)
{
    if (e->runtime != NULL)
        json_object_set_new(env, "RAYWF_ADDRESS",
                            run_text(node_address(e->runtime->node)));
}

void engine__runtime_poke(struct engine *e)
{
    if (e->runtime != NULL && e->runtime->phase == RUNTIME_UP &&
        e->runtime->head != NULL)
        head_poke(e->runtime->head);
}

const char *engine__runtime_folder(const struct engine *e)
{
    return e->runtime->folder;
}

struct caller *engine__runtime_caller(struct engine *e)
{
    return e->runtime->caller;
}

/* --- actors --- */

static int64_t number(const json_t *spec, const char *key)
{
    return json_integer_value(json_object_get(spec, key));
}

/* The name a replica is found by: the actor's, with its number when there are more. */
static char *replica_name(const json_t *spec, const char *address, int i, int of)
{
    const char *name = json_string_value(json_object_get(spec, "name"));

    name = name != NULL ? name : address;
    return of > 1 ? rwf_xasprintf("%s[%d]", name, i) : rwf_xstrdup(name);
}

static struct actor *make_replicas(struct engine *e, const struct plan_step *step,
                                   const json_t *spec, const char *args)
{
    const json_t *restart = json_object_get(spec, "restart");
    struct actor *actor = rwf_xcalloc(1, sizeof(*actor));

    actor->replicas = (int)number(spec, "replicas");
    for (int i = 0; i < actor->replicas; i++) {
        char *name = replica_name(spec, step->address, i, actor->replicas);
        struct caller_spec one = {
            .plugin = json_string_value(json_object_get(spec, "plugin")),
            .name = json_string_value(json_object_get(spec, "class")),
            .args = args,
            .env = json_object_get(spec, "env"),
            .timeout = number(spec, "timeout"),
            .policy = step->policy,
            .actor = -1,
            .actor_name = name,
            .max_restarts = (int)number(restart, "max"),
            .backoff = number(restart, "backoff"),
        };
        int made = caller_actor(e->runtime->caller, &one);
        if (i == 0)
            actor->first = made;
        free(name);
    }
    return actor;
}

static struct actor *make_actor(struct engine *e, const char *address,
                                struct rwf_err *err)
{
    uint32_t index = plan_graph_find(e->graph, address);
    struct actor *actor = NULL;

    if (index == PLAN_NO_STEP) {
        rwf_fail(err, RWF_E_RECIPE, "there is no %s", address);
        return NULL;
    }
    const struct plan_step *step = engine__step_at(e, index);
    json_t *spec = plan_step_spec(e->graph, step, err);
    char *args = rwf_json_text(json_object_get(spec, "args"));
    if (args != NULL) {
        actor = make_replicas(e, step, spec, args);
        rwf_map_set(e->runtime->actors, address, actor);
    }
    free(args);
    json_decref(spec);
    return actor;
}

int engine__runtime_actor(struct engine *e, const char *address, int *ret,
                          struct rwf_err *err)
{
    struct actor *actor = rwf_map_get(e->runtime->actors, address);

    if (actor == NULL && (actor = make_actor(e, address, err)) == NULL)
        return -1;
    *ret = actor->first + actor->turn;
    actor->turn = (actor->turn + 1) % actor->replicas;
    return 0;
}

/* --- end --- */

static void on_nothing(uv_handle_t *handle)
{
    free(handle);
}

/* The loop looks again whether all is done. */
static void node_ended(void *ctx)
{
    struct engine *e = ctx;
    uv_idle_t *again = rwf_xcalloc(1, sizeof(*again));

    e->runtime->phase = RUNTIME_GONE;
    uv_idle_init(&e->loop, again);
    uv_close((uv_handle_t *)again, on_nothing);
}

static void client_ended(void *ctx)
{
    struct engine *e = ctx;

    e->runtime->caller = NULL;
    node_stop(e->runtime->node, node_ended, e);
}

bool engine__runtime_gone(struct engine *e)
{
    struct engine__runtime *r = e->runtime;

    if (r == NULL)
        return true;
    if (r->phase == RUNTIME_UP) {
        r->phase = RUNTIME_ENDING;
        caller_stop(r->caller, client_ended, e);
    }
    if (r->phase == RUNTIME_GONE)
        runtime_free(e);
    return e->runtime == NULL;
}
