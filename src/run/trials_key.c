/* SPDX-License-Identifier: Apache-2.0
 *
 * Keys of trials, and what earlier runs leave of them.
 *
 * A trial that ran to its end has the key of its target with its configuration: any
 * step with that key has the same result. One that was stopped has a key of its own
 * that also names the rules by which it was; one that went on from another's
 * checkpoint, one that names all it went on from.
 *
 * A search has a key, too: its own body and the key of its first trial. Beneath it lies
 * the record of all its trials, so that the same search asks for the same
 * configurations again, whatever order its trials once ended in.
 */
#include "config.h"
#include "run/trials.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "plan/key.h"
#include "run/record.h"

#define RECORD_MAX (256 << 20)

json_t *engine__trial_variant(const struct engine__trial *t, const json_t *parts,
                              bool stopped, char key[RWF_DIGEST_LEN])
{
    json_t *out = json_copy((json_t *)(uintptr_t)parts);
    if (t->lineage != NULL)
        json_object_set(out, "lineage", t->lineage);
    if (stopped)
        json_object_set(out, "search", (json_t *)(uintptr_t)search_rules(t->search->s));
    rwf_digest_json(out, key);
    return out;
}

/* --- the record --- */

/* What of its body decides what trials there are, and how they end. */
static json_t *body_part(const json_t *body)
{
    static const char *const not [] = {"help", "max_concurrent_trials", "needs"};
    json_t *out = json_copy((json_t *)(uintptr_t)body);
    for (size_t i = 0; i < RWF_COUNT(not ); i++)
        json_object_del(out, not [i]);
    return out;
}

json_t *run_search_parts(const struct plan_step *search, const json_t *body,
                         const char *first_key)
{
    return json_pack("{s:i, s:s, s:i, s:{s:o}, s:{}, s:s}", "epoch", PLAN_KEY_EPOCH,
                     "op", search->op->name, "version", search->op->version, "spec",
                     "tune", body_part(body), "files", "trial", first_key);
}

/* The key of trial 0, whose configuration follows from the body alone. */
static int first_key(struct engine__search *x, char key[RWF_DIGEST_LEN])
{
    const struct plan_step *p = x->trials[0].step;
    json_t *config = search_config(x->s, 0) != NULL
                         ? json_incref((json_t *)(uintptr_t)search_config(x->s, 0))
                         : search_suggest(x->s, 0);
    struct rwf_err err = RWF_ERR_INIT;
    int result = -1;
    if (p != NULL && config != NULL && x->trials[0].lineage == NULL) {
        plan_trial_configure(x->e->graph, p->index, config);
        engine__resolve_as(x->e, PLAN_KEY);
        result = plan_step_key(x->e->graph, p, run_cache_digest, x->e->cache, key, NULL,
                               &err);
    }
    json_decref(config);
    return result;
}

json_t *run_search_record(const json_t *entry)
{
    const json_t *output = json_object_get(json_object_get(entry, "outputs"), "trials");
    const char *path = json_string_value(json_object_get(output, "path"));
    char *text = path == NULL ? NULL : rwf_fs_read(path, RECORD_MAX, NULL, NULL);
    json_t *all = text == NULL ? NULL : json_loads(text, 0, NULL);
    json_t *trials = json_incref(json_object_get(all, "trials"));
    json_decref(all);
    free(text);
    if (json_is_array(trials))
        return trials;
    json_decref(trials);
    return NULL;
}

void engine__search_look(struct engine__search *x)
{
    char first[RWF_DIGEST_LEN];
    if (x->looked)
        return;
    x->looked = true;
    if (x->count == 0 || first_key(x, first) != 0)
        return;
    x->parts = run_search_parts(x->step, x->body, first);
    rwf_digest_json(x->parts, x->key);
    if (x->e->options->no_cache || !x->trials[0].step->policy->cache)
        return;
    const char *miss;
    json_t *entry = run_cache_get(x->e->cache, x->key, &miss);
    x->record = entry == NULL ? NULL : run_search_record(entry);
    json_decref(entry);
}

