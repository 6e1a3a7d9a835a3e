/* SPDX-License-Identifier: Apache-2.0
 *
 * What lies on which node of the cluster: the outputs of a step are where it ran, and
 * where a later one was given them. A step that reads much runs where most of it is,
 * if there is room; what was made there need not be sent back.
 */
#include "config.h"
#include "run/away.h"

#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"

#define MUCH                                                                           \
    ((int64_t)1 << 20) /* bytes: sending less costs nothing worth waiting for */
#define LOOKED_AT 64   /* outputs: a step of thousands is no work for us */

struct engine__made {
    uint64_t session; /* of the node */
    char *node, *folder;
};

void engine__away_made_free(struct engine__step *s)
{
    if (s->made == NULL)
        return;
    free(s->made->node);
    free(s->made->folder);
    free(s->made);
    s->made = NULL;
}

void engine__away_made(struct engine__attempt *a, const char *folder)
{
    struct engine__step *s = &a->engine->steps[a->step->index];
    const struct away_node *n = engine__away_find(a->engine, engine__away_where(a));
    engine__away_made_free(s);
    if (n == NULL)
        return;
    s->made = rwf_xmalloc(sizeof(*s->made));
    *s->made =
        (struct engine__made){n->session, rwf_xstrdup(n->name), rwf_xstrdup(folder)};
}

/* A node that came back has nothing. */
static bool made_on(const struct engine__made *m, const struct away_node *n)
{
    return m != NULL && n != NULL && m->session == n->session &&
           strcmp(m->node, n->name) == 0;
}

char *engine__away_made_at(const struct engine *e, uint32_t of, const char *output,
                           const struct away_node *n)
{
    const struct engine__made *m = e->steps[of].made;
    const json_t *declared = plan_step_outputs(e->graph, engine__step_at(e, of));
    const char *path = json_string_value(json_object_get(declared, output));
    return path != NULL && made_on(m, n) ? rwf_fs_join(m->folder, path) : NULL;
}

/* --- where a step should run --- */

static void count_one(struct engine *e, uint32_t of, const json_t *output)
{
    const char *path = json_string_value(json_object_get(output, "path"));
    json_int_t size = json_integer_value(json_object_get(output, "size"));
    struct away_node *n;
    if (path == NULL || size <= 0)
        return;
    for (n = engine__away_nodes(e); n != NULL; n = LIST_NEXT(n, link))
        if (made_on(e->steps[of].made, n) || engine__away_has(n->files, path))
            n->near += size;
}

static void count_all(struct engine *e, const struct plan_step *p)
{
    int left = LOOKED_AT;
    for (size_t i = 0; i < p->need_count && left > 0; i++) {
        const char *name;
        json_t *one;
        json_object_foreach(e->steps[p->needs[i]].outputs, name, one)
            if (left-- > 0)
                count_one(e, p->needs[i], one);
    }
}

static bool may_choose(enum plan_placement placement)
{
    return placement == PLAN_PACK || placement == PLAN_SAME_NODE;
}

const char *engine__away_near(struct engine__attempt *a, const char *at)
{
    struct engine *e = a->engine;
    struct away_node *n, *best = at == NULL ? NULL : engine__away_find(e, at);
    if (!may_choose(schedule_placement(e->schedule, a->step->index)))
        return NULL;
    for (n = engine__away_nodes(e); n != NULL; n = LIST_NEXT(n, link))
        n->near = 0;
    count_all(e, a->step);
    for (n = engine__away_nodes(e); n != NULL; n = LIST_NEXT(n, link))
        if (best == NULL || n->near > best->near)
            best = n;
    return best != NULL && best->near >= MUCH ? best->name : NULL;
}
