/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <string.h>

#include "base/str.h"
#include "job/job.h"

struct job *job_find(const struct job_list *l, const char *id)
{
    for (size_t i = 0; i < l->count; i++) {
        if (strcmp(l->items[i]->id, id) == 0)
            return l->items[i];
    }
    return NULL;
}

struct job *job_resolve(const struct job_list *l, const char *name, struct rwf_err *err)
{
    struct job *exact = job_find(l, name), *newest = NULL, *piece = NULL;
    size_t pieces = 0;
    if (exact)
        return exact;
    for (size_t i = 0; i < l->count; i++) {
        struct job *j = l->items[i];
        if (strcmp(j->name, name) == 0 && (!newest || j->created > newest->created))
            newest = j;
        if (*name && (rwf_starts_with(j->id, name) || rwf_ends_with(j->id, name)))
            piece = j, pieces++;
    }
    if (newest)
        return newest;
    if (pieces == 1)
        return piece;
    rwf_fail(err, RWF_E_NORUN,
             pieces ? "'%s' is the beginning or end of %zu jobs: say more of it"
                    : "there is no job '%s'; see raywf job list",
             name, pieces);
    return NULL;
}

struct job *job_resolve_open(const struct job_list *l, const char *name,
                             struct rwf_err *err)
{
    struct job *found = job_resolve(l, name, err), *open = NULL;
    if (!found || strcmp(found->id, name) == 0 || !job_state_ended(found->state))
        return found;
    for (size_t i = 0; i < l->count; i++) {
        struct job *j = l->items[i];
        if (strcmp(j->name, name) == 0 && !job_state_ended(j->state) &&
            (!open || j->created > open->created))
            open = j;
    }
    return open ? open : found;
}

/* -1: it never will; 0: not yet; 1: all have succeeded. */
static int needs_met(const struct job_list *l, const struct job *j,
                     const char **ret_need)
{
    const json_t *needs = json_object_get(j->spec, "needs"), *one;
    size_t i;
    int met = 1;
    json_array_foreach((json_t *)(uintptr_t)needs, i, one) {
        const struct job *other = job_find(l, json_string_value(one));
        if (!other ||
            (job_state_ended(other->state) && other->state != JOB_SUCCEEDED)) {
            *ret_need = json_string_value(one);
            return -1;
        }
        if (other->state != JOB_SUCCEEDED)
            met = 0;
    }
    return met;
}

const char *job_needs(const struct job_list *l, const struct job *j)
{
    const json_t *needs = json_object_get(j->spec, "needs"), *one;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)needs, i, one) {
        const struct job *other = job_find(l, json_string_value(one));
        if (!other || other->state != JOB_SUCCEEDED)
            return json_string_value(one);
    }
    return NULL;
}

static bool before(const struct job *a, const struct job *b)
{
    if (job_priority(a) != job_priority(b))
        return job_priority(a) > job_priority(b);
    if (a->created != b->created)
        return a->created < b->created;
    return strcmp(a->id, b->id) < 0;
}

struct job *job_next(const struct job_list *l, size_t most, int64_t now)
{
    struct job *best = NULL;
    const char *need;
    size_t running = 0;
    for (size_t i = 0; i < l->count; i++) {
        struct job *j = l->items[i];
        running += j->state == JOB_RUNNING || j->state == JOB_STOPPING;
        if (j->state == JOB_QUEUED && j->not_before <= now &&
            needs_met(l, j, &need) > 0 && (!best || before(j, best)))
            best = j;
    }
    return running < most ? best : NULL;
}

struct job *job_hopeless(const struct job_list *l, const char **ret_need)
{
    for (size_t i = 0; i < l->count; i++) {
        struct job *j = l->items[i];
        if (j->state == JOB_QUEUED && needs_met(l, j, ret_need) < 0)
            return j;
    }
    return NULL;
}

const struct job *job_needed_by(const struct job_list *l, const struct job *j)
{
    for (size_t i = 0; i < l->count; i++) {
        const json_t *needs = json_object_get(l->items[i]->spec, "needs"), *one;
        size_t n;
        if (l->items[i]->state != JOB_QUEUED)
            continue;
        json_array_foreach((json_t *)(uintptr_t)needs, n, one) {
            if (strcmp(json_string_value(one), j->id) == 0)
                return l->items[i];
        }
    }
    return NULL;
}

int64_t job_wake(const struct job_list *l, int64_t now)
{
    int64_t wake = INT64_MAX;
    for (size_t i = 0; i < l->count; i++) {
        const struct job *j = l->items[i];
        int64_t at = j->state == JOB_SCHEDULED                       ? j->next
                     : j->state == JOB_QUEUED && j->not_before > now ? j->not_before
                                                                     : INT64_MAX;
        wake = at < wake ? at : wake;
    }
    return wake;
}

static bool is_child(const struct job *j, const struct job *schedule)
{
    return j->parent && strcmp(j->parent, schedule->id) == 0;
}

const struct job *job_child_active(const struct job_list *l, const struct job *schedule)
{
    for (size_t i = 0; i < l->count; i++) {
        if (is_child(l->items[i], schedule) && !job_state_ended(l->items[i]->state))
            return l->items[i];
    }
    return NULL;
}

struct job *job_child_old(const struct job_list *l, const struct job *schedule,
                          size_t keep)
{
    struct job *oldest = NULL;
    size_t count = 0;
    for (size_t i = 0; i < l->count; i++) {
        struct job *j = l->items[i];
        if (!is_child(j, schedule) || !job_state_ended(j->state))
            continue;
        count++;
        if (!oldest || j->created < oldest->created)
            oldest = j;
    }
    return count > keep ? oldest : NULL;
}