static const json_t *recorded(const struct engine__search *x, uint32_t number)
{
    return json_array_get(x->record, number);
}

json_t *engine__search_recorded(const struct engine__search *x, uint32_t number)
{
    json_t *config = json_object_get(recorded(x, number), "config");
    return json_is_object(config) ? json_incref(config) : NULL;
}

static json_t *trial_record(struct engine__search *x, struct engine__trial *t)
{
    struct search_result r = search_result(x->s, t->number);
    const char *key = *t->key != '\0' ? t->key : NULL;
    const json_t *config = t->first != NULL ? t->first : search_config(x->s, t->number);
    json_t *out = json_pack("{s:i, s:O?, s:s}", "trial", (int)t->number, "config",
                            config, "status", search_status_name(r.status));
    if (key != NULL)
        json_object_set_new(out, "key", json_string(key));
    if (isfinite(r.value))
        json_object_set_new(out, "value", json_real(r.value));
    if (isfinite(r.at))
        json_object_set_new(out, "at", json_real(r.at));
    if (t->lineage != NULL)
        json_object_set(out, "lineage", t->lineage);
    return out;
}

json_t *engine__search_record(struct engine__search *x)
{
    json_t *out = json_array();
    for (uint32_t i = 0; i < x->count; i++)
        json_array_append_new(out, trial_record(x, &x->trials[i]));
    return out;
}

/* --- cached results --- */

static bool hit_as(struct engine__trial *t, const char *key, bool stopped)
{
    struct engine *e = t->search->e;
    struct engine__ready *ready = e->steps[t->step->index].ready;
    char plain[RWF_DIGEST_LEN];
    memcpy(plain, ready->key, sizeof(plain));
    snprintf(ready->key, sizeof(ready->key), "%s", key);
    t->hit_stopped = stopped;
    bool hit = engine__hit(e, t->step->index);
    if (!hit)
        memcpy(ready->key, plain, sizeof(plain));
    t->hit_stopped = false;
    return hit;
}

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* What the record says became of the trial. */
static bool hit_recorded(struct engine__trial *t)
{
    const json_t *known = recorded(t->search, t->number);
    const char *key = json_string_value(json_object_get(known, "key"));
    const char *status = json_string_value(json_object_get(known, "status"));
    if (key == NULL || strlen(key) >= RWF_DIGEST_LEN)
        return false;
    json_t *lineage = json_object_get(known, "lineage");
    if (json_is_array(lineage) && t->lineage == NULL)
        t->lineage = json_incref(lineage);
    if (t->lineage != NULL)
        search_set_config(
            t->search->s, t->number,
            json_object_get(json_array_get(t->lineage, json_array_size(t->lineage) - 1),
                            "config"));
    search_set_value(t->search->s, t->number, number_of(known, "value"),
                     number_of(known, "at"));
    if (hit_as(t, key, search_status_parse(status) == SEARCH_STOPPED))
        return true;
    search_set_value(t->search->s, t->number, NAN, NAN);
    if (t->lineage != NULL)
        search_set_config(t->search->s, t->number, t->first);
    if (t->lineage == lineage && lineage != NULL) {
        json_decref(t->lineage);
        t->lineage = NULL;
    }
    return false;
}

bool engine__trial_hit(struct engine *e, uint32_t step)
{
    struct engine__trial *t = engine__trial_of(e, step);
    const struct engine__ready *ready = e->steps[step].ready;
    char key[RWF_DIGEST_LEN];
    if (t->lineage == NULL && hit_recorded(t))
        return true;
    if (engine__hit(e, step))
        return true;
    if (!search_may_stop(t->search->s) || t->lineage != NULL)
        return false;
    json_decref(engine__trial_variant(t, ready->parts, true, key));
    return hit_as(t, key, true);
}
