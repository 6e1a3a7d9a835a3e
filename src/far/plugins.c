/* SPDX-License-Identifier: Apache-2.0
 *
 * Plugins and files of clients of other nodes. A plugin that is not here is fetched
 * from the node of who asks for it, once for each of that node's lives, before the
 * lease or the actor goes on: FOLDER/runs/plugins-HASH/NAME. A node gives away what its
 * programs have offered or named, and what is in its folder of runs.
 *
 * What else an actor needs it says in its environment: RAYWF_FILES=WITNESS and a line
 * for each path; a folder that ends with a slash comes without what its ignore files
 * name. On a node that does not see WITNESS they are fetched, for each actor its own,
 * and the worker finds lines of PATH, a tab, and where it is there.
 *
 * What cannot be fetched goes on as it came: then the worker says what is wrong.
 */
#include "config.h"
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "far/bridge.h"
#include "far/inside.h"
#include "far/step.h"
#include "far/tree.h"

#define HASH 16
#define FILES "RAYWF_FILES="

struct file {
    char *from, *to;
};

/* A message that waits for its plugin and its files, which come one after the other. */
struct bring {
    struct node *node;
    enum wire_type type; /* HEAD_LEND or HEAD_ACTOR_START */
    void *message;
    char *home;
    struct file *files;
    size_t count, cap, next;
    bool plugin; /* it is the first of them */
    bool waits;  /* another one fetches the plugin, for both */
    LIST_ENTRY(bring) all;
};

struct far__plugins {
    struct rwf_map *offered; /* paths */
    LIST_HEAD(, bring) all;
    bool going_on; /* what was fetched, or cannot be, is not fetched again */
};

static struct far__plugins *plugins_of(struct node *n)
{
    if (!n->far->plugins) {
        n->far->plugins = rwf_xcalloc(1, sizeof(*n->far->plugins));
        n->far->plugins->offered = rwf_map_create();
        LIST_INIT(&n->far->plugins->all);
    }
    return n->far->plugins;
}

void far__plugin_offer(struct node *n, const char *path)
{
    static char yes;
    if (path && *path == '/')
        rwf_map_set(plugins_of(n)->offered, path, &yes);
}

bool far__is_offered(struct node *n, const char *path)
{
    return n->far->plugins && rwf_map_get(n->far->plugins->offered, path);
}

/* The lines of RAYWF_FILES, or NULL. */
static const char *files_of(const Wire__ActorSpec *spec)
{
    for (size_t i = 0; spec && i < spec->n_env; i++)
        if (rwf_starts_with(spec->env[i], FILES))
            return spec->env[i] + strlen(FILES);
    return NULL;
}

/* The next line of *at, without its end; NULL: there is none. */
static char *next_line(const char **at)
{
    if (!*at || !**at)
        return NULL;
    size_t len = strcspn(*at, "\n");
    char *line = rwf_xstrndup(*at, len);
    *at += len + ((*at)[len] == '\n');
    return line;
}

void far__offer_spec(struct node *n, const Wire__ActorSpec *spec)
{
    const char *at = files_of(spec);
    char *line = next_line(&at);
    far__plugin_offer(n, spec->plugin);
    for (; line; line = next_line(&at)) {
        far__plugin_offer(n, line + (*line == '?'));
        free(line);
    }
}

void far__plugins_free(struct node *n)
{
    if (!n->far->plugins)
        return;
    rwf_map_destroy(n->far->plugins->offered, NULL);
    free(n->far->plugins);
    n->far->plugins = NULL;
}

/* --- fetching --- */

/* number: of the actor that alone uses it; 0: all may. */
static char *place_for(const struct node *n, const struct far__member *home,
                       uint64_t number, const char *path)
{
    char digest[RWF_DIGEST_LEN];
    size_t len = strlen(path);
    char *plain = rwf_xstrndup(path, len - (path[len - 1] == '/'));
    char *what = rwf_xasprintf("%llu %llu %s", (unsigned long long)home->session,
                               (unsigned long long)number, path);
    char *runs = far__runs_folder(n->folder);
    rwf_digest_bytes(what, strlen(what), digest);
    char *to = rwf_xasprintf("%s/plugins-%.*s/%s", runs, HASH, digest,
                             strrchr(plain, '/') + 1);
    free(runs);
    free(what);
    free(plain);
    return to;
}

static void set_plugin(const struct bring *b, const char *plugin)
{
    char **slot = b->type == WIRE_HEAD_LEND
                      ? &((Wire__HeadLend *)b->message)->lease->shape->plugin
                      : &((Wire__HeadActorStart *)b->message)->spec->plugin;
    free(*slot);
    *slot = rwf_xstrdup(plugin);
}

