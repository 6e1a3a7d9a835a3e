/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/history.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "run/cache.h"
#include "run/layout.h"
#include "run/log.h"

#define LOOK_BACK 100 /* runs */

struct search {
    const char *address;
    const char *recipe; /* name wanted, or NULL */
    bool other;         /* the log is of another recipe */
    json_t *parts;
    char *key; /* of a cached result */
};

static int look(void *ctx, const json_t *event)
{
    struct search *s = ctx;
    const char *type = json_string_value(json_object_get(event, "type"));
    enum run_event e = type ? run_event_parse(type) : RUN_EVENT_COUNT;

    if (e == RUN_VERSION && s->recipe) {
        const char *name = json_string_value(json_object_get(event, "name"));
        s->other = !name || strcmp(name, s->recipe) != 0;
        return s->other;
    }
    if (e != RUN_STEP_SUCCEEDED && e != RUN_STEP_CACHED)
        return 0;
    const char *step = json_string_value(json_object_get(event, "step"));
    if (!step || strcmp(step, s->address) != 0)
        return 0;
    const char *key = json_string_value(json_object_get(event, "key"));
    json_decref(s->parts);
    s->parts = json_incref(json_object_get(event, "parts"));
    free(s->key);
    s->key = key ? rwf_xstrdup(key) : NULL;
    return 0;
}

static json_t *parts_of_key(const char *root, const char *key)
{
    struct run_cache *cache = run_cache_open(root, NULL);
    const char *miss;
    json_t *entry = cache ? run_cache_get(cache, key, &miss) : NULL;
    json_t *parts = json_incref(json_object_get(entry, "parts"));

    json_decref(entry);
    if (cache)
        run_cache_close(cache);
    return parts;
}

static json_t *parts_in(const char *root, const char *log, const char *address,
                        const char *recipe)
{
    struct search s = {.address = address, .recipe = recipe};

    run_log_read(log, 0, look, &s, NULL, NULL);
    if (!s.parts && s.key)
        s.parts = parts_of_key(root, s.key);
    free(s.key);
    return s.parts;
}

json_t *cmd_parts(const struct cmd_opened *o, const char *address)
{
    return parts_in(o->root, o->log, address, NULL);
}

static int is_run(const struct dirent *e)
{
    return e->d_name[0] >= '0' && e->d_name[0] <= '9';
}

struct candidate {
    char *id, *log;
    int64_t time; /* of its first event: ids tell the second only */
};

static int first_event(void *ctx, const json_t *event)
{
    struct candidate *c = ctx;

    c->time = rwf_clock_parse(json_string_value(json_object_get(event, "ts")));
    return 1;
}

static int newest_first(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    return (x->time < y->time) - (x->time > y->time);
}

/* Runs that began before o, at most LOOK_BACK, newest first. */
static struct candidate *earlier_runs(const struct cmd_opened *o, size_t *ret_count)
{
    char *runs = rwf_fs_join(o->root, "runs");
    struct dirent **list;
    int count = scandir(runs, &list, is_run, alphasort);
    struct candidate *out = rwf_xcalloc(LOOK_BACK, sizeof(*out));
    size_t used = 0;

    for (int i = count; i-- > 0; free(list[i])) {
        const char *id = list[i]->d_name;
        /* The second is part of the id: "20261122-182000". */
        if (used == LOOK_BACK || strncmp(id, o->id, 15) > 0 || strcmp(id, o->id) == 0)
            continue;
        struct candidate c = {.log = rwf_xasprintf("%s/%s/events.ndjson", runs, id)};
        run_log_read(c.log, 0, first_event, &c, NULL, NULL);
        if (c.time <= 0 || c.time >= o->state->started) {
            free(c.log);
            continue;
        }
        c.id = rwf_xstrdup(id);
        out[used++] = c;
    }
    if (count >= 0)
        free(list);
    free(runs);
    qsort(out, used, sizeof(*out), newest_first);
    *ret_count = used;
    return out;
}

json_t *cmd_parts_before(const struct cmd_opened *o, const char *address,
                         char **ret_run)
{
    size_t count;
    struct candidate *list = earlier_runs(o, &count);
    json_t *parts = NULL;

    for (size_t i = 0; i < count; i++) {
        if (!parts) {
            parts = parts_in(o->root, list[i].log, address, o->state->name);
            if (parts)
                *ret_run = rwf_xstrdup(list[i].id);
        }
        free(list[i].id);
        free(list[i].log);
    }
    free(list);
    return parts;
}
