/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of attempts on other nodes. A node that sees the run's folder has the same file
 * system: paths are used as they are. To any other one go, once each, the recipe's
 * folder (what its ignore files name stays) and the outputs of earlier steps that are
 * asked for; the attempt's outputs come back.
 *
 *   here                     there: FOLDER is the node's folder of the run
 *   the recipe's folder      FOLDER/recipe
 *   .raywf                   FOLDER/root
 */
#include "config.h"
#include "run/away.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/map_paths.h"

#define TRIES 12
#define AGAIN_MS 30 /* times the number of tries */

/* Somebody who waits for something that is under way once for all. */
struct waiter {
    away_done_fn done;
    void *ctx;
};

struct waiters {
    struct waiter *all;
    size_t count, cap;
};

/* One tree on its way to a node, or there. */
struct put {
    struct engine *engine;
    struct away_files *files; /* NULL: the node is gone */
    char *node, *from, *to;
    char *like; /* where that node may have it; NULL: nowhere */
    bool ignore, there;
    int tries;
    struct waiters waiters;
    LIST_ENTRY(put) link;
};

struct look {
    struct away_files *files; /* NULL: the node is gone */
    struct waiters waiters;
};

struct away_files {
    struct look *look; /* under way; NULL: it is known */
    bool shared;
    char *folder, *recipe, *root; /* there; NULL: shared */
    const char *recipe_here, *root_here;
    LIST_HEAD(, put) puts;
};

static void wait_for(struct waiters *w, away_done_fn done, void *ctx)
{
    *RWF_PUSH(w->all, w->count, w->cap) = (struct waiter){done, ctx};
}

static void tell_all(struct waiters *w, const struct rwf_err *err)
{
    for (size_t i = 0; i < w->count; i++)
        w->all[i].done(w->all[i].ctx, err);
    free(w->all);
    *w = (struct waiters){NULL, 0, 0};
}

static void put_free(struct put *p)
{
    free(p->waiters.all);
    free(p->node);
    free(p->from);
    free(p->to);
    free(p->like);
    free(p);
}

void engine__away_files_free(struct away_files *f)
{
    if (f == NULL)
        return;
    if (f->look != NULL)
        f->look->files = NULL;
    while (!LIST_EMPTY(&f->puts)) {
        struct put *p = LIST_FIRST(&f->puts);
        LIST_REMOVE(p, link);
        p->files = NULL;
        if (p->there)
            put_free(p);
    }
    free(f->folder);
    free(f->recipe);
    free(f->root);
    free(f);
}

static struct away_files *files_of(const struct engine__attempt *a)
{
    struct away_node *n = engine__away_find(a->engine, engine__away_where(a));
    return n == NULL ? NULL : n->files;
}

/* --- the same file system? --- */