/* What the worker finds instead. */
static void set_files(const struct bring *b)
{
    Wire__ActorSpec *spec = ((Wire__HeadActorStart *)b->message)->spec;
    struct rwf_str text = {0};
    rwf_str_add(&text, FILES);
    for (size_t i = b->plugin; i < b->count; i++) {
        size_t len = strlen(b->files[i].from);
        len -= b->files[i].from[len - 1] == '/';
        rwf_str_addf(&text, "%.*s\t%s\n", (int)len, b->files[i].from, b->files[i].to);
    }
    for (size_t i = 0; i < spec->n_env; i++) {
        if (!rwf_starts_with(spec->env[i], FILES))
            continue;
        free(spec->env[i]);
        spec->env[i] = rwf_xstrdup(text.data);
    }
    rwf_str_free(&text);
}

static void bring_free(struct bring *b)
{
    LIST_REMOVE(b, all);
    node__free(b->message);
    free(b->home);
    for (size_t i = 0; i < b->count; i++) {
        free(b->files[i].from);
        free(b->files[i].to);
    }
    free(b->files);
    free(b);
}

static void bring_over(struct bring *b)
{
    struct far__plugins *p = b->node->far->plugins;
    p->going_on = true;
    if (b->plugin && rwf_fs_is_file(b->files[0].to))
        set_plugin(b, b->files[0].to);
    if (b->count > b->plugin)
        set_files(b);
    if (b->type == WIRE_HEAD_LEND)
        far__bridge_lend(b->node, b->message);
    else
        node__actor_start(b->node, b->message);
    p->going_on = false;
    bring_free(b);
}

static void fetch_next(struct bring *b);

/* Of those who want the file that b has now. */
static struct bring *other(const struct bring *b, bool waits)
{
    struct bring *o;
    LIST_FOREACH(o, &b->node->far->plugins->all, all)
    if (o != b && o->waits == waits && o->next == 1 && o->plugin &&
        strcmp(o->files[0].to, b->files[0].to) == 0)
        return o;
    return NULL;
}

static void fetched(void *ctx, const struct rwf_err *err)
{
    struct bring *b = ctx, *o;
    bool shared = b->plugin && b->next == 1;
    if (err && !b->node->stopping)
        rwf_log(RWF_LOG_WARN, "node", "%s cannot be had from node %s: %s",
                b->files[b->next - 1].from, b->home, err->text);
    while (shared && (o = other(b, true))) {
        o->waits = false;
        fetch_next(o);
    }
    fetch_next(b);
}

/* What an actor that starts again had is fetched again: it may have changed it. */
static void fetch_next(struct bring *b)
{
    struct rwf_err err = RWF_ERR_INIT;
    if (b->node->stopping) {
        bring_free(b);
        return;
    }
    if (b->next == b->count) {
        bring_over(b);
        return;
    }
    const struct file *f = &b->files[b->next++];
    char *folder = rwf_fs_dirname(f->to);
    far__runs_touch(b->node, f->to);
    bool shared = b->plugin && b->next == 1;
    if (shared && rwf_fs_is_file(f->to))
        fetched(b, NULL);
    else if (shared && other(b, false))
        b->waits = true;
    else if (rwf_fs_mkdirs(folder, &err) < 0)
        fetched(b, &err);
    else
        far_tree_get(b->node, b->home, f->from, NULL, 0, f->to, fetched, b);
    free(folder);
}

static void want(struct bring *b, const struct far__member *home, uint64_t number,
                 const char *path)
{
    *RWF_PUSH(b->files, b->count, b->cap) =
        (struct file){rwf_xstrdup(path), place_for(b->node, home, number, path)};
}

static void want_files(struct bring *b, const struct far__member *home,
                       const Wire__ActorSpec *spec)
{
    const char *at = files_of(spec);
    char *line = next_line(&at);
    bool here = !line || rwf_fs_exists(line);
    free(line);
    while (!here && (line = next_line(&at))) {
        const char *path = line + (*line == '?');
        if (*path == '/' && path[1] && !(*line == '?' && rwf_fs_exists(path)))
            want(b, home, spec->actor, path);
        free(line);
    }
}

bool far__plugin_bring(struct node *n, const char *home, const char *plugin,
                       enum wire_type type, const ProtobufCMessage *m)
{
    struct far__member *member = home && *home ? far__member_find(n, home) : NULL;
    if (!member || plugins_of(n)->going_on || strcmp(home, n->name) == 0)
        return false;
    struct bring *b = rwf_xcalloc(1, sizeof(*b));
    *b = (struct bring){.node = n, .type = type, .home = rwf_xstrdup(home)};
    LIST_INSERT_HEAD(&n->far->plugins->all, b, all);
    b->plugin = *plugin == '/' && !rwf_fs_is_file(plugin);
    if (b->plugin)
        want(b, member, 0, plugin);
    if (type == WIRE_HEAD_ACTOR_START)
        want_files(b, member, ((const Wire__HeadActorStart *)m)->spec);
    if (b->count == 0) {
        bring_free(b);
        return false;
    }
    b->message = node__copy(m);
    fetch_next(b);
    return true;
}
