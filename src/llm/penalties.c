/* SPDX-License-Identifier: Apache-2.0
 *
 * Edits and what they are made of lie side by side; an open-addressed table finds an
 * id's. Ids are never removed: an edit that no longer changes anything is (1, 0).
 */
#include "config.h"

#include "llm/penalties.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

struct source {
    int32_t drawn; /* how often */
    float bias;
    bool seen; /* in prompt or output */
    bool end;
};

struct llm_penalties {
    double repetition, presence, frequency;
    bool follow, ends_masked,
        lasting; /* lasting: also without masked ends there are edits */
    struct kernel_edit *edits;
    struct source *sources;
    size_t count, edit_cap, source_cap;
    uint32_t *slots; /* index + 1, 0: free; [slot_mask + 1] */
    uint32_t slot_mask;
};

static uint32_t slot_of(const struct llm_penalties *p, int32_t id)
{
    uint32_t at = ((uint32_t)id * UINT32_C(0x9e3779b1) >> 7) & p->slot_mask;

    while (p->slots[at] && p->edits[p->slots[at] - 1].id != id)
        at = (at + 1) & p->slot_mask;
    return at;
}

static void resize(struct llm_penalties *p, uint32_t slots)
{
    free(p->slots);
    p->slots = rwf_xcalloc(slots, sizeof(*p->slots));
    p->slot_mask = slots - 1;
    for (uint32_t i = 0; i < p->count; i++)
        p->slots[slot_of(p, p->edits[i].id)] = i + 1;
}

/* The index of the id's edit, made when there is none. */
static size_t edit_of(struct llm_penalties *p, int32_t id)
{
    uint32_t at;

    if ((p->count + 1) * 2 > p->slot_mask)
        resize(p, (p->slot_mask + 1) * 2);
    at = slot_of(p, id);
    if (p->slots[at])
        return p->slots[at] - 1;
    p->edits = rwf_grow(p->edits, p->count, &p->edit_cap, sizeof(*p->edits));
    p->sources = rwf_grow(p->sources, p->count, &p->source_cap, sizeof(*p->sources));
    p->edits[p->count] = (struct kernel_edit){.id = id, .repeat = 1};
    p->sources[p->count] = (struct source){0};
    p->slots[at] = (uint32_t)++p->count;
    return p->count - 1;
}

static struct source *source_of(struct llm_penalties *p, int32_t id)
{
    size_t i = edit_of(p, id); /* may move them */

    return &p->sources[i];
}

static void renew(struct llm_penalties *p, size_t i)
{
    const struct source *s = &p->sources[i];
    double add = s->bias;

    if (s->drawn)
        add -= p->presence + p->frequency * s->drawn;
    p->edits[i].repeat = s->seen ? (float)p->repetition : 1.0f;
    p->edits[i].add = s->end && p->ends_masked ? -INFINITY : (float)add;
}

static void add_all(struct llm_penalties *p, const struct llm_penalties_options *o)
{
    for (int i = 0; i < o->bias_count; i++)
        source_of(p, o->bias[i].id)->bias += o->bias[i].add;
    for (int i = 0; i < o->end_count; i++)
        source_of(p, o->ends[i])->end = true;
    for (int i = 0; o->repetition != 1 && i < o->prompt_count; i++)
        source_of(p, o->prompt[i])->seen = true;
    for (size_t i = 0; i < p->count; i++)
        renew(p, i);
}

struct llm_penalties *llm_penalties_create(const struct llm_penalties_options *o)
{
    bool follow = o->repetition != 1 || o->presence != 0 || o->frequency != 0;
    struct llm_penalties *p;

    if (!follow && !o->bias_count && !o->end_count)
        return NULL;
    p = rwf_xcalloc(1, sizeof(*p));
    p->repetition = o->repetition;
    p->presence = o->presence;
    p->frequency = o->frequency;
    p->follow = follow;
    p->lasting = follow || o->bias_count;
    p->ends_masked = o->end_count > 0;
    resize(p, 16);
    add_all(p, o);
    return p;
}

void llm_penalties_destroy(struct llm_penalties *p)
{
    if (!p)
        return;
    free(p->edits);
    free(p->sources);
    free(p->slots);
    free(p);
}

void llm_penalties_accept(struct llm_penalties *p, int32_t id)
{
    size_t i;

    if (!p || !p->follow)
        return;
    i = edit_of(p, id);
    p->sources[i].drawn++;
    p->sources[i].seen = true;
    renew(p, i);
}

void llm_penalties_allow_ends(struct llm_penalties *p)
{
    if (!p || !p->ends_masked)
        return;
    p->ends_masked = false;
    for (size_t i = 0; i < p->count; i++)
        if (p->sources[i].end)
            renew(p, i);
}

bool llm_penalties_follow(const struct llm_penalties *p)
{
    return p && p->follow;
}

const struct kernel_edit *llm_penalties_edits(const struct llm_penalties *p,
                                              int *ret_count)
{
    if (!p || (!p->lasting && !p->ends_masked)) {
        *ret_count = 0;
        return NULL;
    }
    *ret_count = (int)p->count;
    return p->edits;
}