/* A file in the run's folder with a text that nobody else has. */
static char *nonce(const struct engine *e, char text[33], struct rwf_err *err)
{
    char *path = rwf_fs_join(e->dir, "nonce");
    char *known = rwf_fs_read(path, 64, NULL, NULL);
    uint8_t random[16];
    if (known != NULL && strlen(known) == 32) {
        strcpy(text, known);
        free(known);
        return path;
    }
    free(known);
    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        memset(random, (int)rwf_clock_wall(), sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(text + 2 * i, 3, "%02x", random[i]);
    if (rwf_fs_write(path, text, 32, false, err) == 0)
        return path;
    free(path);
    return NULL;
}

/* A folder there. *err: it cannot be had. */
static int set_apart(struct engine *e, struct away_files *f, const char *node,
                     struct rwf_err *err)
{
    f->folder = far_run_folder(engine__away_node(e), node, e->id);
    if (f->folder == NULL)
        return rwf_fail(err, EHOSTDOWN, "node %s is gone", node);
    f->recipe = rwf_fs_join(f->folder, "recipe");
    f->root = rwf_fs_join(f->folder, "root");
    return 0;
}

struct looking {
    struct engine *engine;
    struct look *look;
    char *node;
};

static void looked(void *ctx, const struct rwf_err *failed)
{
    struct looking *g = ctx;
    struct look *l = g->look;
    struct away_files *f = l->files;
    struct rwf_err err = RWF_ERR_INIT;
    const struct rwf_err *told = failed;
    if (f != NULL) {
        f->look = NULL;
        f->shared = failed == NULL;
        if (failed != NULL && failed->code == ENOENT)
            told = set_apart(g->engine, f, g->node, &err) == 0 ? NULL : &err;
    }
    struct away_node *n = f == NULL ? NULL : engine__away_find(g->engine, g->node);
    if (told != NULL && n != NULL) { /* the next one looks again */
        engine__away_files_free(f);
        n->files = NULL;
    }
    tell_all(&l->waiters, told);
    free(l);
    free(g->node);
    free(g);
}

static void start_look(struct engine *e, struct away_node *n, struct rwf_err *err)
{
    char text[33];
    char *path = nonce(e, text, err);
    if (path == NULL)
        return;
    struct away_files *f = n->files = rwf_xcalloc(1, sizeof(*f));
    struct looking *g = rwf_xcalloc(1, sizeof(*g));
    LIST_INIT(&f->puts);
    f->recipe_here = recipe_dir(plan_graph_recipe(e->graph));
    f->root_here = e->root;
    f->look = rwf_xcalloc(1, sizeof(*f->look));
    f->look->files = f;
    *g = (struct looking){e, f->look, rwf_xstrdup(n->name)};
    far_sees(engine__away_node(e), n->name, path, text, looked, g);
    free(path);
}

void engine__away_look(struct engine__attempt *a, away_done_fn done, void *ctx)
{
    struct engine *e = a->engine;
    struct away_node *n = engine__away_find(e, engine__away_where(a));
    struct rwf_err err = RWF_ERR_INIT;
    if (n != NULL && n->files == NULL)
        start_look(e, n, &err);
    if (n != NULL && n->files != NULL && n->files->look != NULL)
        wait_for(&n->files->look->waiters, done, ctx);
    else
        done(ctx, err.code == 0 ? NULL : &err);
}

bool engine__away_is_shared(const struct engine__attempt *a)
{
    const struct away_files *f = files_of(a);
    return f != NULL && f->shared;
}

/* --- how paths are called there --- */

static size_t maps_of(const struct away_files *f, struct run_mapping maps[2])
{
    if (f == NULL || f->shared || f->recipe == NULL)
        return 0;
    maps[0] = (struct run_mapping){f->recipe_here, f->recipe};
    maps[1] = (struct run_mapping){f->root_here, f->root};
    return 2;
}

char *engine__away_path(const struct engine__attempt *a, const char *path)
{
    struct run_mapping maps[2];
    size_t count = maps_of(files_of(a), maps);
    return run__map_text(maps, count, path);
}

json_t *engine__away_paths(const struct engine__attempt *a, const json_t *value)
{
    struct run_mapping maps[2];
    size_t count = maps_of(files_of(a), maps);
    return run__map_json(maps, count, value);
}

/* --- to the node --- */

struct need {
    char *from, *like; /* like: see struct put */
};

static void put_over(struct put *p, const struct rwf_err *err)
{
    struct waiters w = p->waiters;
    p->waiters = (struct waiters){NULL, 0, 0};
    p->there = true;
    if (p->files == NULL) {
        put_free(p);
    } else if (err != NULL) { /* the next one tries again */
        LIST_REMOVE(p, link);
        put_free(p);
    }
    tell_all(&w, err);
}

static void put_done(void *ctx, const struct rwf_err *err);

static void put_send(struct put *p)
{
    p->tries++;
    if (p->like != NULL)
        far_tree_put_like(engine__away_node(p->engine), p->node, p->from, p->to,
                          p->like, put_done, p);
    else
        far_tree_put(engine__away_node(p->engine), p->node, p->from, p->to, p->ignore,
                     put_done, p);
}

static void put_again(uv_timer_t *timer)
{
    struct put *p = timer->data;
    struct rwf_err gone = RWF_ERR_INIT;
    uv_close((uv_handle_t *)timer, (uv_close_cb)free);
    rwf_fail(&gone, EHOSTDOWN, "node %s is gone", p->node);
    if (p->files == NULL)
        put_over(p, &gone);
    else
        put_send(p);
}

/* Somebody writes into the recipe's folder, a log of this very run perhaps. */
static bool is_in_motion(const struct put *p, const struct rwf_err *err)
{
    return p->ignore && p->files != NULL && err->code == RWF_E_INPUT &&
           strstr(err->text, "changed while it was read") != NULL;
}

static void put_done(void *ctx, const struct rwf_err *err)
{
    struct put *p = ctx;
    struct rwf_err why = err == NULL ? (struct rwf_err)RWF_ERR_INIT : *err;
    bool moving = err != NULL && is_in_motion(p, err);
    if (!moving) {
        put_over(p, err);
    } else if (p->tries >= TRIES) {
        rwf_wrap(&why, "name what is written meanwhile in .raywfignore");
        put_over(p, &why);
    } else {
        uv_timer_t *timer = rwf_xcalloc(1, sizeof(*timer));
        uv_timer_init(&p->engine->loop, timer);
        timer->data = p;
        uv_timer_start(timer, put_again, (uint64_t)(AGAIN_MS * p->tries), 0);
    }
}

static struct put *find_put(const struct away_files *f, const char *from)
{
    struct put *p;
    LIST_FOREACH(p, &f->puts, link)
    if (strcmp(p->from, from) == 0)
        break;
    return p;
}

bool engine__away_has(const struct away_files *f, const char *path)
{
    const struct put *p = f == NULL || f->shared ? NULL : find_put(f, path);
    return p != NULL && p->there;
}

static void put_once(struct engine__attempt *a, struct away_files *f,
                     const struct need *what, away_done_fn done, void *ctx)
{
    struct put *p = find_put(f, what->from);
    if (p != NULL && p->there) {
        done(ctx, NULL);
        return;
    }
    bool is_new = p == NULL;
    if (is_new) {
        p = rwf_xcalloc(1, sizeof(*p));
        p->engine = a->engine;
        p->files = f;
        p->node = rwf_xstrdup(engine__away_where(a));
        p->from = rwf_xstrdup(what->from);
        p->to = engine__away_path(a, what->from);
        p->like = what->like == NULL ? NULL : rwf_xstrdup(what->like);
        p->ignore = strcmp(what->from, f->recipe_here) == 0;
        LIST_INSERT_HEAD(&f->puts, p, link);
    }
    wait_for(&p->waiters, done, ctx);
    if (is_new)
        put_send(p);
}

/* What one attempt needs, one after the other. */
struct bringing {
    struct engine__attempt *attempt;
    away_done_fn done;
    void *ctx;
    struct need *needs;
    size_t count, cap, next;
};

static void bring_next(void *ctx, const struct rwf_err *err)
{
    struct bringing *b = ctx;
    struct away_files *f = files_of(b->attempt);
    struct rwf_err gone = RWF_ERR_INIT;
    if (err == NULL && f == NULL) {
        rwf_fail(&gone, EHOSTDOWN, "the node is gone");
        err = &gone;
    }
    if (err == NULL && b->next < b->count) {
        put_once(b->attempt, f, &b->needs[b->next++], bring_next, b);
        return;
    }
    b->done(b->ctx, err);
    for (size_t i = 0; i < b->count; i++) {
        free(b->needs[i].from);
        free(b->needs[i].like);
    }
    free(b->needs);
    free(b);
}

static struct need *need(struct bringing *b, const char *path)
{
    struct need *one = RWF_PUSH(b->needs, b->count, b->cap);
    *one = (struct need){.from = rwf_xstrdup(path)};
    return one;
}

/* A folder of the recipe's that an ignore file names: of a model, say. */
static bool is_left_out(const struct away_files *f, const char *path)
{
    size_t len = f != NULL ? strlen(f->recipe_here) : 0;
    if (len == 0 || strncmp(path, f->recipe_here, len) != 0 || path[len] != '/')
        return false;
    char *inside = rwf_xasprintf("%s/config.json", path + len + 1);
    bool left = far_tree_leaves(f->recipe_here, inside);
    free(inside);
    return left;
}

/* Those of `texts`, or, NULL, all of them. */
static void need_outputs(struct bringing *b, uint32_t of, const json_t *const *texts,
                         size_t count)
{
    const struct engine *e = b->attempt->engine;
    const struct away_node *n = engine__away_find(e, engine__away_where(b->attempt));
    const char *name;
    json_t *one;
    json_object_foreach(e->steps[of].outputs, name, one) {
        const char *path = json_string_value(json_object_get(one, "path"));
        bool named = texts == NULL && path != NULL;
        for (size_t i = 0; i < count && path != NULL; i++)
            named |= run__names_path(texts[i], path);
        if (named &&
            (rwf_starts_with(path, e->root) || is_left_out(files_of(b->attempt), path)))
            need(b, path)->like = engine__away_made_at(e, of, name, n);
    }
}

/* What it reads counts, also when an ignore file keeps it out of the recipe's folder
 * there (data that no repository holds). */
static void need_inputs(struct bringing *b, const struct away_files *f)
{
    const struct engine__attempt *a = b->attempt;
    const struct engine__ready *ready = a->engine->steps[a->step->index].ready;
    json_t *files = ready != NULL ? json_object_get(ready->parts, "files") : NULL,
           *value;
    const char *path;
    json_object_foreach(files, path, value) {
        if (!rwf_fs_is_beneath(path) || !far_tree_leaves(f->recipe_here, path))
            continue;
        char *full = rwf_fs_join(f->recipe_here, path);
        need(b, full);
        free(full);
    }
}

/* Its folder, as far as it was written here: step.json. */
static json_t *step_texts(const struct engine__attempt *a)
{
    char *path = rwf_fs_join(a->dir, "step.json");
    json_t *texts = json_load_file(path, 0, NULL);
    free(path);
    return texts;
}

void engine__away_put_needs(struct engine__attempt *a, away_done_fn done, void *ctx)
{
    struct away_files *f = files_of(a);
    if (f == NULL || f->shared) {
        done(ctx, NULL);
        return;
    }
    struct bringing *b = rwf_xcalloc(1, sizeof(*b));
    *b = (struct bringing){.attempt = a, .done = done, .ctx = ctx};
    need(b, f->recipe_here);
    need_inputs(b, f);
    for (size_t i = 0; i < a->step->need_count; i++)
        need_outputs(b, a->step->needs[i], NULL, 0);
    bring_next(b, NULL);
}

void engine__away_put(struct engine__attempt *a, const struct op_command *command,
                      away_done_fn done, void *ctx)
{
    struct away_files *f = files_of(a);
    if (f == NULL || f->shared) {
        done(ctx, NULL);
        return;
    }
    struct bringing *b = rwf_xcalloc(1, sizeof(*b));
    *b = (struct bringing){.attempt = a, .done = done, .ctx = ctx};
    /* In step.json paths are those of the node already. */
    struct run_mapping back = {f->root, f->root_here};
    json_t *there = step_texts(a);
    json_t *here = there == NULL ? NULL : run__map_json(&back, 1, there);
    const json_t *texts[] = {command->argv, command->env, here};
    need(b, f->recipe_here);
    need_inputs(b, f);
    for (size_t i = 0; i < a->step->need_count; i++)
        need_outputs(b, a->step->needs[i], texts, here == NULL ? 2 : 3);
    if (there != NULL)
        need(b, a->dir);
    json_decref(here);
    json_decref(there);
    bring_next(b, NULL);
}

/* --- from the node --- */

/* Another output holds it, or is it and comes first. */
static bool is_within(const json_t *declared, const char *name, const char *path)
{
    const char *other;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)declared, other, value) {
        const char *of = json_string_value(value);
        size_t len = strlen(of);
        if (*other == '\0' || strcmp(other, name) == 0 || strncmp(path, of, len) != 0)
            continue;
        if (path[len] == '/' || (path[len] == '\0' && strcmp(other, name) < 0))
            return true;
    }
    return false;
}

