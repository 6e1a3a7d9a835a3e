/* SPDX-License-Identifier: Apache-2.0
 *
 * Actors as they are found, by name or by the request that made them, and as they are
 * written into the journal.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "head/actor.h"

static struct head__actor head__nobody; /* a name that was given back */

/* --- the directory --- */

struct head__actor *head__actor_by_name(struct head *h, const char *name)
{
    struct head__actor *a = h->names ? rwf_map_get(h->names, name) : NULL;
    return a == &head__nobody ? NULL : a;
}

static void set_name(struct head *h, const char *name, struct head__actor *a)
{
    if (!h->names)
        h->names = rwf_map_create();
    if (rwf_map_set(h->names, name, a) == &head__nobody)
        h->nobodies--;
}

/* The map forgets no key: now and then it is made anew. */
void head__actor_clear_name(struct head *h, const char *name)
{
    rwf_map_set(h->names, name, &head__nobody);
    size_t count = rwf_map_count(h->names);
    if (++h->nobodies < 1000 || h->nobodies * 2 < count)
        return;
    struct rwf_map *old = h->names;
    h->names = rwf_map_create();
    h->nobodies = 0;
    for (size_t i = 0; i < count; i++)
        if (rwf_map_value_at(old, i) != &head__nobody)
            rwf_map_set(h->names, rwf_map_key_at(old, i), rwf_map_value_at(old, i));
    rwf_map_destroy(old, NULL);
}

static uint64_t mark_of(uint64_t owner, uint64_t request)
{
    uint64_t mark = owner * UINT64_C(0x9e3779b97f4a7c15) ^ request;
    return mark ? mark : 1;
}

struct head__actor *head__actor_by_request(struct head *h, uint64_t owner,
                                           uint64_t request)
{
    struct head__actor *a = rwf_ids_get(&h->made, mark_of(owner, request));
    return a && a->spec->owner == owner && a->spec->request == request ? a : NULL;
}

void head__actor_set_home(struct head__actor *a, const char *name)
{
    char *home = name ? rwf_xstrdup(name) : NULL;
    free(a->home);
    a->home = home;
}

/* Takes spec. */
struct head__actor *head__actor_add(struct head *h, Wire__ActorSpec *spec,
                                    const char *home, enum head__actor_state state)
{
    struct head__actor *a = rwf_xcalloc(1, sizeof(*a));
    uint64_t mark = mark_of(spec->owner, spec->request);
    a->head = h;
    a->id = spec->actor;
    a->spec = spec;
    a->home = home ? rwf_xstrdup(home) : NULL;
    a->state = state;
    a->since = rwf_clock_wall();
    rwf_ids_add(&h->actors, a->id, a);
    rwf_ids_remove(&h->made, mark);
    rwf_ids_add(&h->made, mark, a);
    if (*spec->name)
        set_name(h, spec->name, a);
    if (a->id > h->last_id)
        h->last_id = a->id;
    return a;
}

void head__actor_free(struct head__actor *a)
{
    struct head *h = a->head;
    uint64_t mark = mark_of(a->spec->owner, a->spec->request);
    rwf_ids_remove(&h->actors, a->id);
    if (rwf_ids_get(&h->made, mark) == a)
        rwf_ids_remove(&h->made, mark);
    if (*a->spec->name && h->names && head__actor_by_name(h, a->spec->name) == a)
        head__actor_clear_name(h, a->spec->name);
    head__free_message(a->spec);
    free(a->home);
    free(a->watchers);
    free(a->text);
    free(a);
}

static void free_one(void *ctx, void *item)
{
    (void)ctx;
    head__actor_free(item);
}

static void free_ask(void *ctx, void *item)
{
    head__ask_drop(ctx, item);
}

void head__actors_free(struct head *h)
{
    rwf_ids_each(&h->asks, free_ask, h);
    rwf_ids_each(&h->actors, free_one, NULL);
    rwf_ids_free(&h->actors);
    rwf_ids_free(&h->made);
    if (h->names)
        rwf_map_destroy(h->names, NULL);
}

/* --- the journal --- */

bool head__actor_must_last(const struct head__actor *a)
{
    return a->spec->detached || *a->spec->name;
}

json_t *head__actor_record(const struct head__actor *a)
{
    json_t *r = json_pack("{s:s, s:o, s:i, s:b, s:b}", "op", "actor", "spec",
                          head__message_json(&a->spec->base), "restarts",
                          (int)a->restarts, "started", a->started, "end", a->end);
    if (a->home)
        json_object_set_new(r, "home", json_string(a->home));
    return r;
}

int head__actor_note(struct head__actor *a, const char *op, bool sync,
                     struct rwf_err *err)
{
    json_t *r =
        strcmp(op, "actor") == 0
            ? head__actor_record(a)
            : json_pack("{s:s, s:I, s:i, s:s*}", "op", op, "actor", (json_int_t)a->id,
                        "restarts", (int)a->restarts, "home", a->home);
    return rwf_journal_add(a->head->journal, r, sync, err);
}

/* What is done already can only be complained about. */
void head__actor_note_done(struct head__actor *a, const char *op, bool sync)
{
    struct rwf_err err = RWF_ERR_INIT;
    if (head__actor_note(a, op, sync, &err))
        rwf_log(RWF_LOG_ERROR, "head", "%s", err.text);
}

static void replay_new(struct head *h, const json_t *r)
{
    Wire__ActorSpec *spec =
        head__message_parse(json_object_get(r, "spec"), &wire__actor_spec__descriptor);
    if (!spec || spec->actor == 0 || rwf_ids_get(&h->actors, spec->actor)) {
        head__free_message(spec);
        return;
    }
    struct head__actor *a = head__actor_add(
        h, spec, json_string_value(json_object_get(r, "home")), ACTOR_AWAY);
    a->restarts = (unsigned)json_integer_value(json_object_get(r, "restarts"));
    a->started = json_is_true(json_object_get(r, "started"));
    a->end = json_is_true(json_object_get(r, "end"));
}

void head__actor_replay(struct head *h, const json_t *r)
{
    const char *op = json_string_value(json_object_get(r, "op"));
    uint64_t id = (uint64_t)json_integer_value(json_object_get(r, "actor"));
    struct head__actor *a = rwf_ids_get(&h->actors, id);
    if (!op)
        return;
    if (strcmp(op, "actor") == 0)
        replay_new(h, r);
    if (!a)
        return;
    if (strcmp(op, "dead") == 0) {
        head__actor_free(a);
    } else if (strcmp(op, "start") == 0) {
        a->started = true;
        a->restarts = (unsigned)json_integer_value(json_object_get(r, "restarts"));
        if (json_object_get(r, "home"))
            head__actor_set_home(a, json_string_value(json_object_get(r, "home")));
    } else if (strcmp(op, "end") == 0) {
        a->end = true;
    }
}