/* What each rank of a gang has printed, where that lies beside its outputs: the
 * caller's. */
static char **rank_logs(const struct engine__attempt *a, size_t *ret_count)
{
    bool beside = a->cwd != NULL && strcmp(a->cwd, a->dir) == 0;
    size_t count = beside && a->ranks > 1 ? (size_t)a->ranks : 0;
    char **logs = rwf_xcalloc(count + 1, sizeof(*logs));
    for (size_t i = 0; i < count; i++)
        logs[i] = rwf_xasprintf("rank.%zu.log", i);
    *ret_count = count;
    return logs;
}

void engine__away_get(struct engine__attempt *a, away_done_fn done, void *ctx)
{
    struct away_files *f = files_of(a);
    const json_t *declared = plan_step_outputs(a->engine->graph, a->step);
    const char *name;
    json_t *value;
    if (f == NULL || f->shared || (json_object_size(declared) == 0 && a->ranks < 2)) {
        done(ctx, NULL);
        return;
    }
    size_t count = 0, log_count;
    char **logs = rank_logs(a, &log_count);
    const char **paths =
        rwf_xcalloc(json_object_size(declared) + log_count + 1, sizeof(*paths));
    json_object_foreach((json_t *)(uintptr_t)declared, name, value)
        if (*name != '\0' && !is_within(declared, name, json_string_value(value)))
            paths[count++] = json_string_value(value);
    for (size_t i = 0; i < log_count; i++)
        paths[count++] = logs[i];
    char *from = engine__away_path(a, a->cwd);
    engine__away_made(a, from);
    free(a->cwd);
    a->cwd = rwf_xstrdup(a->dir);
    if (count > 0)
        far_tree_get(engine__away_node(a->engine), engine__away_where(a), from, paths,
                     count, a->dir, done, ctx);
    else
        done(ctx, NULL);
    for (size_t i = 0; i < log_count; i++)
        free(logs[i]);
    free(logs);
    free(from);
    free(paths);
}
